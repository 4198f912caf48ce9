"""Random commands in random directories leave nothing broken, and the checks that say so notice what is."""

import doctest
import shutil
import signal
import sys
import time

import pytest

from conftest import ROOT
from tricks.config import Config, flatten

sys.path.append(str(ROOT / "scripts"))

from fuzzing import campaign, cases, directories, fields, judgement, kills

_SEED = 0


def test_ten_cases_hold(tmp_path):
    # Those that are refused at the start take a second each, a run several.
    drawn = [case for case in (cases.draw(_SEED, number, tmp_path) for number in range(400)) if not case.signals]
    refused = [case.number for case in drawn if case.hostile and not case.run]
    resumed = [case.number for case in drawn if case.damaged and case.run == "digits" and case.script == "train.py"]
    results = list(campaign.run(_SEED, [*refused[:9], *resumed[:1]], tmp_path))
    assert len(results) == 10
    found = [campaign.told(result, _SEED) for result in results if result.findings]
    assert not found, "\n".join(found)


def test_examples_of_the_judgement_are_true():
    assert doctest.testmod(judgement).failed == 0


def test_every_field_has_values():
    assert set(fields.FIELDS) == set(flatten(Config()))


def test_a_case_is_the_same_again(tmp_path):
    for number in range(50):
        assert cases.draw(3, number, tmp_path) == cases.draw(3, number, tmp_path)
    assert len({cases.command(cases.draw(3, number, tmp_path)) for number in range(50)}) > 45


_WELL = """
import json, os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: (print("the same command goes on from step 7", flush=True), os._exit(130)))
W = next(Path(argument.split("=", 1)[1]) for argument in sys.argv if argument.startswith("--workdir="))
def made():
    W.mkdir(exist_ok=True)
    for name in ("config.json", "summary.json"):
        (W / name).write_text("{}")
    (W / "metrics.jsonl").write_text('{"step": 1}\\n')
def refused(text):
    print(text, file=sys.stderr)
    sys.exit(2)
"""


def _results(tmp_path, monkeypatch, fault, **case):
    monkeypatch.setattr(directories, "ROOT", tmp_path)
    for script in ("train.py", "scripts/spectrum.py"):
        (tmp_path / script).parent.mkdir(exist_ok=True)
        (tmp_path / script).write_text(_WELL + fault)
    folder = tmp_path / "case"
    folder.mkdir()
    plain = cases.Case(
        number=0,
        script="train.py",
        arguments=("--config.seed=1",),
        variables={},
        redirection="",
        room=0,
        run="",
        unfinished=False,
        damaged=False,
        mine=("events.csv",),
        workdir=str(folder / "run"),
        hostile=False,
        signals=(),
    )._replace(**case)
    return campaign.run_case(plain, 0, folder, tmp_path / "runs", campaign.environment(tmp_path), limit=2.0)


def test_what_holds_is_no_finding(tmp_path, monkeypatch):
    done = _results(tmp_path, monkeypatch, "made()")
    assert (done.findings, done.statuses) == ((), (0,))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("made(); (W / 'events.csv').unlink()", "run/events.csv of a person is gone"),
        ("made(); (W / 'events.csv').write_text('')", "run/events.csv of a person is changed"),
        ("made(); (W / '../file').unlink()", "file of a person is gone"),
        ("made(); (W / 'summary.json').write_text('{\"a\": NaN}')", "run/summary.json: it holds NaN"),
        ("made(); (W / 'metrics.jsonl').write_text('{\"a\": -Infinity}\\n')", "run/metrics.jsonl: it holds -Infinity"),
        ("made(); (W / 'metrics.jsonl').write_text('{\"a\": 1')", "run/metrics.jsonl: Expecting ',' delimiter"),
        ("made(); (W / 'summary.json').unlink()", "it has ended well without summary.json"),
        ("made(); print('a warning', file=sys.stderr)", "it says on standard error: a warning"),
        ("made(); os._exit(1)", "its status is 1"),
        ("made(); os.kill(os.getpid(), 11)", "its status is -11"),
        ("made(); 1 / 0", "it shows a traceback"),
        ("refused('error: --config.seed is 1')\n", None),
        ("refused('error: something is wrong')", "its error names nothing of what is unusual here"),
        ("refused('error: --config.seed\\n is 1')", "its error is no single line"),
        ("refused('seed')", "its error is no single line"),
        ("refused('error: seed' + 2000 * 'x')", "its error is 2011 characters long"),
        ("(W / 'metrics.jsonl').write_text(''); refused('error: seed')", "it refused, and changed metrics.jsonl"),
        ("time.sleep(60)", "it did not end within 2 s"),
    ],
)
def test_faults_are_findings(tmp_path, monkeypatch, fault, said):
    findings = _results(tmp_path, monkeypatch, fault).findings
    assert any(line.startswith(said) for line in findings) if said else not findings, findings


def test_a_refused_command_that_leaves_a_directory_is_a_finding(tmp_path, monkeypatch):
    done = _results(tmp_path, monkeypatch, "W.mkdir(); refused('error: seed')", mine=())
    assert [line.split(" (")[0] for line in done.findings] == ["it refused, and left a directory behind"]


def test_a_reader_that_changes_a_run_is_a_finding(tmp_path, monkeypatch):
    done = _results(tmp_path, monkeypatch, "made()", script="scripts/spectrum.py")
    assert any(line.startswith("it only reads, and changed config.json") for line in done.findings)


def test_a_promise_that_is_not_kept_is_a_finding(tmp_path, monkeypatch):
    fault = "if not W.joinpath('config.json').exists(): made(); time.sleep(60)"
    done = _results(tmp_path, monkeypatch, fault, signals=((signal.SIGTERM,),))
    assert done.statuses == (130, 0)
    assert [line.split(" (")[0] for line in done.findings] == ["step 7 was promised"]


_TRAINED = """
killed = (W / "begun").exists()
W.mkdir(exist_ok=True)
(W / "begun").touch()
time.sleep(0.2)
progress = W / "checkpoints" / "00000002" / "progress"
progress.mkdir(parents=True)
(progress / "metadata").write_text(json.dumps({"step": 2, "checksum": SUM, "weights": {}, "scalars": {}}))
(W / "metrics.jsonl").write_text('{"step": 2, "examples_per_second": %d}\\n' % os.getpid())
best = {"seconds": time.time(), "test": None}
(W / "summary.json").write_text(json.dumps({"status": "completed", "config": {}, "best": best, "final": best}))
"""


def _once_begun(workdir, *_):
    while not (workdir / "begun").exists():
        time.sleep(0.001)


@pytest.mark.parametrize(("checksum", "differing"), [("1", 0), ("int(killed)", 1)])
def test_killed_runs_are_compared_with_one_that_was_not(tmp_path, monkeypatch, checksum, differing):
    monkeypatch.setattr(directories, "ROOT", tmp_path)
    monkeypatch.setattr(kills, "_moment", _once_begun)
    (tmp_path / "train.py").write_text(_WELL + _TRAINED.replace("SUM", checksum))
    found = kills.differences(1, _SEED, tmp_path)
    assert len(found) == differing, found
    assert all("killed 1 times: checksum" in line for line in found)


def test_runs_are_copied_as_they_were_or_as_if_killed(tmp_path):
    for step in (40, 80):
        (tmp_path / "run" / "checkpoints" / f"{step:08d}").mkdir(parents=True)
    for name in ("summary.json", "curves.png", "config.json"):
        (tmp_path / "run" / name).touch()
    directories.copy_run(tmp_path / "run", tmp_path / "whole", unfinished=False)
    directories.copy_run(tmp_path / "run", tmp_path / "cut", unfinished=True)
    assert directories.contents(tmp_path / "whole") == directories.contents(tmp_path / "run")
    assert set(directories.contents(tmp_path / "cut")) == {"checkpoints", "checkpoints/00000040", "config.json"}
    shutil.rmtree(tmp_path / "cut")
    assert directories.contents(tmp_path / "cut") == {}
