"""Data with a known answer for the experiments on optimizers."""

from typing import Any

import numpy as np

_SEEDS = list(range(6))
_FACTORS = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0]

_SUM = {
    "settings": [["constant", 0.0], ["constant", 0.9], ["inverse_sqrt", 0.0], ["inverse_sqrt", 0.9]],
    "errors": [[[0.0, 0.0, 0.0], [0.0, 1e-16, 2e-16], [0.0, 0.0, 0.0], [0.0, 1e-16, 3e-16]]] * 2,
    "weights": [[1.0, 0.0, 0.0], [1.0, 0.9, 0.81]],
}
# The rate inside m replaced by the current one: each past gradient is off by a few per cent.
_OUTSIDE = [[[0.0, 0.0, 0.0], [0.0, 1e-16, 2e-16], [0.0, 0.0, 0.0], [0.0, 0.03, 0.05]]] * 2

_RATES = (10 ** np.linspace(-2, 0.5, 26)).round(5).tolist()
_DECAYS = [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995]


def _crossed(from_rate: list[int]) -> list[Any]:
    """Curves that are crossed with each decay from the rate of that number on."""
    shifts = (0, 1, 0, 2, 1, 0)
    return [[[int(i >= start + shift) for start in from_rate] for i in range(26)] for shift in shifts]


_WAY = {"place": [-3.0, 0.0, 3.0], "loss": [4.5, 0.0, 4.5], "ways": [[-3.0, -2.0], [-3.0, 0.0]], "rate": 0.1}
_ESCAPES = {
    "rates": _RATES,
    "decays": _DECAYS,
    # Plain descent crosses from 1.58 times the limit on, momentum of 0.9 from 0.02 on.
    "crossed": {
        "minimum": _crossed([22, 16, 12, 8, 3, 2, 1, 0, 0]),
        "plateau": _crossed([22, 16, 12, 8, 3, 2, 1, 0, 0]),
    },
    "shown": {"minimum": _WAY, "plateau": _WAY},
}
# Momentum of 0.9 crosses from 0.2 on: with more than plain descent at ten times the rate, but with too few.
_LATE = {"minimum": _crossed([24, 22, 20, 18, 13, 12, 10, 6, 4]), "plateau": _ESCAPES["crossed"]["plateau"]}
# Momentum does no more than ten times the rate does.
_FASTER = {"minimum": _crossed([12, 9, 7, 5, 2, 1, 0, 0, 0]), "plateau": _ESCAPES["crossed"]["plateau"]}


def _bowls(plain: float, square: float) -> dict[str, Any]:
    """Three rates and the bowl's own; the best of gradient descent is its own, of root mean square the second."""
    return {
        "gradient descent": [[100_000, 2 * plain * f, 100_000, plain * f] for f in _FACTORS],
        "root mean square": [[8 * square * f, square / f, 100_000, 100_000] for f in _FACTORS],
        "root mean square, turned": [[100_000, plain * f, 100_000, 100_000] for f in _FACTORS],
    }


_RATES_OF_BOWLS = {
    "condition": [1000.0] * 6,
    "rates": [1e-4, 1e-2, 1.0],
    "most": 100_000,
    "updates": _bowls(8000, 80),
    # Until it stays root mean square needs a while longer.
    "stayed": _bowls(8000, 200),
    "ways": [[name, 0.1, [[10.0, 1.0], [9.0, -1.0], [8.0, 1.0]]] for name in ("gradient descent", "root mean square")],
}
_MISSED = {
    **_bowls(8000, 80),
    "root mean square": [[100_000, 100_000 if seed == 3 else 80, 1e5, 1e5] for seed in _SEEDS],
}


def _valley(square: list[float], recent: list[float]) -> dict[str, Any]:
    def counts(values: list[float]) -> list[Any]:
        return [[[20_000, value * (1 + target), 20_000] for value in values] for target in range(4)]

    updates = {
        "root mean square": counts(square),
        "RMSProp, α = 0.9": counts(recent),
        "RMSProp, α = 0.99": counts(recent),
        "gradient descent": counts(square),
    }
    way = {"points": [[-1.5, 2.0], [0.0, 0.0], [1.0, 1.0]], "sigma": [9.0, 5.0, 3.0], "slope": [9.0, 2.0, 1.0]}
    return {
        "rates": [1e-3, 1e-2, 1e-1],
        "targets": [1.0, 0.1, 0.01, 0.001],
        "updates": updates,
        "seeds": list(range(6)),
        "most": 20_000,
        "misfits": {"root mean square": [1.0] * 6, "RMSProp, α = 0.9": [0.5] * 6},
        "ways": {"root mean square": way, "RMSProp, α = 0.9": way},
    }


_SLOW, _QUICK = [1000 * f for f in _FACTORS], [500 / f for f in _FACTORS]


def _bursts(constant: float, decayed: float, end: float = 0.001) -> dict[str, Any]:
    methods, shapes = ("root mean square", "RMSProp, α = 0.99"), ("constant", "inverse_sqrt", "linear", "cosine")
    names = [f"{method}, {shape}" for method in methods for shape in shapes]
    sizes = {name: decayed if "inverse_sqrt" in name else constant for name in names}
    return {
        "updates": [1, 10, 100],
        "condition": [1000.0] * 6,
        "bursts": {name: [size * (f if size > 0.1 else 1 / f) for f in _FACTORS] for name, size in sizes.items()},
        "ends": {name: [end] * 6 for name in names},
        "arrivals": {name: [1000 if "inverse_sqrt" in name else 100] * 6 for name in names},
        "sideways": {name: [[0.5 * f, 0.01, size * f] for f in _FACTORS] for name, size in sizes.items()},
        "without_noise": {"constant": [constant] * 6, "inverse_sqrt": [decayed] * 6},
        "ways": {shape: [[10.0, 1.0], [5.0, 0.0], [1.0, 0.1]] for shape in shapes[:2]},
    }


def _warmup(without: list[int], with_warmup: list[int], last_spread: float = 0.07) -> dict[str, Any]:
    """With the number of the largest usable rate of each seed."""
    rates = [0.001, 0.01, 0.02, 0.04, 0.08]
    accuracy = [[[0.95 if i <= last else 0.1 for last in lasts] for i in range(5)] for lasts in (without, with_warmup)]
    return {
        "updates": 600,
        "warmup_updates": 60,
        "rates": rates,
        "spread": [[1.0 * f, 0.3, last_spread / f] for f in _FACTORS],
        "accuracy": accuracy,
        "train_loss": [[[0.1 if a > 0.5 else 2.3 for a in row] for row in rows] for rows in accuracy],
    }


KNOWN: dict[str, Any] = {
    "momentum_weighted_sum": {"supported": _SUM, "refuted": {**_SUM, "errors": _OUTSIDE}},
    "momentum_escapes": {"supported": _ESCAPES, "refuted": {**_ESCAPES, "crossed": _LATE}},
    "adaptive_rates": {"supported": _RATES_OF_BOWLS, "refuted": {**_RATES_OF_BOWLS, "updates": _bowls(400, 80)}},
    "rmsprop_crescent": {"supported": _valley(_SLOW, _QUICK), "refuted": _valley(_QUICK, _SLOW)},
    "rate_decay": {"supported": _bursts(0.5, 0.01), "refuted": _bursts(0.5, 0.2)},
    "warmup": {
        "supported": _warmup([2, 2, 1, 2, 2, 2], [3, 3, 3, 4, 3, 3]),
        "refuted": _warmup([3, 3, 3, 4, 3, 3], [2, 2, 1, 2, 2, 2]),
    },
}

# More answers, for which no figure is drawn: the other conditions of a rule, each of which refutes alone, and data that
# leave it open.
MORE: list[tuple[str, str, Any]] = [
    ("momentum_escapes", "refuted", {**_ESCAPES, "crossed": _FASTER}),
    ("momentum_escapes", "inconclusive", {**_ESCAPES, "crossed": {k: v[:1] for k, v in _ESCAPES["crossed"].items()}}),
    ("adaptive_rates", "refuted", {**_RATES_OF_BOWLS, "updates": _MISSED}),
    ("adaptive_rates", "inconclusive", {**_RATES_OF_BOWLS, "updates": _bowls(810, 80)}),
    ("rmsprop_crescent", "inconclusive", _valley([500, 1000] * 3, [1000, 500] * 3)),
    ("rate_decay", "refuted", _bursts(0.05, 0.001)),
    ("rate_decay", "refuted", _bursts(0.5, 0.01, end=0.5)),
    ("rate_decay", "inconclusive", _bursts(0.5, 0.05)),
    ("warmup", "refuted", _warmup([2, 2, 1, 2, 2, 2], [3, 3, 3, 4, 3, 3], last_spread=0.8)),
    ("warmup", "inconclusive", _warmup([2, 2, 3, 2, 2, 2], [2, 3, 2, 2, 3, 2])),
]
