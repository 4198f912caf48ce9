"""An elongated bowl: no fixed rate suits both of its axes; a rate for each, by root mean square, does."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks.lectures.common import figures
from tricks.lectures.common.descent import best_of_rates, follow, updates_until
from tricks.lectures.common.experiment import REFUTED, SUPPORTED, Claim, Data, Effort, Judgement, Second
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import Estimate, all_of, decide, ratio
from tricks.transforms import momentum, root_mean_square

_MOST = 100_000
_THERE = 0.01
_TIMES, _STAYS = 10.0, 1000
_RATES = tuple((10 ** np.linspace(-7, 1, 41)).tolist())
_TURN = np.pi / 4
_KINDS = ("gradient descent", "root mean square", "root mean square, turned")

CLAIM = Claim(
    title="No fixed rate suits all axes of an elongated bowl; root mean square gives each its own",
    idea="Where the curvatures differ a thousandfold, a rate that does not bounce along the steep axis hardly moves "
    "along the flat one, and one that would move there bounces. Divided by the root mean square of its past gradients, "
    "each parameter moves by about the same.",
    lecture="Adaptive learning rates: the convex error surface of two parameters with long ellipses.",
    rule=f"Random bowls of two parameters with curvatures 1 and κ = 1e3 to 1e4, the start 5 to 15 along the flat axis "
    f"and 0.5 to 1.5 along the other; arrived is within {_THERE:.0%} of the distance of the start. Gradient descent "
    f"has the best of {len(_RATES)} rates from 1e-7 to 10 for each bowl, 2 / (1 + κ), the best in theory, among them; "
    f"root mean square has one rate of the grid for all bowls. Supported if gradient descent needs more than "
    f"{_TIMES:g} times the updates of root mean square (geometric mean over bowls, all of its interval) and root mean "
    f"square arrives in all; refuted if not more, or if it misses one. {_MOST:,} updates are counted for not arriving.",
    source="Duchi et al. 2011, whose sum is a mean here.",
    second_rule=f"The first counts a bowl as reached at the first touch of the goal, which may be left again. The "
    f"same, where arrived is to be there for {_STAYS:,} updates in a row, counted to the first of them; the one "
    "rate of root mean square is the best for that.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Descends every bowl with every rate, by both; by root mean square also when it is turned by 45 degrees."""
    seeds, most = effort.pick(range(24), range(100, 104)), effort.pick(_MOST, 20_000)
    draws = [np.random.default_rng(seed).uniform([3, 5, 0.5], [4, 15, 1.5]) for seed in seeds]
    condition, starts = np.array([10**exponent for exponent, *_ in draws]), np.array([start for _, *start in draws])
    best = 2 / (1 + condition)
    updates, stayed = {}, {}
    methods = ((_plain, 0.0), (root_mean_square, 0.0), (root_mean_square, _TURN))
    for name, (make, turn) in zip(_KINDS, methods, strict=True):
        note(name)

        def count(
            kappa: jax.Array, start: jax.Array, rate: jax.Array, stays: int, make: Any = make, turn: float = turn
        ) -> Any:
            gradient, first = bowl(kappa, start, turn)
            near = _THERE * jnp.linalg.norm(start)
            return updates_until(lambda w: jnp.linalg.norm(w) <= near, gradient, make(rate), first, most, stays=stays)

        # Rates of a bowl's own, for the one that theory calls the best.
        rates = np.concatenate([np.tile(_RATES, (len(best), 1)), best[:, None]], 1)
        counted = jax.jit(jax.vmap(jax.vmap(count, (None, None, 0, None)), (0, 0, 0, None)))
        numbers = [jnp.asarray(a, jnp.float32) for a in (condition, starts, rates)]
        updates[name] = np.asarray(counted(*numbers, 1)).tolist()
        stayed[name] = np.asarray(counted(*numbers, _STAYS)).tolist()
    chosen = _RATES[best_of_rates(np.array(updates["root mean square"])[:, :-1])]
    gradient, first = bowl(jnp.float32(condition[0]), jnp.asarray(starts[0], jnp.float32), 0.0)
    ways = [
        (name, rate, follow(gradient, make(rate), first, 100).points.tolist())
        for name, make, rate in (
            ("gradient descent", _plain, float(0.99 * 2 / condition[0])),
            ("gradient descent", _plain, float(0.1 * 2 / condition[0])),
            ("root mean square", root_mean_square, chosen),
        )
    ]
    return {
        "seeds": list(seeds),
        "examples": "random bowls of two parameters",
        "condition": condition.tolist(),
        "rates": list(_RATES),
        "most": most,
        "updates": updates,
        "stayed": stayed,
        "ways": ways,
    }


def _plain(rate: Any) -> Any:
    return momentum(rate, 0.0)


def bowl(kappa: Any, start: jax.Array, turn: float) -> tuple[Callable[[jax.Array, Any], jax.Array], jax.Array]:
    """Half of w1^2 + kappa w2^2, turned.

    Args:
        kappa: curvature along the steep axis.
        start: (2,), along the flat and the steep axis.
        turn: angle in radians.

    Returns:
        Its gradient, and the start in the turned coordinates.
    """
    axes = jnp.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    curvatures = jnp.stack([jnp.ones_like(kappa), kappa])
    return lambda w, _: axes @ (curvatures * (axes.T @ w)), axes @ start


def judge(data: Data) -> Judgement:
    """Compares the best rate of gradient descent with the one rate of root mean square."""
    plain, square, turned = (np.asarray(data["updates"][name]) for name in _KINDS)
    # The last rate is each bowl's own.
    one = best_of_rates(square[:, :-1])
    best, needed = plain.min(1), square[:, one]
    found = ratio(best.tolist(), needed.tolist())
    same = best_of_rates(plain[:, :-1])
    aslant = ratio(best.tolist(), turned[:, :-1].min(1).tolist())
    return Judgement(
        _judge_verdict(found, needed, data),
        found.value,
        found.interval,
        "updates of gradient descent, over those of root mean square",
        f"Root mean square arrives in {np.sum(needed < data['most'])} of {len(needed)} bowls with the one rate "
        f"{data['rates'][one]:.2g}, after {needed.min():.0f} to {needed.max():.0f} updates; gradient descent with the "
        f"best rate of each bowl needs {best.min():.0f} to {best.max():.0f}, {shown(found.value)} times as many. "
        f"{'It does arrive' if np.all(best < data['most']) else 'It does not always arrive'} within {data['most']:,}. "
        f"In bowls turned by 45° root mean square with the best rate of each needs "
        f"{shown(1 / aslant.value)} times the updates of gradient descent"
        f"{': its rates are those of the coordinates' if aslant.high < found.low else ''}.",
        {
            "updates_of_root_mean_square": needed.tolist(),
            "updates_of_gradient_descent": best.tolist(),
            "updates_of_gradient_descent_with_one_rate": plain[:, same].tolist(),
            "gradient_descent_over_root_mean_square_when_turned": aslant,
        },
        _judge_staying(data),
    )


def _judge_verdict(found: Estimate, needed: np.ndarray, data: Data) -> str:
    arrives = bool(np.all(needed < data["most"]))
    return all_of([decide(found, _TIMES), SUPPORTED if arrives else REFUTED])


def _judge_staying(data: Data) -> Second:
    plain, square = (np.asarray(data["stayed"][name]) for name in _KINDS[:2])
    needed = square[:, best_of_rates(square[:, :-1])]
    found = ratio(plain.min(1).tolist(), needed.tolist())
    effect = "updates of gradient descent, over those of root mean square, until each stays"
    return Second(_judge_verdict(found, needed, data), found.value, found.interval, effect)


def draw(data: Data) -> Any:
    """Ways down one bowl, the updates for each rate, and those of the best."""
    figure, (left, middle, right) = figures.new(3, width=16, gridspec_kw={"width_ratios": [1.15, 1.15, 1]})
    kappa = data["condition"][0]
    ways = [_draw_until_there(np.asarray(way)) for *_, way in data["ways"]]
    wide, high = 1.1 * ways[0][0, 0], 1.1 * max(np.abs(way[:, 1]).max() for way in ways)
    x, y = np.meshgrid(np.linspace(-0.15 * wide, wide, 120), np.linspace(-1.7 * high, high, 120))
    left.contour(x, y, np.log10(x**2 + kappa * y**2 + 1e-3), levels=10, cmap="Greys", alpha=0.5)
    for kind, ((name, rate, _), way) in enumerate(zip(data["ways"], ways, strict=True)):
        x, y = way.T
        label = f"{name}, η = {rate:.1g}"
        left.plot(x, y, figures.LINES[kind], color=figures.COLOURS[kind], linewidth=1.2)
        left.plot(x, y, figures.MARKERS[kind], color=figures.COLOURS[kind], markersize=5, label=label)
    left.plot(0, 0, "*", color="black", markersize=16)
    left.set(
        xlabel="flat parameter",
        ylabel=f"steep parameter, κ = {kappa:.0f}",
        title="one bowl, at most 100 updates, ★ goal",
    )
    left.legend(loc="lower left", fontsize=12)
    for kind, name in enumerate(_KINDS[:2]):
        figures.band(middle, data["rates"], np.asarray(data["updates"][name])[:, :-1].tolist(), kind, name)
    middle.axhline(data["most"], color="black", linestyle=":", linewidth=1.6)
    middle.text(data["rates"][0], data["most"] * 1.15, "given up", fontsize=13)
    middle.set(
        xscale="log", yscale="log", xlabel="rate η", ylabel="updates to arrive", title="median and range of bowls"
    )
    middle.legend(loc="lower left")
    _draw_best(right, data)
    return figure


def _draw_until_there(way: np.ndarray) -> np.ndarray:
    there = np.flatnonzero(np.linalg.norm(way, axis=1) <= _THERE * np.linalg.norm(way[0]))
    return way[: there[0] + 1] if len(there) else way


def _draw_best(axis: Any, data: Data) -> None:
    plain, square, turned = (np.asarray(data["updates"][name]) for name in _KINDS)
    columns = (
        ("gradient\ndescent,\nbest rates", plain.min(1)),
        ("root mean\nsquare,\none rate", square[:, best_of_rates(square[:, :-1])]),
        ("root mean\nsquare,\nturned 45°,\nbest rates", turned[:, :-1].min(1)),
    )
    for kind, (_, values) in enumerate(columns):
        figures.seeds(axis, kind, values.tolist(), kind)
    axis.set_xticks(range(len(columns)), [name for name, _ in columns])
    axis.set(yscale="log", xlabel="(bars: means)", ylabel="updates to arrive", title="each bowl a point")
