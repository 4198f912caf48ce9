"""L1 or L2: which one generalizes better on a sparse and on a dense truth, and the weights that each leaves."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from tricks.lectures.common import decays, figures, statistics
from tricks.lectures.common.decays import COEFFICIENTS, EXAMPLES, NEAR, NOT_ZERO, Strengths
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.masks import WEIGHTS_ONLY

_SIGN, _SOFT, _L2 = _KINDS = ("L1 by the sign", "L1 by soft threshold", "L2")
_TRUTHS = ("sparse", "dense")
_GRID = np.logspace(-2.5, 1, 8)
_DRAWS = 20
_RATE = 0.1
_LANES = {
    "no decay": Strengths(),
    "L2, λ = 0.001": Strengths(l2=0.001),
    "L2, λ = 0.01": Strengths(l2=0.01),
    "L1, sign, λ = 0.001": Strengths(sign=0.001),
    "L1, soft, λ = 0.001": Strengths(soft=0.001),
}

CLAIM = Claim(
    title="L2 decay is always better than L1",
    idea="L2 takes the same share of each weight, ηλw, so it presses most on large ones; L1 takes the same amount, ηλ, "
    "so large ones stay, and few end near zero, the notes say. A function of small weights is smooth. Is L2 always "
    "the better one, then?",
    lecture="Regularization: L2 and L1 decay, and the question at their end. Biases are left alone by both.",
    rule=f"Linear data with a sparse truth ({NOT_ZERO} of {COEFFICIENTS} coefficients are not 0) or a dense one (all "
    f"are Gaussian) of equal norm, {EXAMPLES} examples, {_DRAWS} draws of each; each decay has the strength, of "
    f"{len(_GRID)}, with the lowest validation error. Supported if the error of L1 (by the sign) over that of L2, on "
    "new examples without their noise, has an interval (of the geometric mean) above 1 with both truths; refuted if "
    "with one of them it is at 1 or below.",
    source="Tibshirani 1996; soft threshold: Daubechies et al. 2004.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Fits linear data with every strength, and trains networks with each decay."""
    draws = list(range(*effort.pick((100, 100 + _DRAWS), (0, 5))))
    note("linear data")
    linear = {truth: _linear(truth, draws, effort.pick(5000, 2000)) for truth in _TRUTHS}
    note("networks")
    seeds, steps = effort.pick([0, 1, 2], [10, 11]), effort.pick(10_000, 3000)
    return {
        "seeds": draws,
        "examples": f"made linear data, and {effort.images}",
        "images": effort.images,
        "steps": steps,
        "linear": linear,
        "networks": decays.networks(effort.images, seeds, _LANES, rate=_RATE, steps=steps),
    }


def _linear(truth: str, draws: list[int], steps: int) -> dict[str, Any]:
    """Errors with the best strengths, one for each draw, of each kind; with `weights` decayed or `all`."""
    each = jnp.asarray(np.eye(len(_KINDS))[:, :, None] * _GRID).swapaxes(1, 2).reshape(-1, len(_KINDS))
    found: dict[str, Any] = {}
    for decayed, mask in (("weights", WEIGHTS_ONLY), ("all", None)):
        errors = decays.linear_errors(truth == "sparse", draws, Strengths(*each.T), mask=mask, steps=steps)
        validation, new = (error.reshape(len(draws), len(_KINDS), -1) for error in errors)
        best = validation.argmin(-1)
        chosen = np.take_along_axis(new, best[..., None], -1)[..., 0]
        found[decayed] = dict(zip(_KINDS, chosen.T.tolist(), strict=True))
        found[f"{decayed}_strengths"] = dict(zip(_KINDS, _GRID[best].T.tolist(), strict=True))
    return found


def judge(data: Data) -> Judgement:
    """Whether L1's error is above L2's with both truths."""
    of = data["linear"]
    ratios = {truth: statistics.ratio(of[truth]["weights"][_SIGN], of[truth]["weights"][_L2]) for truth in _TRUTHS}
    smallest = min(_TRUTHS, key=lambda truth: ratios[truth].value)
    shares = {
        name: {part: float(np.mean(data["networks"][name][part])) for part in ("zero", "near", "accuracy")}
        for name in _LANES
    }
    bias = {
        kind: statistics.ratio(*([e for t in _TRUTHS for e in of[t][decayed][kind]] for decayed in ("all", "weights")))
        for kind in (_SIGN, _L2)
    }
    return Judgement(
        statistics.all_of([statistics.decide(ratio, 1.0) for ratio in ratios.values()]),
        ratios[smallest].value,
        ratios[smallest].interval,
        f"error of L1 over that of L2 with a {smallest} truth, where it is smaller",
        " ".join(f"With a {truth} truth {_judge_better(ratios[truth])}." for truth in _TRUTHS)
        + f" In a network on {data['images']} {_judge_left(shares)}. A bias that decays too "
        f"multiplies the error by {_judge_range(bias[_SIGN])} under L1 and by "
        f"{_judge_range(bias[_L2])} under L2.",
        {
            "ratios": {truth: list(ratio) for truth, ratio in ratios.items()},
            "soft_over_l2": {
                t: list(statistics.ratio(of[t]["weights"][_SOFT], of[t]["weights"][_L2])) for t in _TRUTHS
            },
            "networks": shares,
            "decayed_bias": {kind: list(ratio) for kind, ratio in bias.items()},
        },
    )


def _judge_better(ratio: statistics.Estimate) -> str:
    better = "L1 is better" if ratio.high < 1 else "L2 is better" if ratio.low > 1 else "neither is clearly better"
    return f"{better}: L1's error is {_judge_range(ratio)} times L2's"


def _judge_left(shares: dict[str, dict[str, float]]) -> str:
    near = {kind: max(row["near"] for name, row in shares.items() if kind in name) for kind in ("L2", "sign")}
    more = "more" if near["sign"] > near["L2"] else "no more"
    each = [f"{name}: {_judge_percent(row['near'])}, {_judge_percent(row['zero'])}" for name, row in shares.items()]
    return f"L1 leaves {more} weights near zero than L2 (below {NEAR:g} in size, and exactly 0: {'; '.join(each)})"


def _judge_range(estimate: statistics.Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _judge_percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def draw(data: Data) -> Any:
    """Errors of L1 over L2, the weights that are left, and what a decayed bias costs."""
    figure, (left, middle, right) = figures.new(3, width=15, gridspec_kw={"width_ratios": [1, 2.2, 1]})
    for place, truth in enumerate(_TRUTHS):
        rows = data["linear"][truth]
        gain = np.divide(rows["weights"][_SIGN], rows["weights"][_L2])
        figures.seeds(left, place, gain.tolist(), place)
        for kind, name in enumerate((_SIGN, _L2)):
            label = name if place == 0 else None
            cost = np.divide(rows["all"][name], rows["weights"][name])
            figures.seeds(right, place + 0.5 * kind - 0.25, cost.tolist(), kind + 2, label)
    _draw_truths(left, "error of L1 / error of L2", f"linear data, {len(data['seeds'])} draws\nbelow 1: L1 is better")
    _draw_truths(right, "error, bias decayed / not decayed", "the bias decays too\nabove 1: that harms")
    right.set_ylim(top=1.5 * right.get_ylim()[1])
    right.legend(loc="upper right")
    centres = ((decays.EDGES[1:] + decays.EDGES[:-1]) / 2).tolist()
    for kind, name in enumerate(_LANES):
        rows = data["networks"][name]
        label = f"{name}: {_judge_percent(np.mean(rows['zero']))} exactly 0"
        figures.band(middle, centres, (100 * np.asarray(rows["bins"])).tolist(), kind, label)
    middle.axvline(np.log10(NEAR), color="black", linewidth=1.5, linestyle=":")
    middle.set(xlabel="log₁₀ |w|, without the exact zeros", ylabel="share of all weights in %")
    seeds = len(data["networks"]["no decay"]["zero"])
    middle.set(title=f"network on {data['images']}, {data['steps']} steps\nmedian and range of {seeds} seeds")
    middle.set_ylim(0, 1.5 * middle.get_ylim()[1])
    middle.legend(loc="upper left")
    return figure


def _draw_truths(axis: Any, label: str, title: str) -> None:
    axis.axhline(1, color="black", linewidth=1.5)
    axis.set(yscale="log", xticks=range(len(_TRUTHS)), xticklabels=_TRUTHS, xlim=(-0.6, 1.6))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.set(xlabel="truth", ylabel=label, title=title)
