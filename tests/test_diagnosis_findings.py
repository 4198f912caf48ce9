"""From measurements to findings: each fault by the numbers that it leaves, and what is a consequence of what."""

import copy
import json

import pytest

from tricks.config import Config, flatten
from tricks.diagnosis import comparison_plan, confidence, facts, findings, judging, prescriptions, tree
from tricks.diagnosis.findings import of_training
from tricks.diagnosis.findings.finding import LECTURE, Finding, graded


def row(name, train, validation, seed=0, status="completed", **overrides):
    return {
        "name": name,
        "overrides": overrides,
        "seed": seed,
        "status": status,
        "train_loss": train,
        "best_train_loss": train,
        "validation_loss": validation,
        "best_validation_loss": validation,
    }


def well():
    """A run of two classes that behaves, with all that is measured."""
    return {
        "run": {"status": "completed"},
        "task": {"chance_loss": 1.0, "chance_accuracy": 0.5, "batch_size": 32, "examples": {"train": 1000}},
        "curves": {"recent": 0.2, "rising": 0.1, "oscillation": 1.2, "validation_rise": 1.0, "last_train_loss": 0.02},
        "gaps": {part: {"loss": loss} for part, loss in (("train", 0.01), ("validation", 0.05), ("test", 0.06))},
        "features": {"condition": 3.0, "condition_standardized": 3.0},
        "labels": {"imbalance_ratio": 1.1, "estimated_noise": 0.0, "noise_interval": [0.0, 0.01]},
        "recall": {"mean": 0.98, "accuracy": 0.98},
        "duplicates": {
            "within_train": {"share": 0.0, "interval": [0.0, 0.004]},
            "train_in_test": {"share": 0.0, "interval": [0.0, 0.01]},
            "expected": 0.0,
        },
        "shift": {"train_test": {"auc": 0.51, "p_value": 0.4, "features": [], "labels_p_value": 0.5}},
        "layers": {
            when: {
                "loss": 1.1,
                "output_scale": 1.0,
                "output_similarity": 0.5,
                "activations": [
                    {"name": f"relu {i}", "kind": "relu", "dead": 0.02, "saturated": None, "signal": 0.1}
                    for i in (1, 2)
                ],
            }
            for when in ("initial", "last")
        },
        "curvature": {
            "verdict": "not critical",
            "reason": "the gradient is not 0",
            "loss": 0.01,
            "smallest": -0.1,
            "largest": 10.0,
            "escape_gain": 0.0,
            "descent_gain": 0.001,
            "stability": 1.0,
            "stability_limit": 38.0,
        },
        "comparisons": [
            *(row("same", 0.01, 0.05 + 0.005 * seed, seed) for seed in range(4)),
            row("rate / 10", 0.1, 0.12, **{"optimizer.learning_rate": 1e-4}),
            row("rate x 10", 0.01, 0.05, **{"optimizer.learning_rate": 1e-2}),
            row("longer", 0.001, 0.045, **{"train.epochs": 80}),
            row("wider", 0.005, 0.045, **{"model.hidden_sizes": [512]}),
            row("linear", 0.3, 0.35, **{"model.hidden_sizes": []}),
        ],
    }


def worse(measured, train, validation, test=None):
    """The run, and the same trained again, at other losses."""
    for part, loss in (("train", train), ("validation", validation), ("test", test or validation)):
        measured["gaps"][part]["loss"] = loss
    measured["curvature"]["loss"] = train
    for one in measured["comparisons"]:
        if one["name"] == "same":
            one |= row("same", train, validation, one["seed"])
    return measured


def with_row(measured, *arguments, **overrides):
    name = arguments[0]
    measured["comparisons"] = [one for one in measured["comparisons"] if one["name"] != name]
    measured["comparisons"].append(row(*arguments, **overrides))
    return measured


def _bad(*mended, train=0.6, validation=0.62):
    """A large training loss that these comparisons mend; the others are as bad."""
    measured = worse(well(), train, validation)
    for one in measured["comparisons"]:
        if one["name"] not in ("same", *mended):
            one |= row(one["name"], train, validation, **one["overrides"])
    for name in mended:
        with_row(
            measured, name, 0.02, 0.06, **{"optimizer.epsilon": 1e-6} if name != "cross entropy" else {"loss.name": "x"}
        )
    return measured


def _with(measured, **topics):
    changed = copy.deepcopy(measured)
    for topic, values in topics.items():
        changed[topic] |= values
    return changed


def _seeds():
    measured = _bad()
    for one in measured["comparisons"]:
        if one["name"] == "same" and one["seed"]:
            one |= row("same", 0.02, 0.06, one["seed"])
    return measured


def _layers(**values):
    measured = _bad("batch normalization")
    for found in measured["layers"].values():
        for place, activation in enumerate(found["activations"]):
            activation |= {name: value[place] for name, value in values.items()}
    return measured


def _still(verdict, **curvature):
    return _with(_bad(), curves={"recent": 0.0}, curvature={"verdict": verdict, **curvature})


def _cross_entropy():
    measured = _bad("cross entropy")
    for one in measured["comparisons"]:
        mended = one["name"] == "cross entropy"
        one |= {"train_accuracy": 0.99 if mended else 0.5, "best_validation_accuracy": 0.97 if mended else 0.5}
    return measured


FAULTS = {
    "healthy": well(),
    "overfitting": worse(well(), 0.01, 0.6),
    "leakage": _with(well(), duplicates={"train_in_test": {"share": 0.3, "interval": [0.27, 0.33]}}),
    "label_noise": _with(worse(well(), 0.3, 0.7), labels={"estimated_noise": 0.25, "noise_interval": [0.2, 0.3]}),
    "class_imbalance": _with(well(), labels={"imbalance_ratio": 40.0}, recall={"mean": 0.55, "accuracy": 0.97}),
    "mismatch": _with(
        worse(well(), 0.01, 0.05, 0.6), shift={"train_test": {"auc": 0.9, "p_value": 0.002, "features": [["age", 0.4]]}}
    ),
    "rate_too_large": _bad("rate / 10"),
    "rate_too_small": _bad("rate x 10"),
    "undertrained": _bad("longer", "rate x 10"),
    "over_regularized": _bad("unregularized"),
    "model_bias": _bad("wider"),
    "unscaled_features": _with(_bad("normalized features"), features={"condition": 1e5}),
    "bad_initialization": _bad("drawn weights"),
    "batch_too_large": _with(_bad("smaller batches", "longer"), task={"batch_size": 1000}),
    "saturated_loss": _cross_entropy(),
    "unlucky_start": _seeds(),
    "vanishing_gradients": _layers(signal=(1e-6, 0.1)),
    "exploding_gradients": _layers(signal=(1e4, 0.1)),
    "dead_units": _layers(dead=(1.0, 0.9)),
    "saturated_units": _layers(saturated=(0.95, 0.9), kind=("tanh", "tanh")),
    "saddle": _still("saddle", escape_gain=0.1, descent_gain=0.001),
    "degenerate_plateau": _still("degenerate", escape_gain=0.0, descent_gain=0.0),
    "minimum": _still("undecided", smallest=0.01, escape_gain=0.0, descent_gain=0.0),
    "stuck_not_critical": _still("not critical", escape_gain=0.0, descent_gain=0.2),
    "non_finite": _with(_bad(), run={"status": "diverged", "message": "the loss is nan at step 7"}),
}


def test_every_name_has_a_case_and_a_sentence():
    assert set(FAULTS) == set(LECTURE)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_first_and_surely(name):
    ranked = findings.rank(FAULTS[name])
    assert ranked[0].name == name, ranked
    assert ranked[0].strength > 0.6, ranked
    assert all(one.evidence for one in ranked)
    if len(ranked) > 1:
        assert ranked[1].strength <= ranked[0].strength


@pytest.mark.parametrize("name", FAULTS)
def test_a_report_holds_json_with_a_way_and_what_to_do(name):
    fields = flatten(Config())
    report = judging.of_measurements(FAULTS[name], ["nothing"], fields)
    json.dumps(report, allow_nan=False)
    first = report["findings"][0]
    assert first["name"] == name
    assert 0 < first["confidence"] < 1
    assert report["path"][0]["question"] == "Do all numbers stay finite?"
    assert report["path"][0]["answer"] == ("no" if name == "non_finite" else "yes")
    if name != "healthy":
        assert first["prescription"]
    for one in first["prescription"]:
        assert set(one["overrides"]) <= set(fields)
        assert all(fields[field] != value for field, value in one["overrides"].items())


@pytest.mark.parametrize("topic", [*well()])
def test_what_was_not_measured_is_not_judged(topic):
    for measured in FAULTS.values():
        for rest in ({k: v for k, v in measured.items() if k != topic}, {**measured, topic: None}):
            assert tree.path(rest, findings.rank(rest))
            judging.of_measurements(rest)
    assert findings.rank({}) == []


@pytest.mark.parametrize("measured", [worse(well(), 1.2, 1.2), worse(well(), 8.0, 8.0), {"task": {"chance_loss": 1.0}}])
def test_nothing_learned_is_not_well_though_no_cause_is_found(measured):
    for one in measured.get("comparisons", []):
        if one["name"] != "same":
            one |= row(one["name"], measured["gaps"]["train"]["loss"], measured["gaps"]["train"]["loss"])
    measured.setdefault("curves", {})["recent"] = 0.5
    assert "healthy" not in [one.name for one in findings.rank(measured)]


def test_what_is_measured_alone_says_less():
    alone = {topic: FAULTS["leakage"][topic] for topic in ("duplicates",)}
    assert findings.rank(alone)[0].name == "leakage"


@pytest.mark.parametrize("seed_is_lucky", [True, False])
def test_one_lucky_seed_proves_nothing(seed_is_lucky):
    measured = _bad("wider")
    for one in measured["comparisons"]:
        if one["name"] == "same" and one["seed"] == 3 and seed_is_lucky:
            one |= row("same", 0.02, 0.06, 3)
    assert findings.rank(measured)[0].name == "model_bias"


def test_a_gain_of_the_training_alone_is_memorizing():
    measured = _bad("wider")
    with_row(measured, "wider", 0.01, 0.61, **{"model.hidden_sizes": [512]})
    assert "model_bias" not in [one.name for one in findings.rank(measured)]


def test_a_gain_is_a_share_of_all_there_is_to_learn():
    found = facts.derive(_with(_bad("longer"), task={"chance_loss": 2.0}))
    assert found.train == pytest.approx(0.3)
    assert found.changes["longer"].train_gain == pytest.approx((0.6 - 0.02) / 2)
    assert found.changes["longer"].validation_gain == pytest.approx((0.62 - 0.06) / 2)
    assert found.changes["longer"].validation_ratio == pytest.approx(0.06 / 0.62)


def test_a_comparison_with_several_seeds_is_paired_by_seed():
    measured = _bad()
    with_row(measured, "unregularized", 0.5, 0.5)
    measured["comparisons"].append(row("unregularized", 0.1, 0.1, 1))
    change = facts.derive(measured).changes["unregularized"]
    assert change.validation_gain == pytest.approx((0.62 - 0.5 + 0.62 - 0.1) / 2)


def test_a_run_that_diverged_has_learned_nothing():
    measured = _bad("rate / 10")
    for one in measured["comparisons"]:
        if one["name"] == "same":
            one |= {"status": "diverged", "train_loss": None, "best_validation_loss": None}
    found = facts.derive(measured)
    assert found.changes["rate / 10"].validation_gain == pytest.approx(1 - 0.06)


def test_what_the_run_has_learned_with_more_epochs_is_no_gain_of_a_comparison():
    measured = _with(_bad("longer"), curves={"trained_epochs": 20, "best_validation_loss": 0.05})
    measured["gaps"] = {part: {"loss": loss} for part, loss in (("train", 0.02), ("validation", 0.05), ("test", 0.05))}
    for one in measured["comparisons"]:
        one["epochs"] = 2 if one["name"] != "longer" else 8
    change = facts.derive(measured).changes["longer"]
    assert change.train_gain == pytest.approx(0.0)
    assert change.validation_gain == pytest.approx(0.05 - 0.06)
    assert findings.rank(measured)[0].name == "healthy"


def test_graded_is_logarithmic():
    assert graded(10.0, 1.0, 100.0) == pytest.approx(0.75)
    assert graded(0.1, 1.0, 100.0) == pytest.approx(0.25)
    assert graded(1e9, 1.0, 100.0) == 1.0
    assert graded(0.0, 1.0, 100.0) == 0.0


@pytest.mark.parametrize("first", [True, False])
def test_confidence_grows_with_the_evidence(first):
    one = Finding("leakage", 0.0, ())
    values = [confidence.of(one._replace(strength=n / 10), first=first, complete=True) for n in range(11)]
    assert values == sorted(values)
    assert 0 <= values[0] < values[-1] <= 1
    assert confidence.of(one, first=first, complete=False) < confidence.of(one, first=first, complete=True)


def test_comparisons_are_those_the_config_calls_for():
    def names(**fields):
        config = Config()
        for field, value in fields.items():
            section, name = field.split("__")
            setattr(getattr(config, section), name, value)
        found = comparison_plan.wanted(config, train_examples=1000, features=64, epochs=5, plain_features=True)
        return [one.name for one in found]

    assert "unregularized" not in names()
    assert "unregularized" in names(model__dropout=0.5)
    assert "unregularized" in names(optimizer__name="adamw")
    assert "normalized features" in names(data__normalization="none")
    assert "cross entropy" in names(loss__name="softmax_squared_error")
    assert "drawn weights" in names(model__initializer="zeros")
    assert "smaller batches" in names(data__batch_size=512)
    assert {"batch normalization", "relu"} <= set(names(model__activation="tanh", model__batch_norm=False))
    assert "linear" not in names(model__hidden_sizes=())


def test_a_prescription_that_changes_nothing_is_left_out():
    fields = flatten(Config()) | {"early_stopping.patience": 5}
    found = prescriptions.prescribe("overfitting", well(), fields)
    assert all("early_stopping.patience" not in one.overrides for one in found)
    assert any("model.dropout" in one.overrides for one in found)


def test_a_prescription_that_a_comparison_has_refuted_is_left_out():
    fields = flatten(Config())
    measured = _bad("smaller batches")
    with_row(measured, "rate / 10", 0.6, 0.62, **{"optimizer.learning_rate": 1e-4})
    found = prescriptions.prescribe("rate_too_large", measured, fields)
    assert all(one.overrides != {"optimizer.learning_rate": 1e-4} for one in found)
    with_row(measured, "rate / 10", 0.4, 0.5, **{"optimizer.learning_rate": 1e-4})
    found = prescriptions.prescribe("rate_too_large", measured, fields)
    assert any(one.overrides == {"optimizer.learning_rate": 1e-4} for one in found)


def test_findings_that_do_not_suffice_come_without_advice():
    report = judging.of_measurements(_with(well(), curves={"recent": 0.0}), [], flatten(Config()))
    assert report["findings"][0]["name"] == "healthy"
    assert all(not one["prescription"] for one in report["findings"])


def _alone(**topics):
    """Without comparison runs, and with a training loss that is large."""
    measured = _with(worse(well(), 0.7, 0.7), **topics)
    return {topic: value for topic, value in measured.items() if topic != "comparisons"}


def _strength(measured, name):
    return max((found.strength for found in findings.rank(measured) if found.name == name), default=0.0)


def test_a_long_way_of_small_steps_is_no_shaking():
    curves = {"oscillation": 18.0, "rising": 0.5}
    assert _strength(_alone(curves={**curves, "noise": 0.2}), "rate_too_large") >= 0.5
    assert _strength(_alone(curves={**curves, "noise": 0.007}), "rate_too_large") == 0


def test_a_small_rate_is_suspected_far_below_where_the_loss_jumps_only():
    point = {"stability_limit": 38.0}
    assert _strength(_alone(curvature={**point, "peak_stability": 0.0004}), "rate_too_small") >= 0.5
    assert _strength(_alone(curvature={**point, "peak_stability": 0.04}), "rate_too_small") == 0


@pytest.mark.parametrize(
    ("curves", "status", "named"),
    [({}, "completed", True), ({"validation_rise": 1.2}, "completed", False), ({}, "stopped early", False)],
)
def test_a_validation_that_has_turned_asks_for_no_longer_training(curves, status, named):
    measured = _alone(curves={"recent": 0.5, **curves}, run={"status": status})
    assert (_strength(measured, "undertrained") >= 0.5) == named


@pytest.mark.parametrize(("train", "named"), [(0.01, True), (0.5, True), (0.95, False), (13.0, False)])
def test_a_training_loss_near_that_of_a_constant_answer_is_no_overfitting(train, named):
    assert (_strength(worse(well(), train, train + 1.0), "overfitting") >= 0.5) == named


def test_one_epoch_alone_does_not_show_that_a_training_went_well():
    measured = _with(worse(well(), 0.4, 0.4), curves={"recent": None})
    del measured["comparisons"]
    assert _strength(measured, "healthy") == 0
    measured["curvature"] = {}
    assert findings.rank(_with(measured, curves={"recent": 0.05}))[0].name == "healthy"


def test_a_small_loss_that_a_comparison_makes_much_smaller_is_told():
    measured = with_row(worse(well(), 0.04, 0.048), "rate x 10", 0.002, 0.0037, **{"optimizer.learning_rate": 0.1})
    found = findings.rank(measured)[0]
    assert found.name == "healthy"
    assert "learns 5% more" in found.evidence[1]
    assert "0.0037 instead of 0.048" in found.evidence[2]
    assert len(findings.rank(well())[0].evidence) == 2


def test_the_tree_goes_where_the_first_finding_is():
    rate, flexible = _bad("rate x 10"), _bad("rate x 10", "wider")
    for measured in (rate, flexible):
        found = findings.rank(measured)
        assert found[0].name == "rate_too_small"
        (answer,) = [step["answer"] for step in tree.path(measured, found) if "more freedom" in step["question"]]
        assert answer == "no"


def test_few_examples_memorized_are_not_the_lowest_training_loss():
    measured = with_row(worse(well(), 0.3, 0.3), "subset", 1e-5, 2.0)
    (step,) = [
        step for step in tree.path(measured, findings.rank(measured)) if step["question"].endswith("loss large?")
    ]
    assert "lowest of the comparison runs is 1e-05" not in step["because"]


def test_what_a_run_that_stopped_early_has_learned_is_no_gain_of_a_comparison():
    measured = _with(_bad("longer"), curves={"trained_epochs": 20, "best_validation_loss": 0.05})
    for one in measured["comparisons"]:
        one["epochs"] = 20
    measured["gaps"]["train"]["loss"] = 0.04
    gains = [
        facts.derive(_with(measured, run={"status": status})).changes["longer"].validation_gain
        for status in ("completed", "stopped early")
    ]
    assert gains[0] > 0.4
    assert gains[1] < 0.1


def test_without_a_verdict_it_is_said_why():
    report = judging.of_measurements(_bad(train=1.2, validation=1.2))
    assert report["findings"] == []
    assert any("120.0% of the loss of a constant answer" in sentence for sentence in report["not_judged"])
    unknown = judging.of_measurements({"task": {}}, ["layers: not given"])
    assert unknown["not_judged"] == [
        "layers: not given",
        "how much was learned: the loss of a constant answer is not known",
    ]
    assert judging.without_reasons(unknown["not_judged"]) == ["layers: not given"]


def test_a_diverged_run_is_given_the_rate_that_learned_most():
    measured = _with(well(), run={"status": "diverged", "message": "nan"})
    measured["comparisons"] = [
        row("same", None, None, status="diverged"),
        row("rate / 100", 0.99, 0.99, **{"optimizer.learning_rate": 0.01}),
        row("rate / 1000", 0.1, 0.2, **{"optimizer.learning_rate": 0.001}),
    ]
    fields = flatten(Config()) | {"optimizer.learning_rate": 1.0}
    assert prescriptions.prescribe("non_finite", measured, fields)[0].overrides == {"optimizer.learning_rate": 0.001}
    measured["comparisons"] = [row("same", None, None, status="diverged")]
    (first, *_) = prescriptions.prescribe("non_finite", measured, fields)
    assert first.overrides == {"optimizer.learning_rate": 1e-8}
    assert "no comparison run has tried" in first.sentence


def test_of_several_rates_the_best_is_advised():
    measured = with_row(_bad("rate x 10"), "rate x 100", 0.3, 0.32, **{"optimizer.learning_rate": 0.2})
    advice = prescriptions.prescribe("rate_too_small", measured, flatten(Config()))
    assert len([one for one in advice if "optimizer.learning_rate" in one.overrides]) == 1


@pytest.mark.parametrize(
    ("name", "topics", "train", "strength"),
    [
        ("rate_too_small", {"curvature": {"stability_limit": 1e4, "stability": 1.0}}, 0.6, 0.4),
        ("rate_too_small", {"curvature": {"stability_limit": 1e5, "stability": 1.0}}, 0.6, 0.8),
        ("rate_too_small", {"curvature": {"stability_limit": 1e5, "stability": 1.0}}, 0.15, 0.4),
        ("rate_too_small", {"curvature": {"stability_limit": 1e5, "stability": 0.0}}, 0.6, 0.0),
        ("rate_too_large", {"curves": {"oscillation": 5.0, "noise": 1.0, "rising": 0.31}}, 0.6, 0.4),
        ("rate_too_large", {"curves": {"oscillation": 12.0, "noise": 0.15, "rising": 0.31}}, 0.6, 0.8),
        ("rate_too_large", {"curves": {"oscillation": 99.0, "noise": 0.05, "rising": 0.31}}, 0.6, 0.4),
        ("rate_too_large", {"curves": {"oscillation": 99.0, "noise": 1.0, "rising": 0.3}}, 0.6, 0.0),
        ("rate_too_large", {"curves": {"oscillation": None, "noise": 1.0, "rising": 0.5}}, 0.6, 0.0),
        ("undertrained", {"curves": {"recent": 0.12}}, 0.6, 0.4),
        ("undertrained", {"curves": {"recent": 0.4, "validation_rise": 1.05}}, 0.6, 0.8),
    ],
)
def test_what_the_run_alone_lets_one_suspect_has_these_thresholds(name, topics, train, strength):
    measured = _with(worse(well(), train, train), **topics)
    del measured["comparisons"]
    found = [one.strength for one in of_training.find(facts.derive(measured)) if one.name == name]
    assert max(found, default=0.0) == pytest.approx(strength)


@pytest.mark.parametrize(
    ("train", "gap", "half_width", "strength"),
    [(0.1, 0.15, 0.0, 0.5), (0.1, 0.375, 0.0, 1.0), (0.1, 0.3, 0.2, 0.5), (0.8, 2.0, 0.0, 1.0), (0.9, 2.0, 0.0, 0.472)],
)
def test_overfitting_is_a_gap_beyond_what_chance_gives(train, gap, half_width, strength):
    measured = worse(well(), train, train + gap)
    for part in ("validation", "test"):
        measured["gaps"][part]["interval"] = [train + gap - half_width, train + gap + half_width]
    measured["task"]["chance_loss"] = 1.0
    found = [one.strength for one in of_training.find(facts.derive(measured)) if one.name == "overfitting"]
    assert found == [pytest.approx(strength, abs=1e-3)]


def test_an_uncertainty_is_half_an_interval_over_the_loss_of_a_constant_answer():
    measured = _with(well(), task={"chance_loss": 2.0})
    measured["gaps"]["test"]["interval"] = [0.2, 0.6]
    assert facts.derive(measured).uncertainty("test") == pytest.approx(0.1)
    assert facts.derive(measured).uncertainty("train") == 0


def test_longer_is_four_times_as_long():
    (first, *_) = prescriptions.prescribe("undertrained", well(), flatten(Config()) | {"train.epochs": 30})
    assert first.overrides["train.epochs"] == 120


def test_another_loss_or_fewer_examples_are_no_small_gain():
    measured = worse(well(), 0.04, 0.048)
    for name, fields in (("subset", {"data.train_fraction": 0.1}), ("cross entropy", {"loss.name": "x"})):
        with_row(measured, name, 0.002, 0.003, **fields)
        row_of = measured["comparisons"][-1]
        row_of |= {"train_accuracy": 1.0, "best_validation_accuracy": 1.0}
    assert len(findings.rank(measured)[0].evidence) == 2


_ADVICE = {
    "overfitting": [
        {"early_stopping.patience": 5},
        {"model.dropout": 0.4},
        {"optimizer.l2": 0.01},
        {"data.augment.noise": 0.3},
        {"model.hidden_sizes": (10,)},
    ],
    "label_noise": [{"early_stopping.patience": 5}, {"model.dropout": 0.4}, {"optimizer.l2": 0.01}],
    "undertrained": [{"train.epochs": 80}],
    "minimum": [{"model.hidden_sizes": (160, 128)}, {"seed": 4}],
    "unlucky_start": [{"seed": 7}, {"model.hidden_sizes": (160, 32)}],
    "stuck_not_critical": [
        {"schedule.shape": "cosine"},
        {"optimizer.learning_rate": 0.002},
        {"optimizer.name": "adam"},
    ],
    "dead_units": [{"optimizer.learning_rate": 0.002}, {"model.batch_norm": True}, {"model.activation": "gelu"}],
}


@pytest.mark.parametrize("name", _ADVICE)
def test_advice_is_in_the_config_and_in_its_order(name):
    fields = flatten(Config()) | {"seed": 3, "model.hidden_sizes": (40, 8), "model.batch_norm": False}
    fields |= {"optimizer.name": "momentum", "optimizer.learning_rate": 0.02}
    measured = well()
    measured["comparisons"] = [row("same", 0.5, 0.6, 3), row("same", 0.5, 0.4, 7), row("wider", 0.1, 0.1, 9)]
    found = [one.overrides for one in prescriptions.prescribe(name, measured, fields) if one.overrides]
    assert found == _ADVICE[name]


def test_units_that_were_dead_before_the_first_step_were_not_killed_by_it():
    measured = copy.deepcopy(well())
    measured["layers"]["initial"]["activations"][1]["dead"] = 0.5
    first = prescriptions.prescribe("dead_units", measured, flatten(Config()))[0]
    assert first.sentence.startswith("Draw the first weights")


@pytest.mark.parametrize(("status", "sentence"), [("interrupted", "Let it go on"), ("completed", "Train longer")])
def test_a_run_that_was_interrupted_goes_on(status, sentence):
    measured = _with(_bad("longer"), run={"status": status})
    found = prescriptions.prescribe("undertrained", measured, flatten(Config()))
    assert found[0].sentence.startswith(sentence)
    rates = prescriptions.prescribe(
        "rate_too_small", _with(_bad("rate x 10"), run={"status": status}), flatten(Config())
    )
    assert "as a comparison run did" in rates[0].sentence
