"""Data with a known answer for the experiments on losses and normalization."""

from typing import Any

_SIDE = [-10.0, 0.0, 10.0]
_SURFACE = [[1e-3, 1e-2, 1e-1], [1e-2, 1e-1, 1.0], [1e-1, 1.0, 2.0]]


def _bad_start(of_squared_error: list[float], *, flat: float = 1e-8) -> dict[str, Any]:
    """Gradient descent with squared error reaches these accuracies at the gaps; all else reaches 0.9."""
    fine = [[0.9, 0.91, 0.92]] * 3
    own = [[value, value + 0.01, value + 0.02] for value in of_squared_error]
    rates = [0.1] * 3

    def trained(accuracy: list[list[float]]) -> dict[str, Any]:
        return {"rates": rates, "accuracy": accuracy}

    return {
        "seeds": [0, 1, 2],
        "updates": 1000,
        "gaps": [0.0, 10.0, 20.0],
        "surfaces": {
            "side": _SIDE,
            "cross-entropy": {"losses": _SURFACE, "gradient": 1.4},
            "squared error": {"losses": _SURFACE, "gradient": flat},
        },
        "trained": {
            "gradient descent": {"cross-entropy": trained(fine), "squared error": trained(own)},
            "Adam": {"cross-entropy": trained(fine), "squared error": trained(fine)},
        },
    }


def _identities(of_gradient: float) -> dict[str, Any]:
    curves = {
        "softmax": [[0.7, 0.5, 0.4], [0.8, 0.5, 0.4]],
        "sigmoid, twice the rate": [[0.7, 0.5, 0.4], [0.8, 0.5, 0.4]],
        "sigmoid, the same rate": [[0.7, 0.6, 0.5], [0.8, 0.6, 0.5]],
    }
    return {
        "seeds": [0, 1],
        "errors": {"probability": 0.0, "gradient by the logits": of_gradient},
        "curves": {"momentum": curves, "Adam": curves},
    }


def _scales(epochs: tuple[int, int], usable: int) -> dict[str, Any]:
    """Epochs at the best rate with equal and with unequal scales, and how many of four rates work with the latter."""

    def of(best: int, count: int) -> tuple[list[Any], list[Any]]:
        first = [None, best + 3, best, None]
        last = [0.05 if place < count else None for place in range(4)]
        return [first, [None, best + 2, best, None]], [last, last]

    equal, unequal = of(epochs[0], 3), of(epochs[1], usable)
    one = {
        "rates": [0.001, 0.01, 0.1, 1.0],
        "level": 0.1,
        "first": {"equal scales": equal[0], "unequal scales": unequal[0]},
        "last": {"equal scales": equal[1], "unequal scales": unequal[1]},
        # Between the largest rate that works, 0.1, or 0.01 or 0.001, and the next.
        "finer": {
            "equal scales": [[(0.2, 0.05), (0.4, None)]] * 2,
            "unequal scales": [[(2 * 10.0 ** (usable - 4), 0.05), (4 * 10.0 ** (usable - 4), 0.2)]] * 2,
        },
        "accuracy": {"equal scales": [[0.6, 0.9, 0.95, None]] * 2, "unequal scales": [[0.5, 0.8, None, None]] * 2},
    }
    return {
        "seeds": [0, 1],
        "epochs": 40,
        "spacing": 1.0,
        "sets": {"breast_cancer": one, "images": one},
    }


def _never() -> dict[str, Any]:
    data = _scales((5, 20), 1)
    nothing = [[None] * 4] * 2
    one = data["sets"]["images"]
    first, last = ({**one[name], "unequal scales": nothing} for name in ("first", "last"))
    return {**data, "sets": {**data["sets"], "images": {**one, "first": first, "last": last}}}


def _normalization(updates: tuple[int, int, int], largest: tuple[int, int, int]) -> dict[str, Any]:
    """Updates at the best rate without, with, and with noise; and the places of the largest rates that work."""
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    shifts = (0.02, 0.002, 0.4)
    runs = {}
    for kind, best, place, shift in zip(
        ("without", "with", "with, and noise after it"), updates, largest, shifts, strict=True
    ):
        last = [0.2 if i <= place else (None if i == 3 else 2.3) for i in range(4)]
        of_set = {
            "first": [[None, best, best + 20, None], [None, best + 1, best + 30, None]],
            "last": [last, last],
            "shift": [[shift] * 4, [1.1 * shift] * 4],
            "best": [1, 1],
            "tested": [[0.95, 0.1, 0.9], [0.96, 0.1, 0.91]] if kind == "with" else [[], []],
        }
        runs[kind] = {"images": of_set, "badly scaled images": of_set}
    return {
        "seeds": [0, 1],
        "updates": 400,
        "levels": {"images": 0.5, "badly scaled images": 1.0},
        "rates": rates,
        "sizes": [1, 16],
        "runs": runs,
    }


KNOWN: dict[str, Any] = {
    "mse_or_cross_entropy": {
        "supported": _bad_start([0.89, 0.5, 0.1]),
        # It gets out of the corner as well.
        "refuted": _bad_start([0.89, 0.89, 0.89]),
        # From an ordinary start it is about as much worse, so that the bad one need not be why.
        "inconclusive": {
            **_bad_start([0.1, 0.1, 0.1]),
            "trained": {
                name: {
                    "cross-entropy": {"rates": [0.1] * 3, "accuracy": [[0.5, 0.7, 0.9]] + [[0.9, 0.9, 0.9]] * 2},
                    "squared error": {"rates": [0.1] * 3, "accuracy": [[0.1, 0.1, 0.1]] * 3},
                }
                for name in ("gradient descent", "Adam")
            },
        },
    },
    "softmax_sigmoid": {"supported": _identities(1e-15), "refuted": _identities(1e-6)},
    "feature_scaling": {
        "supported": _never(),
        "refuted": _scales((5, 6), 3),
    },
    "batch_norm": {
        "supported": _normalization((200, 40, 50), (1, 3, 3)),
        # As fast and as far without it.
        "refuted": _normalization((41, 40, 50), (2, 2, 2)),
    },
}
