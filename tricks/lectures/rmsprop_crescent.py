"""A crescent-shaped valley, where one direction wants now this rate, now that: root mean square or RMSProp?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks.lectures.common import figures
from tricks.lectures.common.descent import best_of_rates, follow, updates_until
from tricks.lectures.common.experiment import REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import decide, ratio
from tricks.transforms import momentum, rmsprop, root_mean_square

_MOST = 20_000
_TARGETS = (1.0, 0.1, 0.01, 0.001)
_TARGET = _TARGETS.index(0.01)
# A larger one leaps over the valley, and arrives by luck.
_RATES = tuple((10 ** np.linspace(-5, -1, 41)).tolist())
_STAYS = 50
_SQUARE, _RECENT, _PLAIN = "root mean square", "RMSProp, α = 0.9", "gradient descent"
_FOLLOWED, _AHEAD = 3000, 10

CLAIM = Claim(
    title="Where a direction changes its steepness on the way, RMSProp arrives before root mean square",
    idea="In a valley like a crescent one and the same parameter runs across the valley, then along it. Root mean "
    "square counts every gradient since the start alike and adapts slowly; RMSProp forgets old ones by the factor α.",
    lecture="Adaptive learning rates: the error surface like a crescent moon, before RMSProp.",
    rule=f"Rosenbrock's valley (1 − x)² + 100(y − x²)², random starts at its far end (x from −2 to −1, y up to 1 off "
    f"the ground). Each method has the rate, out of {len(_RATES)} from 1e-5 to 0.1, with which the geometric mean of "
    f"the updates over all starts is lowest; counted are the updates until the loss is {_TARGETS[_TARGET]:g}, and not "
    f"more for {_STAYS} updates in a row (not within {_MOST:,}: as that many). Supported if root mean square "
    f"needs more updates than RMSProp (α = 0.9; geometric mean of the ratio, all of its interval above 1); refuted if "
    "not more.",
    source="Tieleman and Hinton 2012; the valley: Rosenbrock 1960.",
)


def loss(w: jax.Array) -> jax.Array:
    """(1 - x)^2 + 100 (y - x^2)^2."""
    x, y = w
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _gradient(w: jax.Array, update: jax.Array) -> jax.Array:
    del update
    return jax.grad(loss)(w)


_METHODS: dict[str, Callable[[Any], Any]] = {
    _SQUARE: root_mean_square,
    _RECENT: rmsprop,
    "RMSProp, α = 0.99": lambda rate: rmsprop(rate, 0.99),
    _PLAIN: lambda rate: momentum(rate, 0.0),
}


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Counts the updates of every method with every rate to every loss, and follows two of them."""
    seeds, most = effort.pick(range(24), range(100, 103)), effort.pick(_MOST, 2000)
    draws = [np.random.default_rng(seed).uniform([-2, -1], [-1, 1]) for seed in seeds]
    starts = jnp.asarray([[x, x**2 + off] for x, off in draws], jnp.float32)
    rates, targets = jnp.asarray(_RATES, jnp.float32), jnp.asarray(_TARGETS, jnp.float32)
    updates: dict[str, Any] = {}
    ways: dict[str, Any] = {}
    misfits: dict[str, Any] = {}
    for name, make in _METHODS.items():
        note(name)

        def count(start: jax.Array, rate: jax.Array, target: jax.Array, make: Any = make) -> jax.Array:
            return updates_until(lambda w: loss(w) <= target, _gradient, make(rate), start, most, stays=_STAYS)

        grid = jax.vmap(jax.vmap(jax.vmap(count, (None, None, 0)), (None, 0, None)), (0, None, None))
        updates[name] = np.moveaxis(np.asarray(jax.jit(grid)(starts, rates, targets)), 2, 0).tolist()
        if name in (_SQUARE, _RECENT):
            counts = np.asarray(updates[name][_TARGET])
            best = best_of_rates(counts)
            together = jax.jit(jax.vmap(lambda start, make=make, rate=_RATES[best]: follow(
                _gradient, make(rate), start, _FOLLOWED)))  # fmt: skip
            way = jax.tree.map(np.asarray, together(starts))
            sigma = _RATES[best] * np.abs(way.gradients / np.where(way.steps == 0, np.nan, way.steps))
            ends = np.minimum(counts[:, best], _FOLLOWED)
            misfits[name] = [misfit(g[:n], s[:n]) for g, s, n in zip(way.gradients, sigma, ends, strict=True)]
            ways[name] = {
                "points": way.points[0, : ends[0]].tolist(),
                "sigma": sigma[0, : ends[0], 0].tolist(),
                "slope": np.abs(way.gradients[0, : ends[0], 0]).tolist(),
            }
    return {
        "seeds": list(seeds),
        "examples": "Rosenbrock's valley",
        "rates": list(_RATES),
        "targets": list(_TARGETS),
        "most": most,
        "updates": updates,
        "misfits": misfits,
        "ways": ways,
    }


def misfit(gradients: np.ndarray, sigmas: np.ndarray) -> float:
    """How far sigma is from the gradients to come: the median of |ln(sigma / their root mean square)|.

    Args:
        gradients: (updates, parameters).
        sigmas: (updates, parameters), NaN where nothing moved.

    Returns:
        Over updates and parameters; 0 where it fits, ln 2 where it is twice as large or half as large.
    """
    squares = np.cumsum(np.pad(gradients.astype(np.float64), ((1, 0), (0, 0))) ** 2, axis=0)
    ahead = min(_AHEAD, len(gradients))
    coming = np.sqrt(np.maximum(squares[ahead:] - squares[:-ahead], 0) / ahead)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(np.log(sigmas[: len(coming)] / coming))
    return float(np.median(apart[np.isfinite(apart)]))


def judge(data: Data) -> Judgement:
    """Compares the updates to the loss of the rule."""
    best = {name: _judge_best(data, name, data["targets"].index(_TARGETS[_TARGET])) for name in data["updates"]}
    found = ratio(best[_SQUARE], best[_RECENT])
    verdict = decide(found, 1.0)
    typical = {name: float(np.exp(np.mean(np.log(counts)))) for name, counts in best.items()}
    told = {SUPPORTED: "RMSProp is there first", REFUTED: "RMSProp is not there first"}
    first = told.get(verdict, "Which is there first is open")
    arrive = {name: int(np.sum(np.asarray(counts) < data["most"])) for name, counts in best.items()}
    closer = np.mean(np.asarray(data["misfits"][_SQUARE]) > np.asarray(data["misfits"][_RECENT]))
    ratios = {f"{t:g}": ratio(_judge_best(data, _SQUARE, i), _judge_best(data, _RECENT, i))
              for i, t in enumerate(data["targets"])}  # fmt: skip
    return Judgement(
        verdict,
        found.value,
        found.interval,
        f"updates of root mean square over those of RMSProp until the loss is {_TARGETS[_TARGET]:g}",
        f"{first}: root mean square needs {typical[_SQUARE]:,.0f} updates (and arrives from {arrive[_SQUARE]} of "
        f"{len(data['seeds'])} starts), RMSProp {typical[_RECENT]:,.0f} ({arrive[_RECENT]}), gradient descent "
        f"{typical[_PLAIN]:,.0f} ({arrive[_PLAIN]}; who does not arrive counts {data['most']:,}), each with its best "
        f"rate for all starts. To the losses {', '.join(ratios)} the ratios are "
        f"{', '.join(shown(estimate.value) for estimate in ratios.values())}. RMSProp's σ is the closer one to the "
        f"gradients to come from {closer:.0%} of the starts.",
        {"updates": typical, "ratios": ratios, "misfit": {k: float(np.median(v)) for k, v in data["misfits"].items()}},
    )


def _judge_best(data: Data, name: str, target: int) -> list[float]:
    counts = np.asarray(data["updates"][name][target], float)
    return list(counts[:, best_of_rates(counts)])


def draw(data: Data) -> Any:
    """Two ways through the valley, their sigmas, and the updates to each loss."""
    figure, (left, middle, right) = figures.new(3, width=16)
    x, y = np.meshgrid(np.linspace(-2.1, 1.5, 160), np.linspace(-1.1, 4.6, 160))
    left.contour(x, y, np.log10((1 - x) ** 2 + 100 * (y - x**2) ** 2), levels=10, cmap="Greys", alpha=0.5)
    left.plot(1, 1, "*", color="black", markersize=16)
    for kind, (name, way) in enumerate(data["ways"].items()):
        looks = {"color": figures.COLOURS[kind], "linestyle": figures.LINES[kind]}
        points = np.asarray(way["points"])
        left.plot(*points.T, **looks, marker=figures.MARKERS[kind], markevery=max(len(points) // 15, 1), label=name)
        updates = np.arange(1, len(way["sigma"]) + 1)
        middle.plot(updates, way["sigma"], **looks, label=f"σ, {name}")
        middle.plot(updates, way["slope"], color=figures.COLOURS[kind], linewidth=0.8, alpha=0.5)
    left.set(xlabel="x", ylabel="y", xlim=(-2.1, 1.5), ylim=(-1.1, 4.6), title="one start, ★ goal")
    left.legend(loc="upper right", fontsize=12)
    middle.set(
        xscale="log", yscale="log", xlabel="update", ylabel="of the parameter x", title="the same: σ; thin: |gradient|"
    )
    middle.legend(loc="lower left", fontsize=12)
    for kind, name in enumerate(data["updates"]):
        counts = [_judge_best(data, name, i) for i in range(len(data["targets"]))]
        # Plain descent leaves the valley from some starts, so its range is all of the panel.
        runs = np.transpose(counts) if name != _PLAIN else np.median(counts, axis=1)[None]
        figures.band(right, data["targets"], runs.tolist(), kind, name if name != _PLAIN else f"{name} (median)")
    right.invert_xaxis()
    right.set(
        xscale="log", yscale="log", xlabel="loss to reach", ylabel="updates", title="each its best rate; median, range"
    )
    right.legend(loc="lower right", fontsize=12)
    return figure
