"""How fast the quadratic approximation of a loss becomes exact."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks import losses, models, transforms
from tricks.lectures.common import figures, statistics
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.results import shown
from tricks.lectures.common.small_networks import Examples, Small, damped_sine, descend, parts_of_digits, small

_STEPS = np.geomspace(1e-5, 1, 31)
_FITTED = (0.9e-3, 1.1e-2)  # Below, rounding shows in places; above, the fourth power.
_LOW, _HIGH = 2.9, 3.1

CLAIM = Claim(
    title="Near a point the loss is its quadratic approximation, up to the third power of the distance",
    idea="Around a point the loss is L + gᵀ(θ−θ') + ½(θ−θ')ᵀH(θ−θ') for small steps; at a critical point the middle "
    "term is gone, and H alone says what the loss does.",
    lecture="Critical points: the Taylor approximation of the loss.",
    rule=f"The slope of log |L(θ'+hv) − quadratic| against log h, for h from 0.001 to 0.01 and |v| = 1, averaged for "
    f"each seed over three tanh networks, two points (start and after 200 steps) and two directions (random, "
    f"gradient). Supported if the 95 % interval of its mean over seeds lies within {_LOW:g} and {_HIGH:g}; refuted if "
    f"it lies outside.",
    source="Taylor's theorem.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Errors of the linear and of the quadratic approximation, in float64."""
    seeds = np.asarray(effort.pick(range(10, 22), range(2)))
    linear, quadratic, names = [], [], []
    with jax.enable_x64(True):
        for name, network, examples in _networks()[: effort.pick(3, 2)]:
            note(name)
            found = side_by_side(lambda seed, n=network, e=examples: errors_of(n, e, jax.random.key(seed)), seeds)
            linear.append(found[0])
            quadratic.append(found[1])
            names.append(name)
    return {
        "seeds": seeds.tolist(),
        "examples": "300 of the digits, and sin(5πx)/(5πx)",
        "networks": names,
        "steps": _STEPS.tolist(),
        # (seeds, lines, steps): a line for each network, point and direction.
        "linear": np.concatenate(linear, axis=1).tolist(),
        "quadratic": np.concatenate(quadratic, axis=1).tolist(),
    }


def _networks() -> list[tuple[str, Small, Examples]]:
    digits, _ = parts_of_digits(300)
    made = []
    for name, sizes, examples, loss in (
        ("1-10-10-1", (1, 10, 10, 1), damped_sine(64), losses.squared_error),
        ("64-16-10", (64, 16, 10), digits, losses.cross_entropy),
        ("64-8-8-10", (64, 8, 8, 10), digits, losses.cross_entropy),
    ):
        network = models.multilayer_perceptron(
            input_size=sizes[0], output_size=sizes[-1], hidden_sizes=sizes[1:-1], activation="tanh"
        )
        made.append((name, small(network, loss), examples))
    return made


def errors_of(network: Small, examples: Examples, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """|error| of both approximations: (lines, steps) each."""
    loss = lambda w: network.loss(w, examples)  # noqa: E731
    start = network.start(key)
    trained = descend(loss, start, 200, transforms.momentum(0.05))
    random = jax.random.normal(jax.random.fold_in(key, 1), start.shape, start.dtype)
    points = jnp.stack([start, start, trained, trained])
    gradients = jax.vmap(jax.grad(loss))(points)
    directions = jnp.where(jnp.asarray([[True], [False], [True], [False]]), random[None], gradients)
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    return jax.vmap(lambda w, v: taylor_errors(loss, w, v, jnp.asarray(_STEPS)))(points, directions)


def taylor_errors(loss: Callable[[jax.Array], jax.Array], w: Any, v: Any, steps: Any) -> tuple[jax.Array, jax.Array]:
    """|L(w + hv) - L - h g.v| and the same with h^2 v.Hv / 2, for each h."""
    value, slope = jax.jvp(loss, (w,), (v,))
    curvature = jnp.vdot(v, jax.jvp(jax.grad(loss), (w,), (v,))[1])
    there = jax.vmap(lambda h: loss(w + h * v))(steps)
    linear = there - value - steps * slope
    return jnp.abs(linear), jnp.abs(linear - steps**2 * curvature / 2)


def _judge_slopes(data: Data, kind: str) -> list[float]:
    """Of each seed: the mean over its lines."""
    steps = np.asarray(data["steps"])
    fitted = (steps > _FITTED[0]) & (steps < _FITTED[1])
    x = np.log(steps[fitted])
    errors = np.log(np.maximum(np.asarray(data[kind])[:, :, fitted], 1e-300))
    return [float(np.mean([np.polyfit(x, line, 1)[0] for line in lines])) for lines in errors]


def judge(data: Data) -> Judgement:
    """The slope of the quadratic approximation's error, beside that of the linear one's."""
    found = statistics.mean(_judge_slopes(data, "quadratic"))
    linear = statistics.mean(_judge_slopes(data, "linear"))
    verdict = statistics.all_of(
        [statistics.decide(found, _LOW), statistics.decide(found, _HIGH, above=False)],
    )
    return Judgement(
        verdict,
        found.value,
        found.interval,
        "power of the step with which the error of the quadratic approximation falls",
        f"Half the step divides the error of the quadratic approximation by {shown(2**found.value)} and that of the "
        f"linear one by {shown(2**linear.value)}: they go with the powers {shown(found.value)} and "
        f"{shown(linear.value)} of the step.",
        {"linear": linear.value, "linear_interval": list(linear.interval)},
    )


def draw(data: Data) -> Any:
    """Errors against the step, beside the powers they should follow."""
    figure, (axis,) = figures.new()
    steps = np.asarray(data["steps"])
    for kind, name in enumerate(("linear", "quadratic")):
        lines = np.maximum(np.asarray(data[name]), 1e-18).reshape(-1, len(steps))
        figures.band(axis, data["steps"], lines.tolist(), kind, f"{name} approximation: median and range")
        at = int(np.argmin(np.abs(steps - 1e-2)))
        reference = np.median(lines[:, at]) * (steps / steps[at]) ** (kind + 2)
        axis.plot(steps, 3 * reference, ":", color="black", label="powers 2 and 3 of the step" if kind else None)
    axis.axvspan(*_FITTED, color="black", alpha=0.08, linewidth=0, label="where slopes are fitted")
    axis.set(xscale="log", yscale="log", ylim=(1e-18, None))
    axis.set(xlabel="step h along a unit direction (in units of the parameters)", ylabel="|loss − approximation|")
    count, lines_of_seed = np.asarray(data["quadratic"]).shape[:2]
    axis.set_title(f"{count * lines_of_seed} lines: networks, points, directions and {count} seeds")
    axis.legend(loc="lower right")
    return figure
