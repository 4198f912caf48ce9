"""Data with a known answer for the experiments on critical points."""

from typing import Any

import numpy as np

_SADDLE = {
    "gradient": [0.0, 0.0],
    "hessian": [[0.0, -2.0], [-2.0, 0.0]],
    "verdict": "saddle",
    "loss": 1.0,
    "loss_both_ways": [0.5625, 0.5625],
    "loss_other_ways": [1.5625, 1.5625],
    "escaped_to": [1.0, 1.0],
    "products": 2,
    "side": [-1.0, 0.0, 1.0],
    "losses": [[0.0, 1.0, 4.0], [1.0, 1.0, 1.0], [4.0, 1.0, 0.0]],
}


def _taylor(power: float) -> dict[str, Any]:
    """Errors c h^power (1 + a h) of three seeds with two lines each."""
    steps = np.geomspace(1e-5, 1, 31)
    sizes = np.array([[1.0, 2.0], [0.5, 1.5], [3.0, 0.7]])[..., None]

    def errors(power: float) -> list[Any]:
        return (sizes * steps**power * (1 + sizes * steps)).tolist()

    return {"steps": steps.tolist(), "linear": errors(2), "quadratic": errors(power)}


def _ratios(significant: Any, zeros_above: Any) -> dict[str, Any]:
    """Networks of 40 eigenvalues, 20 of them zero, with these shares of positive ones at losses from 1 down to 1e-3."""
    loss = np.geomspace(1, 1e-3, 24)
    eigenvalues = []
    for share, above in zip(significant(np.arange(24) / 23), zeros_above(np.arange(24) / 23), strict=True):
        positive, tiny = round(20 * share), round(20 * above)
        signs = [1.0] * positive + [-1.0] * (20 - positive) + [1e-9] * tiny + [-1e-9] * (20 - tiny)
        eigenvalues.append(sorted(np.multiply(signs, np.linspace(1, 2, 40)).tolist()))
    # One network more whose gradient is not small, and which does not count.
    return {
        "loss": [*loss.tolist(), 2.0],
        "gradient_norm": [*np.geomspace(1e-9, 1e-4, 24).tolist(), 0.1],
        "flat": [*np.linspace(0, 1, 24).tolist(), 0.0],
        "eigenvalues": [*eigenvalues, eigenvalues[0]],
    }


def _rising(x: Any) -> Any:
    return 0.3 + 0.6 * x


def _slices(*without: int) -> dict[str, Any]:
    """Points of 100 parameters, with these numbers of dimensions without a way down."""
    kinds = ("identical units", "zero weights", "after ordinary training")
    points = [
        {
            "kind": kind,
            "seed": seed,
            "loss": 1.5,
            "gradient_norm": 0.0,
            "size": 100,
            "negative": 30,
            "smallest": -1.0,
            "largest": 2.0,
            "without": [number + (seed if number < 100 else 0) for number in without],
        }
        for kind in kinds
        for seed in (0, 1, 2)
    ]
    return {"points": points}


def _stuck_runs(*verdicts: str) -> dict[str, Any]:
    """So many stuck runs in each of two ways, and one that is not stuck."""
    ways = ("identical units", "two hidden units")
    runs = []
    for way in ways:
        for seed, verdict in enumerate(verdicts):
            held_out = {"saddle": -0.4, "undecided": 0.1}.get(verdict, 0.0)
            point = {"verdict": verdict, "loss": 1.4, "gradient_norm": 0.02, "minimum_ratio": 0.6}
            point |= {"smallest": -0.5 - 0.01 * seed, "largest": 2.0, "held_out": held_out}
            told = {"plateau": 1, "losses": [1.41, 1.4], "point": point}
            runs.append({"way": way, "optimizer": "momentum", "seed": seed, **told})
    free = {"plateau": None, "losses": [1.4, 0.1], "point": None}
    return {"runs": [*runs, {"way": ways[0], "optimizer": "momentum", "seed": 9, **free}]}


def _standing(left: float, overlap: float) -> dict[str, Any]:
    """Runs that stand still in their third window with this share of the gradient and this overlap, and one free."""
    runs = [
        {
            "kind": kind,
            "rate": rate,
            "seed": seed,
            "plateau": 2,
            "rate_times_curvature": rate,
            "losses": [2.0, 1.0, 1.0, 0.99],
            "norms": [0.5, 0.4, 0.5 * left * (1 + 0.1 * seed), 0.2],
            "overlaps": [0.9, 0.5, overlap + 0.01 * seed, 0.0],
        }
        for kind in ("all examples", "batches of 32")
        for rate in (0.5, 2.0)
        for seed in (0, 1, 2)
    ]
    return {"runs": [*runs, {**runs[0], "seed": 7, "plateau": None}]}


def _escapes(leave: int) -> dict[str, Any]:
    """Two traps and the limit with 20 seeds each, of which so many leave with escape, and ordinary training."""
    methods = (
        "momentum alone",
        "noise of radius 0.01",
        "noise of radius 0.1",
        "noise of radius 1",
        "restart",
        "escape",
    )
    traps = {"identical units": 1.0, "low-rank factorization": 1.0, "(1 − w₁w₂w₃)²: no curvature": 1.0}
    runs = []
    for trap, level in [*traps.items(), ("usual weights", None)]:
        for method in methods:
            for seed in range(20):
                gone = (method == "escape" and seed < leave and "no curvature" not in trap) or method == "restart"
                runs.append(
                    {
                        "trap": trap,
                        "method": method,
                        "seed": seed,
                        "level": level,
                        "losses": [2.0, 2.0, 0.5 if gone else 2.0, 0.4 if gone else 2.0],
                        "work": [20.0, 40.0, 60.0, 80.0],
                        "escapes": int(gone),
                        "products": 10 * int(gone),
                        "test_loss": 0.3 + 0.01 * seed,
                    }
                )
    return {"runs": runs}


KNOWN = {
    "toy_saddle": {
        "supported": _SADDLE,
        # As the notes with the erratum have it: [1, 1] with the eigenvalue 2.
        "refuted": {**_SADDLE, "hessian": [[0.0, 2.0], [2.0, 0.0]]},
    },
    # An approximation without its last term errs by the second power.
    "taylor": {"supported": _taylor(3.0), "refuted": _taylor(2.0)},
    "minimum_ratio": {
        "supported": _ratios(_rising, _rising),
        "refuted": _ratios(lambda x: _rising(1 - x), _rising),
        # A trend of the zeros' signs alone.
        "inconclusive": _ratios(lambda x: 0.6 + 0.1 * np.cos(20 * np.pi * x), _rising),
    },
    # Ways down from 3 to 22 dimensions on; and none in any.
    "more_dimensions": {"supported": _slices(3, 5, 10, 20), "refuted": _slices(100, 100, 100, 100)},
    "saddles_not_minima": {
        "supported": _stuck_runs(*["saddle"] * 9, "minimum"),
        "refuted": _stuck_runs("saddle", *["undecided"] * 9),
        "inconclusive": _stuck_runs("saddle", "undecided"),
    },
    "stuck_not_critical": {
        "supported": _standing(0.8, -0.7),
        # A gradient that vanished.
        "refuted": _standing(0.001, -0.7),
        "inconclusive": _standing(0.8, -0.01),
    },
    "saddle_escape": {"supported": _escapes(19), "refuted": _escapes(2), "inconclusive": _escapes(16)},
}
