"""Data with a known answer for the experiments on regularization."""

from typing import Any

KNOWN: dict[str, Any] = {}


def _stopped(loss: float, accuracy: float, epochs: int) -> dict[str, Any]:
    """What stopping with any patience comes to, beside whole runs that end at a loss of 0.6 and an accuracy of 0.82."""
    one = {
        "train": [[1.0, 0.5, 0.1] + [0.05] * 7] * 3,
        "validation": [[2.0, 0.7, 0.5, 0.55] + [0.6] * 7] * 3,
        "last_loss": [0.6, 0.61, 0.62],
        "last_accuracy": [0.82, 0.83, 0.84],
        "best_loss": [0.5, 0.5, 0.51],
        "epochs": [[epochs, epochs, epochs + 1]] * 5,
        "loss": [[loss, loss, loss + 0.01]] * 5,
        "accuracy": [[accuracy, accuracy + 0.01, accuracy + 0.02]] * 5,
    }
    return {
        "seeds": [0, 1, 2],
        "epochs": 10,
        "patiences": [1, 2, 4, 8, 16],
        "settings": {"right labels": one, "a fifth wrong": one},
    }


KNOWN["early_stopping"] = {
    "supported": _stopped(0.5, 0.85, 3),
    # It stops before the network has learned what it can.
    "refuted": _stopped(0.7, 0.7, 1),
    # No loss of accuracy, but hardly any epochs saved in one seed of three.
    "inconclusive": {
        **_stopped(0.5, 0.85, 3),
        "settings": {
            name: {**one, "epochs": [[2, 3, 9]] * 5} for name, one in _stopped(0.5, 0.85, 3)["settings"].items()
        },
    },
}


def _linear(sign, l2):
    """Errors of three draws that lie 10 % around their middle."""
    errors = {"L1 by the sign": sign, "L1 by soft threshold": sign, "L2": l2}
    around = {kind: [0.9 * error, error, 1.1 * error] for kind, error in errors.items()}
    # With decayed biases all would come out the other way.
    worse = {"L1 by the sign": 10.0 if sign < l2 else 0.1, "L1 by soft threshold": 2.0, "L2": 1.0}
    return {"weights": around, "all": {kind: [worse[kind] * error for error in rows] for kind, rows in around.items()}}


def _spread(zero, near, small):
    bins = [0.0] * 32
    bins[12], bins[24] = small, 1 - zero - small
    return {"zero": [zero] * 2, "near": [near] * 2, "bins": [bins] * 2, "accuracy": [0.9] * 2}


_DECAYS = {
    "seeds": [0, 1, 2],
    "examples": "made linear data, and digits",
    "images": "digits",
    "steps": 1000,
    "linear": {"sparse": _linear(0.2, 1.0), "dense": _linear(3.0, 2.0)},
    "networks": {
        "no decay": _spread(0.0, 0.1, 0.05),
        "L2, λ = 0.001": _spread(0.0, 0.2, 0.1),
        "L2, λ = 0.01": _spread(0.0, 0.4, 0.2),
        "L1, sign, λ = 0.001": _spread(0.0, 0.9, 0.7),
        "L1, soft, λ = 0.001": _spread(0.6, 0.9, 0.2),
    },
}
KNOWN["l1_or_l2"] = {
    "refuted": _DECAYS,
    "supported": {**_DECAYS, "linear": {"sparse": _linear(1.5, 1.0), "dense": _linear(3.0, 2.0)}},
    "inconclusive": {
        **_DECAYS,
        "linear": {
            "sparse": {**_linear(1.0, 1.0), "weights": {**_linear(1.0, 1.0)["weights"], "L2": [1.5, 0.9, 0.6]}},
            "dense": _linear(3.0, 2.0),
        },
    },
}


def _errors(train, test):
    """Rows of three seeds around an error in %, alike in what the seed does to them."""
    moved = (-0.02, 0.0, 0.02)
    return [
        {"images": 1000, "train_error": train, "train_loss": 0.1, "test_error": test + by, "test_loss": 0.2}
        for by in moved
    ]


_DROPPED = {
    "seeds": [0, 1, 2],
    "examples": "mnist",
    "part": {"0": _errors(0.0, 3.5), "0.5": _errors(0.1, 3.2)},
    "all": {"0": _errors(0.0, 1.6), "0.25": _errors(0.0, 1.4), "0.5": _errors(0.1, 1.3)},
    "alone": [[5.0, 5.2, 4.8, 5.0]] * 3,
    "average": [[5.0, 4.0, 3.3, 3.22 + by] for by in (-0.04, 0.0, 0.03)],
}
KNOWN["dropout"] = {
    "supported": _DROPPED,
    # It lowers the error, and weight scaling lies half a point above the average.
    "refuted": {**_DROPPED, "average": [[5.0, 4.0, 3.0, 2.7 + by] for by in (-0.04, 0.0, 0.03)]},
    "inconclusive": {
        **_DROPPED,
        "part": {"0": [_errors(0.0, e)[1] for e in (3.9, 3.2, 3.1)], "0.5": _errors(0.1, 3.2)},
    },
}


def _run(train, validation, test):
    """Five seeds whose losses go up by 1 % each."""
    more = [1.0, 1.01, 1.02, 1.03, 1.04]
    losses = {
        "train": train,
        "validation": validation,
        "test": test,
        "best_test": 0.9 * test,
        "error": 5.0,
        "best_error": 4.0,
    }
    found = {name: [value * by for by in more] for name, value in losses.items()}
    return {"curve": [[2 * train * by, train * by] for by in more], **found}


_FAULTY = {
    "seeds": [0, 1, 2, 3, 4],
    "examples": "digits",
    "runs": {
        "tiny": _run(1.2, 1.2, 1.2),
        "shallow": _run(0.1, 0.15, 0.15),
        "deep": _run(0.2, 0.25, 0.25),
        "turned test": _run(0.1, 0.15, 5.0),
        "few images": _run(0.01, 0.5, 0.5),
        "more data": _run(0.01, 0.3, 0.3),
        "augmentation": _run(0.05, 0.4, 0.4),
        "fewer parameters": _run(0.02, 0.6, 0.6),
        "decay 0.1": _run(0.01, 0.5, 0.5),
        "decay 0.3": _run(0.01, 0.4, 0.4),
        "decay 1": _run(0.1, 0.6, 0.6),
        "dropout 0.2": _run(0.02, 0.4, 0.4),
        "dropout 0.5": _run(0.05, 0.5, 0.5),
    },
}
KNOWN["bias_or_optimization"] = {
    "supported": _FAULTY,
    # All networks reach the same loss, so that of the large ones none is told.
    "refuted": {
        **_FAULTY,
        "runs": _FAULTY["runs"] | {name: _run(1.0, 1.0, 1.0) for name in ("tiny", "shallow", "deep", "turned test")},
    },
    # The deep network is no worse: 20 of 25.
    "inconclusive": {**_FAULTY, "runs": _FAULTY["runs"] | {"deep": _run(0.1, 0.15, 0.15)}},
}
