"""A dozen cases of the corpus: decided anew from what was measured of them, and some of them trained and diagnosed."""

import json
import sys

import pytest

from conftest import ROOT
from tricks.config import flatten
from tricks.diagnosis import diagnose_run, findings, judging, subject

sys.path.insert(0, str(ROOT / "scripts"))

from benchmarks.diagnosis import corpus, training

MEASURED = json.loads((ROOT / "tests" / "diagnosed_cases.json").read_text())
LIVE = ("xor-model_bias-linear-model", "xor-unlucky_start-five-units")
CASES = {case.name: case for case in corpus.cases()}


def test_the_cases_are_the_dozen_with_what_is_right_of_them_now():
    assert set(MEASURED) == {case.name for case in corpus.chosen("all", "12")}
    for name, case in MEASURED.items():
        assert set(case["right"]) == CASES[name].right


@pytest.mark.parametrize("name", MEASURED)
def test_the_first_finding_is_what_was_planted(name):
    measured, right = MEASURED[name]["measurements"], MEASURED[name]["right"]
    ranked = findings.rank(measured)
    assert ranked[0].name in right, ranked
    report = judging.of_measurements(measured, [], flatten(training.config_of(CASES[name])))
    assert report["findings"][0]["confidence"] > 0.7
    if "healthy" not in right:
        assert report["findings"][0]["prescription"]


def test_without_comparison_runs_less_is_said_and_less_surely():
    said = 0
    for case in MEASURED.values():
        alone = {topic: value for topic, value in case["measurements"].items() if topic != "comparisons"}
        report = judging.of_measurements(alone)
        said += report["findings"][0]["name"] in case["right"]
        assert report["findings"][0]["confidence"] <= 0.75
        assert "model_bias" not in [one["name"] for one in report["findings"]]
    assert 6 <= said < len(MEASURED)


@pytest.mark.parametrize("name", LIVE)
def test_a_case_is_trained_and_diagnosed(name, tmp_path):
    outcome = training.train(CASES[name], tmp_path)
    assert outcome["status"] != "skipped"
    workdir = tmp_path / training.RUNS / name
    shares = []
    report = diagnose_run(workdir, attempt=name == LIVE[0], note=lambda done, total: shares.append(done / total))
    first = report["findings"][0]
    assert first["name"] in CASES[name].right, report["findings"]
    assert json.loads((workdir / "report.json").read_text()) == json.loads(json.dumps(report))
    rows = report["measurements"]["comparisons"]
    assert {row["seed"] for row in rows if row["name"] == "same"} == {CASES[name].seed + n for n in range(4)}
    assert shares == sorted(shares) or name == LIVE[0]
    assert shares[-1] == 1
    if name == LIVE[0]:
        tried = first["prescription"][0]["tried"]
        assert tried["kept"] is True
        assert tried["training"][1] < 0.5 * tried["training"][0]
        # The run itself, trained again, is where the comparisons begin.
        same = next(row for row in rows if row["name"] == "same")
        before = subject.read(workdir).records
        last = [line for line in before if line.kind == "validation"][-1]
        assert same["validation_loss"] == pytest.approx(last.values["loss"], rel=1e-3)
