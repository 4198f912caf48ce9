"""The share of positive eigenvalues where the gradient is small, against the training loss."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tricks import losses, models, transforms
from tricks.lectures.common import figures, statistics
from tricks.lectures.common.experiment import INCONCLUSIVE, Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.results import shown
from tricks.lectures.common.small_networks import damped_sine, descend, small, to_small_gradient

_SMALL, _CRITICAL = 1e-3, 1e-8  # Of the gradient norm.
_ZERO = 1e-6  # Of the largest |eigenvalue|.
_PUBLISHED = (0.5, 0.6)  # Where the largest ratio of the lecture's figure is.

CLAIM = Claim(
    title="Where the gradient vanishes, the share of positive eigenvalues is higher the lower the loss is",
    idea="The minimum ratio is the number of positive eigenvalues of the Hessian by the number of all. In the "
    "lecture's figure, a point for each trained network, it is higher where the loss is lower, and never above 0.5 to "
    "0.6: even there about half of the directions lead down, so that saddles, not minima, are what training meets.",
    lecture="Critical points: the minimum ratio of many trained networks.",
    rule=f"Networks 1-10-10-1 (tanh) that fit sin(5πx)/(5πx) are trained for 0 to 4,000 steps of Adam, then their "
    f"gradient is driven down whatever the loss does. Counted are those with a gradient norm of at most {_SMALL:g}. "
    f"Supported if over them the rank correlation of the loss with positive/all is below 0, and also that with "
    f"positive/(positive + negative) where |eigenvalues| of at most {_ZERO:g} of the largest count as zero (95 % "
    "intervals); refuted if one of the two intervals lies at 0 or above.",
    source="Gradient-flat points that are not critical: Frye et al., arXiv 2003.10397.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Spectra of the Hessians, in float64."""
    seeds = np.asarray(effort.pick(range(100, 228), range(12)))
    count = len(seeds)
    stops = np.concatenate([[0], np.geomspace(1, effort.pick(4000, 400), count - 1).round()])
    # Larger weights make richer functions at the start, and other losses.
    gains = np.resize([1.0, 1.5, 2.0, 3.0], count)
    examples = damped_sine(64)
    with jax.enable_x64(True):
        network = small(
            models.multilayer_perceptron(
                input_size=1, output_size=1, hidden_sizes=(10, 10), activation="tanh", initializer="glorot"
            ),
            losses.squared_error,
        )

        def loss(w: jax.Array) -> jax.Array:
            return network.loss(w, examples)

        def trained(seed: jax.Array, gain: jax.Array, stop: jax.Array) -> jax.Array:
            start = gain * network.start(jax.random.key(seed))
            return descend(loss, start, int(stops[-1]), transforms.adam(1e-2), stop)

        note("training")
        points = side_by_side(trained, seeds, gains, stops)
        note("driving the gradients down")

        def driven(w: jax.Array) -> Any:
            w, gradient, matrix = to_small_gradient(loss, w, effort.pick(1000, 300))
            return loss(w), gradient, matrix

        values, gradients, matrices = side_by_side(driven, points, batched=False)
    spectra = [np.linalg.eigh(matrix) for matrix in matrices]
    return {
        "seeds": seeds.tolist(),
        "examples": "64 points of sin(5πx)/(5πx), 0 ≤ x ≤ 1",
        "steps": stops.tolist(),
        "loss": values.tolist(),
        "gradient_norm": np.linalg.norm(gradients, axis=1).tolist(),
        "flat": [flat_share(g, *spectrum) for g, spectrum in zip(gradients, spectra, strict=True)],
        "eigenvalues": [[float(f"{value:.5g}") for value in spectrum[0]] for spectrum in spectra],
    }


def flat_share(gradient: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> float:
    """The share of |g|^2 in directions of zero curvature: near 1 the gradient stays as it is, whatever step is taken.

    >>> flat_share(np.array([3.0, 4.0]), np.array([0.0, 1.0]), np.eye(2))
    0.36
    """
    parts = np.square(vectors.T @ gradient)
    flat = np.abs(values) <= _ZERO * np.max(np.abs(values))
    return float(np.sum(parts[flat]) / np.sum(parts))


def _judge_ratios(eigenvalues: Sequence[float], zero: float) -> tuple[float, float, float]:
    """Positive/all, positive/(positive + negative) without zeros, and the share of zeros."""
    values = np.asarray(eigenvalues)
    tolerance = zero * np.max(np.abs(values))
    positive, negative = np.sum(values > tolerance), np.sum(values < -tolerance)
    return float(np.mean(values > 0)), float(positive / (positive + negative)), float(np.mean(abs(values) <= tolerance))


def _judge_counted(data: Data) -> list[int]:
    return [number for number, norm in enumerate(data["gradient_norm"]) if norm <= _SMALL]


def _judge_trend(found: statistics.Estimate) -> str:
    if found.high < 0:
        return "is higher where the loss is lower"
    return "is lower where the loss is lower" if found.low > 0 else "shows no trend with the loss"


def _judge_correlation(loss: Sequence[float], ratios: Sequence[float]) -> statistics.Estimate:
    if len(set(loss)) < 4 or len(set(ratios)) < 2:
        return statistics.Estimate(math.nan, -1.0, 1.0)
    return statistics.rank_correlation(loss, ratios)


def judge(data: Data) -> Judgement:
    """Rank correlations of both ratios with the loss."""
    counted = _judge_counted(data)
    if not counted:
        nothing = f"None of the {len(data['loss'])} networks came to a gradient norm of {_SMALL:g}."
        return Judgement(INCONCLUSIVE, math.nan, (-1.0, 1.0), "rank correlation", nothing)
    loss = [data["loss"][number] for number in counted]
    spectra = [data["eigenvalues"][number] for number in counted]
    raw, significant, zeros = np.transpose([_judge_ratios(values, _ZERO) for values in spectra]).tolist()
    of_raw, of_significant = (_judge_correlation(loss, ratios) for ratios in (raw, significant))
    verdict = statistics.all_of([statistics.decide(found, 0.0, above=False) for found in (of_raw, of_significant)])
    norms = [data["gradient_norm"][number] for number in counted]
    critical = sum(norm <= _CRITICAL for norm in norms)
    flat = sum(norm > _CRITICAL and data["flat"][i] >= 0.9 for i, norm in zip(counted, norms, strict=True))
    other = {
        f"{zero:g}": _judge_correlation(loss, [_judge_ratios(values, zero)[1] for values in spectra])
        for zero in (1e-8, 1e-4)
    }
    return Judgement(
        verdict,
        of_significant.value,
        of_significant.interval,
        "rank correlation of the training loss with the minimum ratio without zero eigenvalues",
        f"Over {len(counted)} of {len(data['loss'])} networks the ratio of all eigenvalues, {shown(min(raw))} to "
        f"{shown(max(raw))}, {_judge_trend(of_raw)} (rank correlation {shown(of_raw.value)}), but in the median "
        f"{np.median(zeros):.0%} of the eigenvalues are zero and their signs are chance. Without them the ratio is "
        f"{shown(min(significant))} to {shown(max(significant))}, median {shown(float(np.median(significant)))}, and "
        f"{_judge_trend(of_significant)} (rank correlation {shown(of_significant.value)}); {significant.count(1.0)} "
        f"networks have no negative eigenvalue left. Gradients are small, but {critical} of the points are critical "
        f"(norm of {_CRITICAL:g} at most); at {flat} others the gradient is flat: all curvature along it is zero.",
        {
            "raw_correlation": of_raw._asdict(),
            "other_tolerances": {zero: found._asdict() for zero, found in other.items()},
            "median_share_of_negatives": float(np.median((1 - np.array(zeros)) * (1 - np.array(significant)))),
            "largest_raw": max(raw),
            "critical": critical,
            "gradient_flat": flat,
            "median_gradient_norm": float(np.median(norms)),
        },
    )


def draw(data: Data) -> Any:
    """Both ratios against the loss, a point for each network."""
    figure, axes = figures.new(2, sharey=True)
    counted = _judge_counted(data)
    loss = np.asarray(data["loss"])[counted]
    ratios = np.asarray([_judge_ratios(data["eigenvalues"][number], _ZERO) for number in counted])
    flat = np.asarray(data["flat"])[counted] >= 0.9
    for axis, column, title in (
        (axes[0], 0, "all eigenvalues"),
        (axes[1], 1, f"without |λ| ≤ {_ZERO:g} of the largest"),
    ):
        for kind, (chosen, name) in enumerate(((~flat, "small gradient"), (flat, "gradient along zero curvature"))):
            axis.plot(
                loss[chosen],
                ratios[chosen, column],
                figures.MARKERS[kind],
                color=figures.COLOURS[kind],
                markerfacecolor="none",
                label=f"{name}: {int(np.sum(chosen))} networks",
            )
        axis.axhspan(*_PUBLISHED, color="black", alpha=0.15, linewidth=0, label="largest in the lecture's figure")
        axis.set(xscale="log", xlabel="training loss (mean squared error)", title=title, ylim=(0, 1.02))
    axes[0].set_ylabel("minimum ratio: share of positive eigenvalues")
    axes[0].legend(loc="lower left")
    return figure
