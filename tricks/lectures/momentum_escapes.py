"""Does momentum cross a small local minimum, and a plateau, where plain gradient descent stops?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.lectures.common import figures
from tricks.lectures.common.descent import follow
from tricks.lectures.common.experiment import INCONCLUSIVE, Claim, Data, Effort, Judgement, Second
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import all_of, decide, difference, mean, ratio
from tricks.transforms import momentum

_START, _UPDATES = -3.0, 3000
_DECAYS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
# In units of the largest rate that is stable without momentum; ten steps of the grid are a factor of 10.
_RATES = tuple((10 ** np.linspace(-2, 0.5, 26)).round(5).tolist())
_TENFOLD = 10
_USUAL = _DECAYS.index(0.9)
_HALF, _FASTER = 0.5, 10.0
_SHOWN = {"minimum": 0.1, "plateau": 0.1}
# Where the feature lies, how wide or long it is, and the rise of the dent or the logarithm of the slope that is left.
# No dent is as deep as the bowl.
_FORMS = {"minimum": ((1.2, 2.0), (0.1, 0.2), (1.05, 1.45)), "plateau": ((0.5, 1.0), (0.5, 1.5), (-4.0, -2.0))}

CLAIM = Claim(
    title="Momentum crosses small local minima and plateaus at which gradient descent stops",
    idea="A ball that rolls down does not stop where the ground is flat, nor in every dent. The movement is the last "
    "movement less the gradient, so it goes on where the gradient vanishes, and for a while against it.",
    lecture="Momentum: the ball on the error curve, with a plateau and a local minimum before the goal.",
    rule=f"Random curves of one parameter: a bowl with a local minimum on the way down, or with a stretch whose slope "
    f"is 1e-4 to 1e-2 of the bowl's. Rates: {len(_RATES)} from 0.01 to 3.2 times the limit of stability, 2 / L″. "
    f"Of each curve: the rates below this limit with which gradient descent has not crossed after {_UPDATES} updates; "
    f"the share of them with which λ = 0.9 has; and by how much this share exceeds that of gradient descent at ten "
    f"times the rate, which is as fast on an even slope (where the grid has it). Supported if for both kinds the mean "
    f"share over curves is above {_HALF} and the mean excess above 0, with all of their intervals; refuted if one of "
    f"the four is not, inconclusive where no curve stops gradient descent.",
    source="Polyak 1964.",
    second_rule=f"The share of the first hangs on where the grid of rates begins. Less so: of each curve the "
    f"smallest rate with which gradient descent crosses over that with which λ = 0.9 does (the limit of stability "
    f"where none below it crosses), which an even slope would make {_FASTER:g}. Supported if for both kinds the "
    f"geometric mean is above {_FASTER:g}, refuted if for one it is not.",
)


def minimum(position: Any, form: Any) -> Any:
    """Slope of the bowl x^2 / 2 with a Gaussian dent at -place, whose own rise is rise (place + width) at its steepest.

    Args:
        position: x.
        form: place, width, rise.

    Returns:
        The derivative at x.
    """
    place, width, rise = form
    apart = (position + place) / width
    return position + rise * (place + width) * apart * jnp.exp((1 - apart**2) / 2)


def plateau(position: Any, form: Any) -> Any:
    """Slope of the bowl x^2 / 2, of which from -place - length to -place a share of 10^left is left.

    Args:
        position: x.
        form: place, length, left.

    Returns:
        The derivative at x.
    """
    place, length, left = form
    inside = jax.nn.sigmoid((position + place + length) / 0.05) - jax.nn.sigmoid((position + place) / 0.05)
    return position * (1 - (1 - 10**left) * inside)


_SLOPES = {"minimum": minimum, "plateau": plateau}


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Descends random curves of both kinds with every rate and every decay."""
    seeds, updates = effort.pick(range(40), range(100, 103)), effort.pick(_UPDATES, 600)
    found: dict[str, Any] = {"crossed": {}, "shown": {}}
    for feature, ranges in _FORMS.items():
        note(feature)
        forms = np.array([[np.random.default_rng(seed).uniform(*ends) for ends in ranges] for seed in seeds])
        found["crossed"][feature], found["shown"][feature] = _crossings(feature, forms, updates)
    return {
        "seeds": list(seeds),
        "examples": "random curves of one parameter",
        "rates": _RATES,
        "decays": _DECAYS,
        "updates": updates,
        **found,
    }


def _crossings(feature: str, forms: np.ndarray, updates: int) -> tuple[Any, Any]:
    slope = _SLOPES[feature]
    places = np.linspace(_START, -_START, 6001)
    slopes = np.asarray(jax.vmap(lambda form: slope(jnp.asarray(places), form[:, None]))(jnp.asarray(forms)))
    limits = 2 / np.abs(np.gradient(slopes, places, axis=1)).max(1)
    behind = np.array([hilltop(places, row) for row in slopes]) if feature == "minimum" else -forms[:, 0]

    def way(form: Any, limit: Any, rate: Any, decay: Any) -> jax.Array:
        return follow(lambda x, _: slope(x, form), momentum(rate * limit, decay), jnp.float32(_START), updates).points

    def end(*arguments: jax.Array) -> jax.Array:
        return way(*arguments)[-1]

    grid = jax.vmap(jax.vmap(jax.vmap(end, (None, None, None, 0)), (None, None, 0, None)), (0, 0, None, None))
    numbers = [jnp.asarray(values, jnp.float32) for values in (forms, limits, _RATES, _DECAYS)]
    ends = np.asarray(jax.jit(grid)(*numbers))
    # What left the bowl has not arrived either.
    crossed = (ends > behind[:, None, None]) & (ends < -_START)
    height = np.cumsum(slopes[0]) * (places[1] - places[0])
    one = {"place": places[::20].tolist(), "loss": (height - height[len(places) // 2]).tolist()[::20]}
    example = [jnp.float32(_SHOWN[feature]), *numbers[3][jnp.array([0, _USUAL])]]
    ways = [way(numbers[0][0], numbers[1][0], example[0], decay).tolist()[:400] for decay in example[1:]]
    return crossed.astype(int).tolist(), {**one, "ways": ways, "rate": _SHOWN[feature]}


def hilltop(places: np.ndarray, slopes: np.ndarray) -> float:
    """Where the hill behind the first local minimum is highest, going right.

    Args:
        places: (points,), rising.
        slopes: (points,), of the curve there.

    Returns:
        The first place at which rising ground falls again; the first of all if there is none.
    """
    rising = slopes > 0
    tops = np.flatnonzero(rising[:-1] & ~rising[1:])
    return float(places[tops[0] + 1]) if len(tops) else float(places[0])


class Gain(NamedTuple):
    """Of a curve, the shares of the stable rates stopping gradient descent with which this or that crosses."""

    usual: float
    """With the usual decay."""
    some: float
    """With some decay."""
    comparable: float
    """With the usual decay, out of those rates whose tenfold is in the grid."""
    tenfold: float
    """Out of the same, gradient descent with ten times the rate."""


def gained(crossed: Any, rates: Any) -> list[Gain]:
    """What momentum makes of the rates that stop gradient descent.

    Args:
        crossed: (curves, rates, decays) of 0 and 1, the first decay 0.
        rates: in units of the limit of stability, ten for each factor of 10.

    Returns:
        `Gain` of each curve that has such rates, with tenfold ones in the grid.
    """
    found = []
    for curve in np.asarray(crossed, bool):
        stopped = np.flatnonzero((np.asarray(rates) < 1) & ~curve[:, 0])
        compared = stopped[stopped + _TENFOLD < len(curve)]
        if len(compared):
            usual, some = curve[:, _USUAL], curve[:, 1:].any(1)
            means = (usual[stopped], some[stopped], usual[compared], curve[compared + _TENFOLD, 0])
            found.append(Gain(*(float(values.mean()) for values in means)))
    return found


def judge(data: Data) -> Judgement:
    """Both kinds, by the share of rates with which momentum crosses, and by how much a larger rate does not."""
    shares, verdicts, details = {}, [], {}
    for feature, crossed in data["crossed"].items():
        found = gained(crossed, data["rates"])
        if not found:
            return _judge_nothing_stops(feature)
        gains = np.array(found)
        usual, some, comparable, tenfold = gains.T.tolist()
        shares[feature], excess = mean(usual), difference(comparable, tenfold)
        verdicts += [decide(shares[feature], _HALF), decide(excess, 0.0)]
        details[feature] = {
            "share": shares[feature],
            "share_with_some_decay": float(np.mean(some)),
            "excess": excess,
            "share_of_plain_descent_at_10_times_the_rate": float(np.mean(tenfold)),
            "curves": len(usual),
        }
    least = min(shares, key=lambda feature: shares[feature].value)
    return Judgement(
        all_of(verdicts),
        shares[least].value,
        shares[least].interval,
        f"share of the rates stopping gradient descent with which λ = 0.9 crosses, at the {least}",
        " ".join(_judge_sentence(feature, row) for feature, row in details.items()),
        details,
        _judge_smallest(data),
    )


def _judge_nothing_stops(feature: str) -> Judgement:
    told = f"No {feature} stops gradient descent, so there is nothing that momentum could cross."
    return Judgement(INCONCLUSIVE, float("nan"), (-np.inf, np.inf), "share of the rates with which it crosses", told)


def smallest_rates(crossed: Any, rates: Any, decay: int) -> list[float]:
    """Of each curve the smallest rate that crosses, 1 where none below the limit of stability does.

    Args:
        crossed: (curves, rates, decays) of 0 and 1.
        rates: in units of the limit of stability.
        decay: place of the decay.

    Returns:
        One for each curve.

    >>> smallest_rates([[[0], [1], [1]], [[0], [0], [1]]], [0.1, 0.5, 2.0], 0)
    [0.5, 1.0]
    """
    below = [place for place, rate in enumerate(rates) if rate < 1]
    return [min((rates[i] for i in below if curve[i][decay]), default=1.0) for curve in crossed]


def _judge_smallest(data: Data) -> Second:
    ratios = {
        feature: ratio(*(smallest_rates(crossed, data["rates"], decay) for decay in (0, _USUAL)))
        for feature, crossed in data["crossed"].items()
    }
    least = min(ratios, key=lambda feature: ratios[feature].value)
    return Second(
        all_of([decide(one, _FASTER) for one in ratios.values()]),
        ratios[least].value,
        ratios[least].interval,
        f"smallest rate of gradient descent that crosses over that with λ = 0.9, at the {least}"
        + "".join(f" (at the {other}: {shown(one.value)})" for other, one in ratios.items() if other != least)
        + _judge_bounds(data),
    )


def _judge_bounds(data: Data) -> str:
    """Of how many curves the ratio is a bound from below."""
    first, count, of = min(data["rates"]), 0, 0
    for crossed in data["crossed"].values():
        plain, usual = (smallest_rates(crossed, data["rates"], decay) for decay in (0, _USUAL))
        count += sum(one == 1.0 or other == first for one, other in zip(plain, usual, strict=True))
        of += len(plain)
    return f"; at least so much for {count} of {of} curves, where the grid ends"


def _judge_sentence(feature: str, row: dict[str, Any]) -> str:
    return (
        f"At the {feature} λ = 0.9 crosses with {row['share'].value:.0%} of the rates that stop gradient descent, some "
        f"λ with {row['share_with_some_decay']:.0%}; without momentum ten times the rate, the same speed on an even "
        f"slope, crosses with {row['share_of_plain_descent_at_10_times_the_rate']:.0%}, "
        f"{shown(abs(100 * row['excess'].value))} points {'fewer' if row['excess'].value > 0 else 'more'}."
    )


def draw(data: Data) -> Any:
    """A curve of each kind, and how many curves are crossed with each rate and decay."""
    figure, axes = figures.new(2, 2, height=8.4)
    rates, decays = np.asarray(data["rates"]), data["decays"]
    for column, (feature, crossed) in enumerate(data["crossed"].items()):
        _draw_curve(axes[column], feature, data["shown"][feature])
        axis = axes[2 + column]
        share = np.asarray(crossed, float).mean(0).T
        edges = np.arange(len(decays) + 1) - 0.5
        drawn = axis.pcolormesh(rates, edges[:-1] + 0.5, share, cmap="cividis", vmin=0, vmax=1, shading="nearest")
        if share.min() < 0.5 < share.max():
            axis.contour(rates, range(len(decays)), share, levels=[0.5], colors="white", linewidths=2.5)
        axis.axvline(1, color=figures.COLOURS[1], linestyle="--", linewidth=2.5)
        axis.set(xscale="log", xlabel="rate η, in units of 2 / L″ (dashed)", ylabel="momentum λ")
        axis.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays])
        axis.grid(False)
        figure.colorbar(drawn, ax=axis, label="share of curves crossed")
    return figure


def _draw_curve(axis: Any, feature: str, shown: dict[str, Any]) -> None:
    axis.plot(shown["place"], shown["loss"], color="grey")
    for kind, (name, way) in enumerate(zip(("λ = 0", "λ = 0.9"), shown["ways"], strict=True)):
        height = np.interp(way, shown["place"], shown["loss"])
        looks = {"color": figures.COLOURS[kind], "markerfacecolor": "none", "markersize": 5}
        axis.plot(way, height, figures.MARKERS[kind], markevery=2, linestyle="none", **looks)
        end = {"color": figures.COLOURS[kind], "markersize": 13, "linestyle": "none"}
        axis.plot(way[-1], height[-1], figures.MARKERS[kind], label=f"{name}: ends here", **end)
    axis.set(xlabel="parameter", ylabel="loss", title=f"one curve with a {feature}, η = {shown['rate']:g} · 2 / L″")
    axis.legend(loc="upper right")
