"""The command of a diagnosis: what it writes, what it refuses, and what it says of runs that are not whole."""

import json
import shlex
import shutil

import pytest

import conftest
from conftest import compiled_quickly
from tricks.diagnosis import comparing, diagnose_run, judging, measuring, run_diagnosis, subject, watch
from tricks.errors import UserError

# What is said of a run does not depend on how fast it was.
run_python, train = compiled_quickly(conftest.run_python, conftest.train)

SMALL = ("--config.model.hidden_sizes=8", "--config.model.batch_norm=false", "--config.train.epochs=3")


def _diagnose(*flags):
    return run_python("scripts/diagnose.py", *flags)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "small"
    done = train(workdir, *SMALL, "--config.diagnosis.every_epochs=1")
    assert done.status == 0, done.error
    return workdir


@pytest.fixture
def copied(small, tmp_path):
    return shutil.copytree(small, tmp_path / "run", ignore=shutil.ignore_patterns("report.*"))


@pytest.fixture
def quick(monkeypatch):
    """Leaves out what takes long and has tests of its own."""
    monkeypatch.setattr(measuring, "_curvature", lambda run: {})
    monkeypatch.setattr(measuring, "_of_examples", lambda run, found: {})


def test_the_command_writes_a_report_and_says_the_verdict(small):
    before = {path.name: path.read_bytes() for path in small.iterdir() if path.is_file()}
    done = _diagnose(f"--workdir={small}", "--fast")
    assert done.status == 0, done.error
    assert max(map(len, done.output.splitlines())) <= 80 + len(str(small))
    report = json.loads((small / "report.json").read_text())
    assert set(report) == {"version", "run", "findings", "path", "measurements", "not_judged"}
    assert {"curves", "gaps", "layers", "curvature", "features", "labels", "duplicates", "shift", "task"} <= set(
        report["measurements"]
    )
    assert "comparisons" not in report["measurements"]
    assert not done.output.startswith("curves")
    assert any("--fast" in sentence for sentence in report["not_judged"])
    assert report["measurements"]["gaps"]["validation"]["loss"] == pytest.approx(
        report["measurements"]["curves"]["last_validation_loss"], rel=1e-4
    )
    assert len(report["measurements"]["layers"]["history"]) == 4
    assert "<html" in (small / "report.html").read_text()
    for name, content in before.items():
        assert (small / name).read_bytes() == content, name
    # What the page tells to run next can be run.
    config = str(small / "run_config.py")
    again = run_python("train.py", f"--config={config}", f"--workdir={small}")
    assert again.status == 0, again.error


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((), "--workdir is missing"),
        (("--workdir=nowhere",), "holds no run"),
        (("--workdir=.", "more"), "unexpected argument 'more'"),
        (("--workdir=.", "--fas"), "did you mean --fast"),
        (("--workdir=.", "--watch", "--fast"), "--watch takes neither"),
    ],
)
def test_mistakes_are_told_in_one_line(flags, named):
    assert named in _diagnose(*flags).mistake()


def _empty(run):
    for path in run.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _half_written(run):
    (run / "config.json").write_text((run / "config.json").read_text()[:100])


def _other_version(run):
    content = json.loads((run / "config.json").read_text()) | {"optimizer.sparkle": 1}
    (run / "config.json").write_text(json.dumps(content))


def _nothing_trained(run):
    (run / "metrics.jsonl").unlink()
    (run / "summary.json").unlink()


def _damaged_summary(run):
    (run / "summary.json").write_text("[1, 2")


def _damaged_line(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")


def _data_gone(run):
    content = json.loads((run / "config.json").read_text()) | {"data.name": "mnist", "data.directory": "/nowhere"}
    (run / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_empty, "holds no run"),
        (_half_written, "config.json is damaged"),
        (_other_version, "optimizer.sparkle is no field"),
        (_nothing_trained, "train it for an epoch first"),
        (_damaged_summary, "summary.json is damaged"),
        (_damaged_line, "line 2 of"),
        (_data_gone, "mnist"),
    ],
)
def test_what_cannot_be_read_is_named(copied, damage, named):
    damage(copied)
    with pytest.raises(UserError, match=named):
        diagnose_run(copied, fast=True)
    assert not (copied / "report.json").exists()


def _without_checkpoints(run):
    shutil.rmtree(run / "checkpoints")


def _damaged_checkpoints(run):
    for path in (run / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def _gaps_in_metrics(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(lines[:2] + lines[-2:]) + "\n")


def _no_metrics(run):
    (run / "metrics.jsonl").unlink()


@pytest.mark.parametrize("damage", [_without_checkpoints, _damaged_checkpoints, _gaps_in_metrics, _no_metrics])
def test_what_is_there_is_diagnosed_and_what_is_missing_is_said(copied, damage, quick):
    damage(copied)
    report = diagnose_run(copied, fast=True)
    said = " ".join(report["not_judged"])
    assert ("checkpoint" in said) == ("checkpoints" in damage.__name__)
    assert (copied / "report.html").exists()


def test_a_run_that_diverged_is_told_its_step_and_layer(tmp_path, quick):
    done = train(
        tmp_path / "run",
        *SMALL,
        "--config.optimizer.name=momentum",
        "--config.optimizer.learning_rate=1e30",
        "--config.loss.name=squared_error",
        "--config.data.name=diabetes",
    )
    assert done.status == 3
    report = diagnose_run(tmp_path / "run", fast=True)
    first = report["findings"][0]
    assert first["name"] == "non_finite"
    assert [step["answer"] for step in report["path"]] == ["no"]
    origin = report["measurements"]["origin"]
    assert origin["step"] >= 1
    assert f"step {origin['step']}" in " ".join(first["evidence"])
    assert first["prescription"][0]["overrides"]["optimizer.learning_rate"] == pytest.approx(1e29)


def test_what_was_measured_is_kept_until_the_run_goes_on(small, monkeypatch):
    first = diagnose_run(small, fast=True)
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: pytest.fail("it was measured again"))
    rows = [{"name": "same", "overrides": {}, "seed": 0, "status": "diverged", "epochs": 3, "curve": []}]
    monkeypatch.setattr(comparing, "compare", lambda *_, **__: (rows, ["the comparison 'wider': it is refused"]))
    whole = diagnose_run(small)
    assert whole["measurements"]["gaps"] == first["measurements"]["gaps"]
    assert whole["measurements"]["comparisons"] == rows
    assert whole["not_judged"][-1].endswith("it is refused")
    monkeypatch.undo()
    # A shorter diagnosis does not lose what a longer one has measured.
    assert diagnose_run(small, fast=True)["measurements"]["comparisons"] == rows
    report = json.loads((small / "report.json").read_text())
    report["run"]["step"] += 1
    (small / "report.json").write_text(json.dumps(report))
    assert "comparisons" not in diagnose_run(small, fast=True)["measurements"]


def test_commands_hold_for_any_path(small, tmp_path, quick):
    odd = shutil.copytree(small, tmp_path / "a b <i>x'", ignore=shutil.ignore_patterns("report.*"))
    report = diagnose_run(odd, fast=True)
    assert shlex.split(report["run"]["command"])[-1] == f"--config={odd / 'run_config.py'}"
    assert "<i>" not in (odd / "report.html").read_text()


def test_a_report_that_cannot_be_written_is_one_line(copied):
    run = subject.read(copied)
    shutil.rmtree(copied)
    for write in (
        lambda: run_diagnosis.write(judging.of_measurements({}), run),
        lambda: run_diagnosis.made(run),
    ):
        with pytest.raises(UserError, match="cannot be written to"):
            write()


def test_watching_says_what_changes_and_ends_with_the_run(copied, capsys, quick):
    report = watch.follow(copied, seconds=0.01)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[1].startswith("written: ")
    assert said[0].startswith("epoch 3: ")
    assert report["findings"][0]["name"].replace("_", " ") in said[0]
    assert (copied / "report.json").exists()
