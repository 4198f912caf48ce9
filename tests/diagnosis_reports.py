"""Reports as a diagnosis writes them, of runs with different faults."""

import copy
import math
from typing import Any

import numpy as np

LAYERS = [f"Dense_{number}" for number in range(4)]


def _epochs(train, validation, *, accuracy=True, rate=0.001) -> list[dict[str, Any]]:
    rows = []
    for number, (first, second) in enumerate(zip(train, validation, strict=True), 1):
        row = {"epoch": number, "step": 45 * number, "train_loss": first, "validation_loss": second}
        if accuracy:
            # A classifier of ten classes: e^-loss is the probability that the right one gets.
            row |= {f"{split}_accuracy": math.exp(-row[f"{split}_loss"]) for split in ("train", "validation")}
        rows.append({**row, "learning_rate": rate, "gradient_norm": 0.3 * first + 0.01})
    return rows


def _decaying(first, last, count=20, pace=4.0) -> list[float]:
    return [round(last + (first - last) * math.exp(-pace * step / count), 5) for step in range(1, count + 1)]


def _layers(norms, *, dead=(0.0, 0.0, 0.0), saturated=None, names=LAYERS, count=20) -> dict[str, Any]:
    """Norms of the gradient fall from those given to a tenth of them."""

    def snapshot(factor: float) -> dict[str, Any]:
        rows = [
            {
                "name": name,
                "gradient_norm": norm * factor,
                "weight_norm": 9.5,
                "relative_gradient": norm * factor / 9.5,
                "update_ratio": 1e-3 * factor,
            }
            for name, norm in zip(names, norms, strict=True)
        ]
        shares = [share * (1.1 - factor) for share in dead]
        kinds = {"kind": "relu"} if saturated is None else {"kind": "tanh"}
        activations = [
            {
                "name": name,
                **kinds,
                "units": 128,
                "dead_units": share,
                "saturated": saturated,
                "scale": 0.8,
                "mean": 0.2,
            }
            for name, share in zip(names, shares, strict=False)
        ]
        return {"layers": rows, "activations": activations, "output_scale": 1.2, "loss": 2.3 * factor}

    history = [
        {
            "step": 45 * epoch,
            "epoch": epoch,
            "gradient_norms": {name: norm * 0.1 ** (epoch / count) for name, norm in zip(names, norms, strict=True)},
            "update_ratios": dict.fromkeys(names, 0.001),
            "dead": float(np.mean(dead)),
            "saturated": saturated,
        }
        for epoch in range(count + 1)
    ]
    return {"initial": snapshot(1.0), "last": snapshot(0.1), "history": history}


def _curvature(verdict, smallest, largest, *, loss, stability=0.4) -> dict[str, Any]:
    random = np.random.default_rng(0)
    bulk = np.sort(random.exponential(0.03 * largest, (4, 30)), axis=1)
    bulk[:, 0], bulk[:, -1] = smallest, largest
    side = np.linspace(-1, 1, 25)
    plane = loss + loss * np.sign(smallest) * side[None] ** 2 * (1 - 0.2 * side[None]) + 3 * loss * side[:, None] ** 2
    return {
        "verdict": verdict,
        "reason": "the gradient is zero within its error and there are eigenvalues of both signs",
        "smallest": smallest,
        "largest": largest,
        "gradient_norm": 2.1e-4,
        "loss": loss,
        "learning_rate": 0.001,
        "stability": stability,
        "stability_limit": 2.0,
        "escape_gain": max(0.0, -smallest / 4),
        "minimum_ratio": 0.61,
        "spectrum": {"nodes": bulk.tolist(), "weights": np.full(bulk.shape, 1 / 30).tolist()},
        "surface": {
            "first": side.tolist(),
            "second": side.tolist(),
            "losses": np.maximum(plane, 0.05 * loss).tolist(),
            "names": [f"along the eigenvector of {smallest:.3g}", f"along the eigenvector of {largest:.3g}"],
        },
    }


def _comparisons(losses: dict[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    rows = []
    for name, (train, validation) in losses.items():
        for seed in (0, 1):
            rows.append(
                {
                    "name": name,
                    "overrides": {"optimizer.learning_rate": 0.01},
                    "seed": seed,
                    "train_loss": None if train is None else train * (1 + 0.2 * seed),
                    "validation_loss": None if validation is None else validation * (1 + 0.1 * seed),
                    "status": "diverged" if train is None else "completed",
                    "epochs": 20,
                    "curve": [[1, 2.0, 2.1], [20, train, validation]],
                }
            )
    return rows


def _gaps(train, validation, test) -> dict[str, Any]:
    return {
        split: {
            "loss": loss,
            "interval": [0.9 * loss, 1.12 * loss],
            "accuracy": math.exp(-loss),
            "accuracy_interval": [0.97 * math.exp(-loss), min(1.0, 1.02 * math.exp(-loss))],
        }
        for split, loss in (("train", train), ("validation", validation), ("test", test))
    }


_TASK = {
    "classes": 10,
    "examples": {"train": 1294, "validation": 143, "test": 360},
    "features": 64,
    "chance_loss": 2.3026,
    "chance_accuracy": 0.1018,
    "loss": "cross_entropy",
    "parameters": 26122,
    "batch_size": 32,
    "learning_rate": 0.001,
    "optimizer": "adam",
}
_DATA = {
    "features": {
        "scale_ratio": 5.2,
        "largest_offset": 0.9,
        "constant": ["pixel 0", "pixel 32", "pixel 39"],
        "constant_count": 3,
        "dimensions": 64,
        "widest": [["pixel 27", 0.41], ["pixel 43", 0.4]],
        "normalized": True,
    },
    "labels": {
        "neighbour_disagreement": 0.021,
        "interval": [0.014, 0.031],
        "neighbours": 5,
        "expected_disagreement": 0.9,
        "held_out_disagreement": 0.024,
        "estimated_noise": 0.004,
        "counts": {str(digit): 130 - digit for digit in range(10)},
        "imbalance_ratio": 1.08,
        "rarest_share": 0.094,
    },
    "duplicates": {
        "within_train": 0.0,
        "within_train_interval": [0.0, 0.003],
        "train_in_test": 0.0,
        "train_in_test_interval": [0.0, 0.01],
    },
    "shift": {"train_test": {"auc": 0.51, "p_value": 0.42, "features": [["pixel 12", 0.08], ["pixel 30", 0.07]]}},
}
_LECTURES = {
    "healthy": "Training loss small, test loss small: there is nothing left to do.",
    "overfitting": "Training loss small, test loss large: more data, augmentation, or a model with less freedom.",
    "saddle": "A critical point with negative eigenvalues is a saddle: follow an eigenvector of one to escape.",
    "rate_too_large": "With too large a rate the loss oscillates between the walls of the valley and falls no further.",
    "vanishing_gradients": "Where each layer shrinks the gradient, the first layers learn almost nothing.",
    "non_finite": "Too large a step leads where numbers overflow; nothing is learned after that.",
    "label_noise": "No model can predict labels that are wrong; what fits them has learned noise.",
    "rate_too_small": "With too small a rate a training does not arrive in its time.",
}


def _finding(name, confidence, evidence, *prescriptions) -> dict[str, Any]:
    return {
        "name": name,
        "confidence": confidence,
        "evidence": evidence,
        "lecture": _LECTURES.get(name, "The lectures say nothing of it."),
        "prescription": [
            {"sentence": sentence, "overrides": overrides, "tried": tried}
            for sentence, overrides, tried in prescriptions
        ],
    }


def _report(name, findings, path, measurements, *, status="completed", not_judged=()) -> dict[str, Any]:
    return {
        "version": 1,
        "run": {
            "name": name,
            "workdir": f"runs/{name}",
            "step": 900,
            "epochs": 20,
            "status": status,
            "seconds": 12.3,
            "command": f"python train.py --config=digits --workdir=runs/{name} --config.model.hidden_sizes=128,128",
        },
        "findings": findings,
        "path": [{"question": question, "answer": answer, "because": why} for question, answer, why in path],
        "measurements": measurements,
        "not_judged": list(not_judged),
    }


_SMALL = ("Is the training loss large?", "no", "0.0021, and chance gives 2.30")
_LARGE = ("Is the training loss large?", "yes", "0.84, and the best comparison run reached 0.031")
_FINITE = ("Do all numbers stay finite?", "yes", "all 900 steps are finite")
_SOUND = ("Are the data sound?", "yes", "neighbours disagree on 2.1 % (1.4 to 3.1 %); no example of test is in train")


def _healthy() -> dict[str, Any]:
    measurements = {
        "task": _TASK,
        "curves": {"epochs": _epochs(_decaying(2.3, 0.02), _decaying(2.3, 0.09)), "noise": 0.004, "slope": -0.001},
        "gaps": _gaps(0.021, 0.093, 0.11),
        **_DATA,
        "layers": _layers([0.11, 0.14, 0.12, 0.31]),
        "curvature": _curvature("undecided", -0.02, 4.1, loss=0.021),
        "comparisons": _comparisons(
            {
                "linear": (0.11, 0.19),
                "wider, deeper": (0.004, 0.1),
                "rate / 10": (0.21, 0.3),
                "10 times the rate": (0.3, 0.5),
            }
        ),
    }
    path = [
        _FINITE,
        _SOUND,
        _SMALL,
        ("Is the test loss large?", "no", "0.11 (0.08 to 0.14); no comparison run is below"),
    ]
    evidence = [
        "Training loss 0.021 and test loss 0.11 (0.08 to 0.14): no comparison run reached a lower one.",
        "The loss still falls by less than its noise of 0.004.",
    ]
    return _report("digits", [_finding("healthy", 0.91, evidence)], path, measurements)


def _overfitting() -> dict[str, Any]:
    validation = [round(0.62 + 1.7 * math.exp(-0.9 * epoch) + 0.028 * epoch, 4) for epoch in range(1, 21)]
    measurements = {
        "task": _TASK,
        "curves": {"epochs": _epochs(_decaying(2.3, 0.0021, pace=7), validation), "noise": 0.02, "slope": 0.028},
        "gaps": {**_gaps(0.0021, 1.18, 1.21), "best": _gaps(0.31, 0.81, 0.83)},
        **_DATA,
        "layers": _layers([0.01, 0.02, 0.015, 0.04], dead=(0.05, 0.11, 0.3)),
        "curvature": _curvature("minimum", 1e-4, 12.5, loss=0.0021),
        "comparisons": _comparisons(
            {
                "linear": (0.14, 0.41),
                "wider, deeper": (0.0004, 1.3),
                "shallower": (0.02, 0.9),
                "rate / 10": (0.11, 0.82),
                "10 times the rate": (None, None),
                "half of the examples": (0.001, 1.7),
                "a quarter of the examples": (0.001, 2.3),
                "decay 0.1": (0.08, 0.52),
                "dropout 0.5": (0.09, 0.49),
            }
        ),
    }
    path = [
        _FINITE,
        _SOUND,
        _SMALL,
        ("Is the test loss large?", "yes", "1.21 (1.09 to 1.36), 580 times the training loss"),
        (
            "Are training and test examples of one kind?",
            "yes",
            "a probe tells them apart by chance only: area .51, p .42",
        ),
    ]
    findings = [
        _finding(
            "overfitting",
            0.93,
            [
                "Training loss 0.0021, test loss 1.21 (1.09 to 1.36); dropout of 0.5 reached 0.49.",
                "Validation loss was lowest, 0.81, in epoch 6 and has risen by 0.37 since.",
                "Half of the examples give 1.7, a quarter 2.3: twice as many would bring about 0.3.",
            ],
            (
                "Dropout of 0.5.",
                {"model.dropout": 0.5},
                {"kept": True, "sentence": "validation loss 1.18 → 0.49 over 2 seeds"},
            ),
            (
                "A smaller model.",
                {"model.hidden_sizes": [32]},
                {"kept": False, "sentence": "validation loss 1.18 → 1.21 over 2 seeds"},
            ),
            (
                "Stop when validation no longer improves.",
                {"early_stopping.enabled": True, "early_stopping.patience": 3},
                None,
            ),
            ("More examples: twice as many would bring about 0.3 of validation loss.", {}, None),
        ),
        _finding(
            "label_noise",
            0.35,
            ["Neighbours disagree on 2.1 % (1.4 to 3.1 %)."],
            ("Look at the labels of the examples with the largest loss.", {}, None),
        ),
    ]
    return _report("digits-wide", findings, path, measurements)


def _saddle() -> dict[str, Any]:
    measurements = {
        "task": _TASK,
        "curves": {"epochs": _epochs(_decaying(2.31, 1.51, pace=9), _decaying(2.31, 1.55, pace=9)), "noise": 0.002},
        "gaps": _gaps(1.51, 1.55, 1.54),
        **_DATA,
        "layers": _layers([1e-4, 2e-4, 1e-4, 3e-4]),
        "curvature": _curvature("saddle", -1.9, 3.4, loss=1.51),
        "comparisons": _comparisons(
            {"linear": (0.14, 0.2), "other seeds": (0.04, 0.12), "10 times the rate": (1.5, 1.6)}
        ),
    }
    path = [
        _FINITE,
        _SOUND,
        _LARGE,
        ("Does a model with more freedom fit better?", "no", "wider and deeper: 1.50, as this run; other seeds: 0.04"),
        ("Is the gradient zero?", "yes", "2.1e-04, and its error is 4e-04"),
        ("Which signs have the eigenvalues?", "both", "-1.9 to 3.4"),
    ]
    findings = [
        _finding(
            "saddle",
            0.88,
            [
                "The gradient is zero (2.1e-04 ± 4e-04) at a loss of 1.51, and the smallest eigenvalue is -1.9.",
                "Along its eigenvector the loss falls by 0.48.",
            ],
            (
                "Leave saddles along negative curvature.",
                {"escape.enabled": True},
                {"kept": True, "sentence": "training loss 1.51 → 0.04 over 2 seeds"},
            ),
            ("Another optimizer: momentum carries over saddles.", {"optimizer.name": "momentum"}, None),
        ),
        _finding("unlucky_start", 0.55, ["Other seeds reach 0.04."], ("Another seed.", {"seed": 1}, None)),
    ]
    return _report("trap_identical_units", findings, path, measurements)


def _rate_too_large() -> dict[str, Any]:
    random = np.random.default_rng(1)
    wild = (1.3 + 0.5 * random.standard_normal(20)).round(4).clip(0.4).tolist()
    measurements = {
        "task": {**_TASK, "learning_rate": 0.5, "optimizer": "momentum"},
        "curves": {"epochs": _epochs(wild, [loss + 0.1 for loss in wild], rate=0.5), "noise": 0.5, "oscillation": 0.62},
        "gaps": _gaps(1.31, 1.4, 1.38),
        **_DATA,
        "layers": _layers([12.0, 31.0, 8.0, 55.0], dead=(0.3, 0.72, 0.95)),
        "curvature": {**_curvature("not critical", -0.4, 31.0, loss=1.31, stability=15.5), "learning_rate": 0.5},
        "comparisons": _comparisons(
            {"rate / 10": (0.05, 0.14), "rate / 100": (0.02, 0.1), "10 times the rate": (None, None)}
        ),
    }
    path = [
        _FINITE,
        _SOUND,
        _LARGE,
        ("Does a model with more freedom fit better?", "no", "wider and deeper: 1.42"),
        ("Is the gradient zero?", "no", "31, with an error of 0.6"),
    ]
    evidence = [
        "A rate of 0.05 reaches a training loss of 0.05, this one of 0.5 stays at 1.31.",
        "Rate times largest eigenvalue is 15.5, and steps are stable up to 2.",
    ]
    better = {"kept": True, "sentence": "training loss 1.31 → 0.05 over 2 seeds"}
    finding = _finding(
        "rate_too_large", 0.96, evidence, ("A tenth of the rate.", {"optimizer.learning_rate": 0.05}, better)
    )
    return _report(
        "digits_momentum",
        [finding, _finding("dead_units", 0.6, ["95 % of the units of Dense_2 are dead."])],
        path,
        measurements,
    )


def _vanishing() -> dict[str, Any]:
    names = [f"Dense_{number}" for number in range(12)]
    norms = [10.0 ** (number - 12) for number in range(12)]
    measurements = {
        "task": _TASK,
        "curves": {"epochs": _epochs(_decaying(2.35, 2.29), _decaying(2.36, 2.3)), "noise": 0.003, "slope": -0.0004},
        "gaps": _gaps(2.29, 2.3, 2.3),
        **_DATA,
        "layers": _layers([0.0, *norms[1:]], names=names, dead=[0.0] * 11, saturated=0.42),
        "comparisons": _comparisons(
            {"shallower": (0.02, 0.12), "linear": (0.12, 0.2), "10 times the rate": (2.29, 2.3)}
        ),
    }
    path = [
        _FINITE,
        _SOUND,
        _LARGE,
        ("Does a model with more freedom fit better?", "no", "a shallower one reaches 0.02"),
        ("Is the gradient zero?", "no", "0.1 in the last layer"),
    ]
    evidence = ["The gradient of Dense_0 is 1e-11 of that of Dense_11, and a shallower network reaches 0.02."]
    finding = _finding(
        "vanishing_gradients", 0.9, evidence, ("ReLU in place of the sigmoid.", {"model.activation": "relu"}, None)
    )
    return _report(
        "deep_sigmoid", [finding], path, measurements, not_judged=["curvature: its products took longer than 20 s"]
    )


def _non_finite() -> dict[str, Any]:
    epochs = _epochs([2.3, 31.0, 8e4], [2.4, 60.0, 3e5], accuracy=False, rate=10.0)
    epochs.append(
        {
            "epoch": 4,
            "step": 180,
            "train_loss": None,
            "validation_loss": None,
            "learning_rate": 10.0,
            "gradient_norm": None,
        }
    )
    layers = _layers([1.0, 2.0, 3.0, 5.0], count=3)
    layers["history"][-1]["gradient_norms"] = {"Dense_0": None, "Dense_1": None, "Dense_2": 1e30, "Dense_3": 4e12}
    layers["last"] = None
    measurements = {
        "task": {**_TASK, "learning_rate": 10.0},
        "curves": {"epochs": epochs},
        "layers": layers,
        "origin": {
            "step": 163,
            "epoch": 4,
            "layer": "Dense_2",
            "what": "forward",
            "sentence": "step 163: the outputs of Dense_2 overflow",
        },
        "comparisons": _comparisons({"rate / 10": (None, None), "rate / 100": (0.3, 0.4)}),
    }
    path = [("Do all numbers stay finite?", "no", "step 163: the outputs of Dense_2 overflow")]
    finding = _finding(
        "non_finite",
        0.99,
        ["The outputs of Dense_2 overflow at step 163, in epoch 4."],
        ("A hundredth of the rate.", {"optimizer.learning_rate": 0.1}, None),
    )
    return _report(
        "digits-10",
        [finding],
        path,
        measurements,
        status="diverged",
        not_judged=["gaps: the run has no finite weights", "curvature: the run has no finite weights"],
    )


def _fast() -> dict[str, Any]:
    report = _overfitting()
    del report["measurements"]["comparisons"], report["measurements"]["curvature"]
    report["findings"][0] |= {"confidence": 0.66}
    for prescription in report["findings"][0]["prescription"]:
        prescription["tried"] = None
    report["not_judged"] = ["model_bias, unlucky_start: they need comparison runs, which --fast leaves out"]
    return report


def _foreign() -> dict[str, Any]:
    """Of curves alone."""
    return {
        "version": 1,
        "run": {
            "name": "my loop",
            "workdir": None,
            "step": None,
            "epochs": 20,
            "status": None,
            "seconds": None,
            "command": None,
        },
        "findings": [
            _finding(
                "rate_too_small",
                0.45,
                ["The loss still falls by 0.08 an epoch, 40 times its noise."],
                ("Ten times the rate.", {}, None),
            )
        ],
        "path": [
            {
                "question": "Is the training loss large?",
                "answer": "not judged",
                "because": "nothing to compare with was given",
            }
        ],
        "measurements": {
            "curves": {"epochs": _epochs(_decaying(3.1, 1.4, pace=1), _decaying(3.1, 1.5, pace=1), accuracy=False)}
        },
        "not_judged": [
            "layers: no apply was given",
            "curvature: no loss_fn was given",
            "comparisons: no train_fn was given",
        ],
    }


_MAKERS = {
    "healthy": _healthy,
    "overfitting": _overfitting,
    "saddle": _saddle,
    "rate_too_large": _rate_too_large,
    "vanishing_gradients": _vanishing,
    "non_finite": _non_finite,
    "fast": _fast,
    "foreign": _foreign,
}
NAMES = tuple(_MAKERS)


def report(name: str) -> dict[str, Any]:
    """One of `NAMES`, new at each call.

    Args:
        name: which.

    Returns:
        As report.json holds it.
    """
    return copy.deepcopy(_MAKERS[name]())
