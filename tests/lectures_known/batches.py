"""Data with a known answer for the experiments on batches."""

from typing import Any

import numpy as np

_SIZES = [1, 4, 16, 64, 256, 1024, 4096]
_ALL, _CALLED, _ONE, _ONE_BY_ONE = (
    "all cores",
    "all cores, called from Python",
    "one core",
    "one core, an example at a time",
)


def _times(fixed: tuple[float, ...]) -> dict[str, Any]:
    """An update takes a fixed time, in each process another, and one for each example; rounds differ by a hundredth."""

    def rounds(more: float, each: float, *, times: float = 1.0) -> list[list[float]]:
        return [
            [1e-5 * noise * (times * one + more + each * size) for size in _SIZES]
            for one in fixed
            for noise in (1.0, 1.01, 0.99)
        ]

    return {
        "examples": "mnist",
        "device": "2 cores",
        "whole": 4096,
        "sizes": dict.fromkeys((_ALL, _CALLED, _ONE, _ONE_BY_ONE), _SIZES),
        "seconds": {
            _ALL: rounds(0, 1),
            _CALLED: rounds(40, 1),
            _ONE: rounds(0, 2),
            _ONE_BY_ONE: rounds(0.1, 10, times=0.0),
        },
        "process": {way: np.repeat(np.arange(len(fixed)), 3).tolist() for way in (_ALL, _CALLED, _ONE, _ONE_BY_ONE)},
        "cores_busy": [2.0] * len(fixed),
    }


_POINTS = ("at the start", "after training")
_NOISE_SIZES = [1, 2, 4, 8, 16, 32, 50]


def _noise(power: float, small: float) -> dict[str, Any]:
    """Three seeds with variances near a power of the size, of a hundred examples.

    Those of real batches go with a power of their own up to 32, and from there with 1/B.
    """
    sizes, seeds = np.array(_NOISE_SIZES), (1.0, 1.02, 0.98)
    with_replacement = [(seed * sizes**power).tolist() for seed in seeds]
    without = [(seed * (100 - sizes) / 99 / sizes).tolist() for seed in seeds]
    real = [4, 8, 16, 32, 64, 128, 256]
    of_real = [[(size / 32) ** (small + more if size < 32 else -1) for size in real] for more in (0.0, 0.02, -0.02)]
    steps = np.linspace(0, 3, 40)
    return {
        "seeds": [0, 1, 2],
        "examples": "100 of digits",
        "count": 100,
        "sizes": _NOISE_SIZES,
        "updates": 40,
        "with": dict.fromkeys(_POINTS, with_replacement),
        "without": dict.fromkeys(_POINTS, without),
        "of_one": {point: [1.0, 1.0, 1.0] for point in _POINTS},
        "signal": {point: [0.1, 0.2, 0.1] for point in _POINTS},
        "real": {"sizes": real, "examples": 1400, "draws": 64, "variances": dict.fromkeys(_POINTS, of_real)},
        "wander": {"1": [9.0, 10.0, 11.0], "all": [1.1, 1.2, 1.1]},
        "paths": {
            "1": np.stack([steps, np.sin(9 * steps) / 5], axis=1).tolist(),
            "all": np.stack([steps, steps**2 / 9], axis=1).tolist(),
            "shares": [0.7, 0.2],
        },
    }


def _accuracy(train: list[float], validation: list[float]) -> dict[str, Any]:
    """At equal epochs accuracies by size; at equal updates they rise to 99 and 95. Seeds differ by a tenth."""

    def seeds(values: list[float]) -> list[list[float]]:
        return [[value - 0.1, value, value + 0.1 + 0.01 * at] for at, value in enumerate(values)]

    return {
        "seeds": [0, 1, 2],
        "examples": "5700 of mnist",
        "sizes": [16, 256, 5700],
        "epochs": 20,
        "updates": 712,
        "updates_at_equal_epochs": [7120, 440, 20],
        "epochs_at_equal_updates": [2, 32, 712],
        "accuracy": {
            "epochs": {"train": seeds(train), "validation": seeds(validation)},
            "updates": {"train": seeds([95.0, 98.0, 99.0]), "validation": seeds([93.0, 95.0, 95.0])},
        },
    }


_MEASURES = ("full space, ε = 1e-3", "full space, ε = 5e-4", "random subspace, ε = 1e-3", "random subspace, ε = 5e-4")


def _minima(times: float, test: list[float], earlier_times: float, earlier_test: list[float]) -> dict[str, Any]:
    """Three pairs, the large batch so many times as sharp, with these test accuracies; and where it came down to the
    loss of the small one."""
    alphas = np.linspace(-0.5, 1.5, 9)
    line = 0.05 + 4 * alphas**2 * (alphas - 1) ** 2
    small = [1.0, 1.2, 0.9]

    def large(times: float) -> list[float]:
        return [times * value * spread for value, spread in zip(small, (1, 1.1, 0.9), strict=True)]

    return {
        "seeds": [0, 1, 2],
        "examples": "mnist",
        "sizes": {"small": 256, "large": 5900},
        "epochs": {"small": 8, "large": 20},
        "alphas": alphas.tolist(),
        "accuracy": {
            "train": {"small": [99.6, 99.7, 99.6], "large": [100.0, 99.9, 100.0]},
            "test": {"small": [98.0, 98.1, 98.2], "large": test},
        },
        "sharpness": {name: {"small": small, "large": large(times)} for name in _MEASURES},
        "relative": {"small": [2.0, 2.2, 2.1], "large": [2.1, 2.0, 2.2]},
        "losses": {"small": [0.01, 0.011, 0.012], "large": [5e-4, 7e-4, 6e-4], "earlier": [0.009, 0.01, 0.011]},
        "earlier": {
            "epoch": [11, 12, 10],
            "accuracy": earlier_test,
            "sharpness": large(earlier_times),
            "relative": [1.0, 1.2, 1.1],
        },
        "line": {
            "train": [(line * spread).tolist() for spread in (1, 1.1, 1.2)],
            "test": [(line * spread + 0.03).tolist() for spread in (1, 1.1, 1.2)],
        },
    }


_WORSE, _BETTER, _EITHER = [97.8, 97.9, 97.9], [98.3, 98.5, 98.6], [98.2, 97.9, 98.0]


def _large(lamb: list[float]) -> dict[str, Any]:
    """Adam goes from about 98 to about 95 %, momentum to 93, and LAMB has these accuracies at the large batch."""
    rates = {"momentum": [0.01, 0.1, 1.0], "adam": [0.001, 0.01, 0.1], "lamb": [0.01, 0.1, 1.0]}
    at_small = {"momentum": [97.8, 97.9, 98.0], "adam": [98.0, 98.0, 98.1], "lamb": [97.9, 98.0, 98.1]}
    at_large = {"momentum": [93.0, 93.1, 93.2], "adam": [95.0, 95.1, 95.0], "lamb": lamb}

    def compared(accuracy: dict[str, list[float]]) -> dict[str, Any]:
        return {name: {"rate": rates[name][1], "accuracy": values} for name, values in accuracy.items()}

    def swept(accuracy: dict[str, list[float]]) -> dict[str, Any]:
        return {name: [[90.0, 91.0], values[:2], [0.0, 10.0]] for name, values in accuracy.items()}

    return {
        "seeds": [0, 1, 2],
        "examples": "54000 of mnist",
        "sizes": {"small": 128, "large": 4096},
        "epochs": 5,
        "updates": {"small": 2105, "large": 65},
        "rates": rates,
        "swept": {"small": swept(at_small), "large": swept(at_large)},
        "compared": {"small": compared(at_small), "large": compared(at_large)},
    }


SECOND = {
    ("batch_time", "supported"): "supported",
    ("batch_time", "refuted"): "inconclusive",
    ("gradient_noise", "supported"): "refuted",
    ("gradient_noise", "refuted"): "supported",
}
"""What the second rules make of the rows below."""

KNOWN: dict[str, Any] = {
    "batch_time": {
        # (100 + 16) / (100 + 1), and an epoch of single examples takes 1024 x 101 / 1124 = 92 times as long.
        "supported": _times((100.0, 100.0, 100.0)),
        # (1 + 16) / (1 + 1) = 8.5, and (10 + 16) / (10 + 1) = 2.4 in the third process, which leaves it open.
        "refuted": _times((1.0, 1.0, 10.0)),
    },
    "gradient_noise": {"supported": _noise(-1.0, -2.0), "refuted": _noise(-0.5, -1.0)},
    "batch_accuracy": {
        "supported": _accuracy([100.0, 98.0, 90.0], [95.0, 94.0, 89.0]),
        # Overfitting: training accuracy stays.
        "refuted": _accuracy([100.0, 100.0, 100.0], [95.0, 92.0, 88.0]),
        # Training shows 2 of 4 points.
        "inconclusive": _accuracy([100.0, 99.0, 98.0], [95.0, 93.0, 91.0]),
    },
    "sharp_minima": {
        # At one loss it is the flatter one.
        "supported": _minima(20.0, _WORSE, 0.5, _WORSE),
        # As sharp as told, and better for it; at one loss as told.
        "refuted": _minima(20.0, _BETTER, 5.0, _WORSE),
        "inconclusive": _minima(20.0, _EITHER, 5.0, _EITHER),
    },
    "large_batch_lamb": {
        "supported": _large([97.5, 97.6, 97.5]),
        # 0.5 points of 3.
        "refuted": _large([95.5, 95.6, 95.5]),
    },
}
