"""The corpus covers every name in both parts, its rules tell what takes effect, and scores are counted right."""

import json
import sys
from collections import Counter

import numpy as np
import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from benchmarks.diagnosis import adapter, corpus, effects, files, peers, score, tables, training
from benchmarks.diagnosis.case import DEVELOPMENT, HEALTHY, HELD_OUT, NAMES
from benchmarks.diagnosis.own import examples
from benchmarks.diagnosis.score import Judged
from tricks import config_checks

CASES = corpus.cases()


def test_every_name_is_planted_twice_in_each_part_and_no_program_is_in_both():
    counts = Counter((case.part, case.truth) for case in CASES)
    for name in NAMES:
        assert min(counts[DEVELOPMENT, name], counts[HELD_OUT, name]) >= 2, name
    assert min(counts[DEVELOPMENT, HEALTHY], counts[HELD_OUT, HEALTHY]) >= 13
    assert len({(case.program, case.part) for case in CASES}) == len({case.program for case in CASES})
    assert len({case.name for case in CASES}) == len(CASES) >= 120


def test_what_is_right_beside_the_truth_has_a_reason_and_is_at_most_two_names():
    kinds = {(case.truth, case.kind) for case in CASES}
    from benchmarks.diagnosis.also import REASONS

    assert not set(REASONS) - kinds
    for case in CASES:
        assert len(case.also) <= 2
        assert set(case.also) <= set(NAMES) - {case.truth, HEALTHY}
        assert all(case.also.values())


def test_every_config_is_valid():
    for case in CASES:
        config_checks.validate(training.config_of(case))
        assert (case.truth == HEALTHY) == (not case.fault)


def test_the_dozen_is_of_the_development_part_and_of_different_kinds():
    dozen = corpus.chosen("all", "12")
    assert all(case.cheap and case.part == DEVELOPMENT for case in dozen)
    assert len({case.truth for case in dozen}) == len(dozen) == sum(case.cheap for case in CASES) == 12


def test_leaked_examples_are_those_of_training_and_others_are_left():
    before = examples.SOURCES["breast_cancer"]()
    after = examples.with_fault(before, "leak_test", 0.5)
    train = {row.tobytes() for row in before.features[before.part == 0]}
    test = [row.tobytes() in train for row in after.features[after.part == 2]]
    assert np.mean(test) == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(after.features[after.part != 2], before.features[before.part != 2])


def test_wrong_labels_are_wrong():
    before = examples.SOURCES["digits"]()
    after = examples.with_fault(before, "label_noise", 0.3)
    assert (before.targets != after.targets).mean() == pytest.approx(0.3, abs=0.03)
    assert set(after.targets) == set(range(10))


def test_a_file_is_the_same_every_time(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        files.write("customers_rare.csv", tmp_path / folder)
    one, other = ((tmp_path / folder / "customers_rare.csv").read_bytes() for folder in ("one", "other"))
    assert one == other
    assert 0.9 < one.count(b",no,") / one.count(b"\n") < 1


def _outcome(train, validation=0.1, status="completed", accuracy=1.0):
    measures = {"loss": train, "accuracy": accuracy, "balanced_accuracy": accuracy}
    parts = {"train": measures, "validation": {**measures, "loss": validation}, "test": measures}
    return {"status": status, "last": parts, "best": {"test": measures}, "constant": 2.1}


@pytest.mark.parametrize(
    ("truth", "outcome", "counts"),
    [
        ("rate_too_small", _outcome(0.31), True),  # A tenth of the 2.0 that the twin gained is 0.2.
        ("rate_too_small", _outcome(0.29), False),
        ("overfitting", _outcome(0.1, 0.31), True),
        ("overfitting", _outcome(0.2, 0.31), False),  # No gap to training.
        ("non_finite", {"status": "diverged"}, True),
        ("non_finite", _outcome(5.0), False),
        ("dead_units", {"status": "diverged"}, False),
        ("leakage", _outcome(0.1), True),
        (HEALTHY, _outcome(0.1), True),
        (HEALTHY, _outcome(0.1, accuracy=0.5), False),
        ("class_imbalance", _outcome(0.1, accuracy=0.89), True),
        ("class_imbalance", _outcome(0.1, accuracy=0.91), False),
    ],
)
def test_rules_of_effect(truth, outcome, counts):
    case = next(case for case in CASES if case.program == "digits-relu")._replace(truth=truth, fault={})
    assert effects.judge(case, outcome, _outcome(0.1)).counts == counts


def _judged(truth, *names, right=(), confidence=0.9):
    findings = [{"name": name, "confidence": confidence} for name in names]
    return Judged("c", "p", DEVELOPMENT, truth, "k", frozenset({truth, *right}), findings)


def test_scores():
    judged = [
        _judged("saddle", "saddle"),
        _judged("saddle", "bad_initialization", right=("bad_initialization",), confidence=0.55),
        _judged("leakage", "healthy", "overfitting", "leakage", confidence=0.55),
        _judged("leakage", "healthy", "overfitting", "mismatch", "leakage"),
        _judged(HEALTHY),
        _judged(HEALTHY, "overfitting", "healthy"),
    ]
    found = score.rates(judged)
    assert [(found[name].counted, found[name].of) for name in ("first", "three", "false_alarms", "all_first")] == [
        (2, 4),
        (3, 4),
        (1, 2),
        (3, 6),
    ]
    counts = score.confusion(judged)
    assert counts["saddle"] == {"saddle": 2}
    assert counts[HEALTHY] == {HEALTHY: 1, "overfitting": 1}
    assert [(b["low"], b["right"], b["count"]) for b in score.calibration(judged)] == [(0.5, 0.5, 2), (0.9, 1 / 3, 3)]
    assert "1 of 2 = 50%" in tables.markdown({"tricks": judged})


def test_interval_of_wilson():
    # Brown, Cai and DasGupta 2001, by hand: 0 of 10 reaches up to z² / (10 + z²).
    rate = score.wilson(0, 10)
    assert (rate.low, rate.high) == pytest.approx((0, 3.8415 / 13.8415), abs=1e-4)


def test_meanings_of_peers_are_names_of_ours():
    for meanings in peers.MEANINGS.values():
        for meaning in meanings.values():
            assert set(meaning.names) <= set(NAMES)
            assert meaning.why


_PEERS = {
    "training_doctor": """
import enum
from types import SimpleNamespace
Grave = enum.Enum("Grave", {"CRITICAL": "critical", "WARNING": "warning"})
class Doctor:
    def __init__(self):
        self.diagnoses = []
    def log(self, step, **metrics):
        if "loss" in metrics:
            self._say("Training plateau detected", 0.9, Grave.WARNING)
            self._say("Learning rate likely too high", 0.5, Grave.CRITICAL)
    def _say(self, problem, confidence, severity):
        self.diagnoses.append(SimpleNamespace(problem=problem, confidence=confidence, severity=severity))
""",
    "sk_autod": """
from types import SimpleNamespace
def diagnose(train, validation):
    assert (train, validation) == ([2.0, 1.0], [4.0, 3.0]), (train, validation)
    return SimpleNamespace(findings=[])
""",
}


def test_peers_get_the_curves_and_their_gravest_finding_is_the_first(tmp_path, monkeypatch):
    for name, text in _PEERS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines = [{"split": "validation", "step": 0, "epoch": 0, "loss": 9.0}]
    for epoch, (losses, held) in enumerate([((1.5, 2.5), 4.0), ((1.0, 1.0), 3.0)], 1):
        for loss in losses:
            lines.append(
                {
                    "split": "train",
                    "step": epoch,
                    "epoch": epoch,
                    "loss": loss,
                    "gradient_norm": 1.0,
                    "learning_rate": 0.1,
                }
            )
        lines.append({"split": "validation", "step": epoch, "epoch": epoch, "loss": held})
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = peers.ask(sys.executable, [tmp_path])
    assert [found["name"] for found in said["training-doctor"][0]["findings"]] == [
        "Learning rate likely too high",
        "Training plateau detected",
    ]
    assert "rate_too_large" in said["training-doctor"][0]["findings"][0]["names"]
    assert said["sk-autod"][0] == {
        "findings": [{"name": HEALTHY, "names": [HEALTHY], "confidence": 1.0}],
        "error": None,
    }


def test_an_ablation_judges_what_is_left(tmp_path, monkeypatch):
    (tmp_path / "of_others.py").write_text(
        "def diagnose(run, *, fast):\n    return {'findings': ['all'], 'measurements': {'curvature': 1, 'curves': 2}}\n"
        "def judge(measurements):\n    return {'findings': sorted(measurements)}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = {"diagnose": "of_others:diagnose", "judge": "of_others:judge"}
    assert adapter.report(tmp_path, None, "none", **names)["findings"] == ["all"]
    assert adapter.report(tmp_path, None, "curvature", **names)["findings"] == ["curves", "run"]
