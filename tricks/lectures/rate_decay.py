"""Root mean square bursts sideways when it has gone straight for long: does a falling rate prevent it?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks.lectures.common import figures
from tricks.lectures.common.descent import follow
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement, Second
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import all_of, decide, mean, ratio, share
from tricks.schedules import warmup_decay
from tricks.transforms import rmsprop, root_mean_square

_UPDATES, _RATE = 4000, 0.3
_NOISE = 1e-3
_SETTLED, _THERE = 0.01, 0.01
_LARGE, _TIMES, _HALF = 0.1, 10.0, 0.5
_SHAPES = ("constant", "inverse_sqrt", "linear", "cosine")
_METHODS: dict[str, Callable[[Any], Any]] = {
    "root mean square": root_mean_square,
    "RMSProp, α = 0.99": lambda rate: rmsprop(rate, 0.99),
}
_SQUARE = "root mean square"
_BINS = 60

CLAIM = Claim(
    title="Root mean square bursts sideways late in a long valley, and a falling rate prevents it",
    idea="On the way along a flat axis the gradients of the steep one are small for long, so their root mean square "
    "shrinks, until η/σ is too large and the parameter bursts out sideways. Its large gradients make σ large again, "
    "and it comes back. With a rate that falls as the goal comes near, nothing bursts.",
    lecture="Learning-rate scheduling: the late explosion of the adaptive rate, and its cure by decay.",
    rule=f"Random bowls of two parameters with curvatures 1 and 1e3 to 1e4, the start 5 to 15 along the flat axis and "
    f"0.5 to 1.5 along the other, {_UPDATES} updates at η = {_RATE:g}, gradients with noise of {_NOISE:g} of the first "
    f"one. The burst is the largest sideways distance after it has first fallen to {_SETTLED:.0%} of the first, over "
    f"the first. Supported if without decay the mean burst over bowls is above {_LARGE:g}, if it is more than "
    f"{_TIMES:g} times that with η / √(t + 1) (geometric mean), and if more than half of the bowls end "
    f"within {_THERE:.0%} of the start's distance with that decay, all with all of the interval; refuted if "
    "one of the three is not so.",
    source="Duchi et al. 2011; their Adagrad is root mean square with η / √(t + 1).",
    second_rule=f"With the decay nothing bursts, so the first rule divides by the {_SETTLED:g} at which a run counts "
    f"as settled. Without it: a bowl bursts if its burst is above {_LARGE:g}. Supported if more than half of the "
    "bowls burst without decay and fewer than half with it, each with all of Wilson's interval; "
    "refuted if one is not so.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Descends every bowl with each method under each schedule."""
    seeds, updates = effort.pick(range(24), range(100, 104)), effort.pick(_UPDATES, 1000)
    draws = [np.random.default_rng(seed).uniform([3, 5, 0.5], [4, 15, 1.5]) for seed in seeds]
    kappas, starts = jnp.array([10 ** draw[0] for draw in draws]), jnp.array([draw[1:] for draw in draws])
    edges = np.unique(np.geomspace(1, updates, _BINS).astype(int))[:-1]
    found: dict[str, Any] = {"bursts": {}, "ends": {}, "arrivals": {}, "sideways": {}}
    for method, make in _METHODS.items():
        for shape in _SHAPES:
            note(f"{method}, {shape}")

            def descend(seed: Any, kappa: Any, start: Any, noise: Any, make: Any = make, shape: str = shape) -> Any:
                key, curvatures = jax.random.key(seed), jnp.stack([jnp.ones_like(kappa), kappa])

                def gradient(w: jax.Array, number: jax.Array) -> jax.Array:
                    drawn = jax.random.normal(jax.random.fold_in(key, number), (2,))
                    return curvatures * (w + noise * start * drawn)

                return follow(gradient, make(warmup_decay(_RATE, 0, updates, shape=shape)), start, updates).points

            together = jax.jit(jax.vmap(descend, (0, 0, 0, None)))
            ways = np.asarray(together(jnp.array(seeds), kappas, starts, _NOISE), np.float64)
            name = f"{method}, {shape}"
            distances = np.linalg.norm(ways, axis=2) / np.linalg.norm(ways[:, :1], axis=2)
            sideways = np.abs(ways[:, :, 1]) / np.abs(ways[:, :1, 1])
            found["bursts"][name] = [burst(one) for one in sideways]
            found["ends"][name] = distances[:, -1].tolist()
            found["arrivals"][name] = [int(np.argmax(np.append(one, 0) <= _THERE)) for one in distances]
            found["sideways"][name] = np.maximum.reduceat(sideways[:, 1:], edges - 1, axis=1).tolist()
            if method == _SQUARE and shape in _SHAPES[:2]:
                quiet = np.asarray(together(jnp.array(seeds), kappas, starts, 0.0), np.float64)[:, :, 1]
                found.setdefault("without_noise", {})[shape] = [burst(np.abs(one / one[0])) for one in quiet]
                found.setdefault("ways", {})[shape] = ways[0, : updates // 4].tolist()
    return {
        "seeds": list(seeds),
        "examples": "random bowls of two parameters",
        "updates": edges.tolist(),
        "condition": kappas.tolist(),
        **found,
    }


def burst(sideways: np.ndarray) -> float:
    """The largest distance once it was small.

    Args:
        sideways: (updates + 1,), from 1 on, the distance in units of the first.

    Returns:
        The largest value from the first one at or below the threshold on; of all if none is.
    """
    settled = np.flatnonzero(sideways <= _SETTLED)
    return float(np.max(sideways[settled[0] if len(settled) else 0 :]))


def judge(data: Data) -> Judgement:
    """Is there a burst, does the decay make it small, and does it still arrive?"""
    plain, decayed = (f"{_SQUARE}, {shape}" for shape in _SHAPES[:2])
    without, with_decay = data["bursts"][plain], data["bursts"][decayed]
    size, found = mean(without), ratio(without, with_decay)
    there = int(np.sum(np.asarray(data["ends"][decayed]) <= _THERE))
    arrives = share(there, len(without))
    arrivals = {name: float(np.median(values)) for name, values in data["arrivals"].items()}
    others = {name: float(np.mean(values)) for name, values in data["bursts"].items()}
    settled = others[decayed] <= 2 * _SETTLED
    worst = max(_SHAPES[2:], key=lambda shape: others[f"{_SQUARE}, {shape}"])
    return Judgement(
        all_of([decide(size, _LARGE), decide(found, _TIMES), decide(arrives, _HALF)]),
        found.value,
        found.interval,
        "largest sideways burst without decay, over that with η / √(t + 1)",
        f"Without decay root mean square bursts out to {shown(size.value)} of the first distance, with η / √(t + 1) to "
        f"{shown(others[decayed])}{f', where it counts as settled ({_SETTLED:g})' * settled}; {there} of "
        f"{len(without)} bowls then end at the goal. To come there takes {_judge_count(arrivals[decayed])} with it and "
        f"{_judge_count(arrivals[plain])} without (medians). With the {worst} "
        f"decay, which falls late, the burst is {shown(others[f'{_SQUARE}, {worst}'])}. RMSProp bursts to "
        f"{shown(others['RMSProp, α = 0.99, constant'])} without decay and to "
        f"{shown(others['RMSProp, α = 0.99, inverse_sqrt'])} with η / √(t + 1). Without noise in the gradient root "
        f"mean square bursts in {sum(value > _LARGE for value in data['without_noise']['constant'])} of the bowls.",
        {
            "mean_bursts": others,
            "burst_without_decay": size,
            "share_that_ends_at_the_goal": arrives,
            "median_updates_to_the_goal": arrivals,
            "median_end": {name: float(np.median(values)) for name, values in data["ends"].items()},
        },
        _judge_shares(without, with_decay),
    )


def _judge_shares(without: list[float], with_decay: list[float]) -> Second:
    bursting, others = (share(sum(value > _LARGE for value in values), len(values)) for values in (without, with_decay))
    verdict = all_of([decide(bursting, _HALF), decide(others, _HALF, above=False)])
    return Second(
        verdict,
        bursting.value,
        bursting.interval,
        f"share of bowls that burst without decay (with η / √(t + 1): {shown(others.value)})",
    )


def _judge_count(updates: float) -> str:
    return f"{updates:,.0f} updates" if updates <= _UPDATES else "longer than was waited"


def draw(data: Data) -> Any:
    """One way with and without decay, the sideways distances over time, and all bursts."""
    figure, (left, middle, right) = figures.new(3, width=16)
    labels = ("η constant", "η / √(t + 1)")
    for kind, (shape, label) in enumerate(zip(_SHAPES[:2], labels, strict=True)):
        x, y = np.asarray(data["ways"][shape]).T
        looks = {"color": figures.COLOURS[kind], "marker": figures.MARKERS[kind], "markersize": 3, "linewidth": 0.8}
        left.plot(x, y, label=label, **looks)
        figures.band(middle, data["updates"], data["sideways"][f"{_SQUARE}, {shape}"], kind, label)
    left.plot(0, 0, "*", color="black", markersize=16)
    left.set(xlabel="flat parameter", ylabel=f"steep parameter, κ = {data['condition'][0]:.0f}")
    left.set_title("root mean square in one bowl, ★ goal")
    left.legend(loc="lower right")
    middle.set(xscale="log", yscale="log", xlabel="update", ylabel="sideways distance, over the first")
    middle.set_title("median and range of the bowls")
    middle.legend(loc="lower left")
    for kind, method in enumerate(_METHODS):
        for place, shape in enumerate(_SHAPES):
            values = data["bursts"][f"{method}, {shape}"]
            figures.seeds(right, place + 0.45 * kind, values, kind, method if place == 0 else None)
    right.axhline(_LARGE, color="black", linestyle=":", linewidth=1.6)
    right.set_xticks(np.arange(len(_SHAPES)) + 0.22, ["constant", "1/√(t+1)", "linear", "cosine"])
    right.set(
        yscale="log", ylim=(2e-3, 2), xlabel="decay (bars: means)", ylabel="largest burst, over the first distance"
    )
    right.set_title("each bowl a point")
    right.legend(loc="lower left", fontsize=12)
    return figure
