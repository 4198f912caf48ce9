"""Whether what is a minimum in a few dimensions is one in many: random slices through points where training stays."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import lapack

from tricks import losses, models, transforms
from tricks.lectures.common import figures, statistics
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.small_networks import (
    Examples,
    Small,
    damped_sine,
    descend,
    parts_of_digits,
    small,
    to_small_gradient,
)

_ZERO = 1e-6  # Of the largest |eigenvalue|.
_ON_A_LINE, _IN_HALF = 0.5, 0.05
_CONTROL = "after ordinary training"

CLAIM = Claim(
    title="What looks like a minimum in few dimensions is a saddle in more",
    idea="On a line or a plane through a point the loss may rise to all sides; with more dimensions there are more "
    "ways to go, and one of them leads down. A loss has as many dimensions as the network has parameters, so minima "
    "should be rare, and a training that stays is at a saddle.",
    lecture="Critical points: a local minimum in one dimension may be a saddle in two.",
    rule=f"Through points where training stays, of three kinds (identical units, zero weights, and a small gradient at "
    f"a high loss), random subspaces of k of the n dimensions are laid; one is without a way down if the Hessian in it "
    f"has no eigenvalue below −{_ZERO:g} of the largest of all. Supported if the share of those without, a mean over "
    f"the points with its 95 % interval, is above {_ON_A_LINE:g} on lines (k = 1) and below {_IN_HALF:g} at k = n/2; "
    f"refuted if one of the two intervals lies on the other side.",
    source="Dauphin et al., arXiv 1406.2572.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """For each point and each of many random bases, in how many of its first dimensions there is no way down."""
    seeds = np.asarray(effort.pick(range(100, 108), range(2)))
    points = []
    with jax.enable_x64(True):
        for kinds, examples, network, stay in (_on_digits(effort, seeds), _on_a_curve(effort, seeds)):
            note(", ".join(kinds))
            numbers, of_kinds = np.tile(seeds, len(kinds)), np.repeat(np.arange(len(kinds)), len(seeds))
            of_lanes = jax.tree.map(lambda *leaves: np.stack(leaves), *examples * len(kinds))
            point = functools.partial(_point, network, stay)
            found = side_by_side(point, of_lanes, numbers, of_kinds, batched=False)
            for seed, kind, value, norm, matrix in zip(numbers.tolist(), of_kinds, *found, strict=True):
                told = {"kind": kinds[kind], "seed": seed, "loss": float(value), "gradient_norm": float(norm)}
                without = _slices(np.linalg.eigvalsh(matrix), effort.pick(200, 20), np.random.default_rng(seed))
                points.append(told | without)
    return {
        "seeds": seeds.tolist(),
        "examples": "for each seed 300 of the digits, and sin(5πx)/(5πx)",
        "points": points,
    }


class _Stuck(NamedTuple):
    kinds: tuple[str, ...]
    examples: list[Examples]
    """Of each seed."""
    network: Small
    stay: Callable[..., jax.Array]
    """`stay(loss, seed, kind) -> w`, where training stays."""


def _on_digits(effort: Effort, seeds: np.ndarray) -> _Stuck:
    networks = [
        small(
            models.multilayer_perceptron(
                input_size=64, output_size=10, hidden_sizes=(4,), activation="tanh", initializer=initializer
            ),
            losses.cross_entropy,
        )
        for initializer in ("identical", "zeros", "he")
    ]

    def stay(loss: Callable[[jax.Array], jax.Array], seed: jax.Array, kind: jax.Array) -> jax.Array:
        starts = jnp.stack([network.start(jax.random.key(seed)) for network in networks])
        return descend(loss, starts[kind], effort.pick(3000, 300), transforms.momentum(0.05))

    examples = [parts_of_digits(300, int(seed))[0] for seed in seeds]
    return _Stuck(("identical units", "zero weights", _CONTROL), examples, networks[0], stay)


def _on_a_curve(effort: Effort, seeds: np.ndarray) -> _Stuck:
    network = small(
        models.multilayer_perceptron(
            input_size=1, output_size=1, hidden_sizes=(10, 10), activation="tanh", initializer="glorot"
        ),
        losses.squared_error,
    )

    def stay(loss: Callable[[jax.Array], jax.Array], seed: jax.Array, kind: jax.Array) -> jax.Array:
        start = 2 * network.start(jax.random.key(seed))
        return to_small_gradient(loss, descend(loss, start, 30, transforms.adam(1e-2)), effort.pick(500, 50))[0]

    return _Stuck(("small gradient, high loss",), [damped_sine(64)] * len(seeds), network, stay)


def _point(network: Small, stay: Callable[..., jax.Array], examples: Examples, seed: jax.Array, kind: jax.Array) -> Any:
    def loss(w: jax.Array) -> jax.Array:
        return network.loss(w, examples)

    w = stay(loss, seed, kind)
    value, gradient = jax.value_and_grad(loss)(w)
    return value, jnp.linalg.norm(gradient), jax.hessian(loss)(w)


def _slices(values: np.ndarray, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "size": len(values),
        "negative": int(np.sum(values < -_ZERO * np.max(np.abs(values)))),
        "smallest": float(values[0]),
        "largest": float(values[-1]),
        "without": without_way_down(values, trials, rng),
    }


def without_way_down(eigenvalues: np.ndarray, trials: int, rng: np.random.Generator) -> list[int]:
    """For each of so many random bases the number of its first dimensions in which there is no way down.

    In the span V of k vectors there is none where V'(H + tolerance)V is positive definite, whatever basis of it is
    taken, so that vectors need not be orthogonal. Cholesky's factorization says the first k at which it is not.

    Args:
        eigenvalues: of H; its eigenvectors do not matter to random subspaces.
        trials: how many bases.
        rng: of their vectors.

    Returns:
        0 to n for each.

    >>> without_way_down(np.array([1.0, 2.0]), 3, np.random.default_rng(0))
    [2, 2, 2]
    """
    size = len(eigenvalues)
    shifted = eigenvalues + _ZERO * np.max(np.abs(eigenvalues))
    found = []
    for _ in range(trials):
        vectors = rng.normal(size=(size, size))
        _, first = lapack.dpotrf(vectors.T @ (shifted[:, None] * vectors))
        found.append(int(first) - 1 if first else size)
    return found


def _judge_share(point: Data, dimensions: float) -> float:
    return float(np.mean(np.asarray(point["without"]) >= dimensions))


def _judge_shares(points: Sequence[Data], part: float) -> list[float]:
    """Of slices without a way down, with so many of all dimensions, and one at least."""
    return [_judge_share(point, max(round(part * point["size"]), 1)) for point in points]


def judge(data: Data) -> Judgement:
    """The shares on lines and in half of the dimensions."""
    stuck = [point for point in data["points"] if point["kind"] != _CONTROL]
    lines, halves = (_judge_shares(stuck, part) for part in (0.0, 0.5))
    line, half, fall = statistics.mean(lines), statistics.mean(halves), statistics.difference(lines, halves)
    plane = float(np.mean([_judge_share(point, 2) for point in stuck]))
    verdict = statistics.all_of(
        [statistics.decide(line, _ON_A_LINE), statistics.decide(half, _IN_HALF, above=False)],
    )
    typical = float(np.median([np.median(point["without"]) / point["size"] for point in stuck]))
    control = [point for point in data["points"] if point["kind"] == _CONTROL]
    return Judgement(
        verdict,
        fall.value,
        fall.interval,
        "share of random lines without a way down, less that of slices with half of the dimensions",
        f"Through {len(stuck)} points where training stays {line.value:.0%} of random lines show no way down, "
        f"{plane:.0%} of planes, and {half.value:.1%} of slices with half of all dimensions; in the median the first "
        f"way down appears with {typical:.1%} of the dimensions. After ordinary training "
        f"{np.mean(_judge_shares(control, 0.5)):.0%} of the slices with half of the dimensions are without one.",
        {
            "line": line._asdict(),
            "plane": plane,
            "half": half._asdict(),
            "by_kind": {
                kind: {
                    "line": float(np.mean(_judge_shares(of_kind, 0.0))),
                    "half": float(np.mean(_judge_shares(of_kind, 0.5))),
                    "loss": float(np.mean([point["loss"] for point in of_kind])),
                    "gradient_norm": float(np.median([point["gradient_norm"] for point in of_kind])),
                    "negative": float(np.mean([point["negative"] / point["size"] for point in of_kind])),
                }
                for kind, of_kind in _judge_by_kind(data).items()
            },
        },
    )


def _judge_by_kind(data: Data) -> dict[str, list[Data]]:
    kinds = dict.fromkeys(point["kind"] for point in data["points"])
    return {kind: [point for point in data["points"] if point["kind"] == kind] for kind in kinds}


def draw(data: Data) -> Any:
    """The share without a way down against the dimensions of the slice."""
    figure, (axis,) = figures.new()
    for number, (kind, points) in enumerate(_judge_by_kind(data).items()):
        size = points[0]["size"]
        dimensions = np.unique(np.geomspace(1, size, 40).round())
        shares = [[_judge_share(point, k) for k in dimensions] for point in points]
        figures.band(axis, dimensions / size, shares, number, f"{kind}: {size} parameters")
    axis.axhline(_ON_A_LINE, color="black", linestyle=":", linewidth=1.5)
    axis.set(xscale="log", ylim=(-0.02, 1.02), xlabel="dimensions of the random slice (share of all parameters)")
    axis.set_ylabel("share of slices without a way down")
    axis.set_title("line: median over points; band: all of them")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
