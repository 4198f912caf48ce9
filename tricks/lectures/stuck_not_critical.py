"""What a training does while its loss stands still: the gradient, its overlap from step to step, rate and curvature."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks import losses, models
from tricks.lectures.common import figures, statistics
from tricks.lectures.common.experiment import INCONCLUSIVE, Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.results import shown
from tricks.lectures.common.small_networks import Examples, Small, first_plateau, parts_of_digits, small

_WINDOW, _IMPROVEMENT, _HIGH = 100, 0.01, 0.05
_RATES = (0.125, 0.5, 2.0, 8.0, 32.0)
_DRAWN = 2.0
_EXAMPLES, _BATCH = 400, 32
_ALL, _BATCHES = "all examples", f"batches of {_BATCH}"
_SHARE_LEFT, _OVERLAP = 0.1, 0.0

CLAIM = Claim(
    title="Where the loss stands still the gradient need not be small: the steps bounce across a valley",
    idea="A loss that no longer falls is often taken for a critical point. Yet the norm of the gradient may stay where "
    "it was, or rise: with one rate for all parameters the steps go to and fro between the walls of a valley that is "
    "narrower than they are long. Few trainings come near a critical point at all.",
    lecture="Adaptive learning rates: training stuck is not the same as a small gradient.",
    rule=f"Networks 64-2-10 (tanh), which cannot fit {_EXAMPLES} of the digits, are trained on them by gradient "
    f"descent, with all examples or batches of {_BATCH}, at rates of {', '.join(map(str, _RATES))}. A run "
    f"is stuck in the first {_WINDOW} steps whose mean loss is not {_IMPROVEMENT:.0%} below that of the {_WINDOW} "
    f"before, and above {_HIGH:g}. Supported if over the seeds, with 95 % intervals, the median norm of the gradient "
    f"over all examples in those steps is more than {_SHARE_LEFT:g} of that in the first {_WINDOW} steps (geometric "
    f"mean of a seed's stuck runs), and the cosine of gradients that follow one another, where all examples are used, "
    f"below {_OVERLAP:g} (mean of a seed's stuck runs); refuted if one of the two is not.",
    source="Cohen et al., arXiv 2103.00065: rate times curvature about 2.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains all lanes, and takes the largest curvature where they are stuck."""
    seeds = effort.pick(range(100, 108), range(2))
    lanes = [(kind, rate, seed) for kind in (_ALL, _BATCHES) for rate in _RATES for seed in seeds]
    parts = {seed: parts_of_digits(_EXAMPLES, seed)[0] for seed in seeds}
    with jax.enable_x64(True):
        network = small(
            models.multilayer_perceptron(input_size=64, output_size=10, hidden_sizes=(2,), activation="tanh"),
            losses.cross_entropy,
        )
        examples = jax.tree.map(lambda *leaves: np.stack(leaves), *(parts[seed] for _, _, seed in lanes))
        numbers = [(seed, rate, kind == _BATCHES) for kind, rate, seed in lanes]
        note(f"{len(lanes)} runs")
        ends, *curves = side_by_side(
            functools.partial(_windows, network, effort.pick(30, 8)),
            examples,
            *map(np.asarray, zip(*numbers, strict=True)),
        )
        plateaus = [first_plateau(means.tolist(), _IMPROVEMENT, _HIGH) for means in curves[0]]
        note("Hessians")
        points = np.stack([end[plateau or 0] for end, plateau in zip(ends, plateaus, strict=True)])
        hessian = jax.hessian(network.loss)
        largest = np.linalg.eigvalsh(side_by_side(hessian, points, examples, batched=False))[:, -1]
    found = zip(lanes, plateaus, largest, *(curve.tolist() for curve in curves), strict=True)
    runs = [
        {
            "kind": kind,
            "rate": rate,
            "seed": seed,
            "plateau": plateau,
            "rate_times_curvature": float(rate * value),
            "losses": means,
            "norms": norms,
            "overlaps": overlaps,
        }
        for (kind, rate, seed), plateau, value, means, norms, overlaps in found
    ]
    return {"seeds": list(seeds), "examples": f"for each seed {_EXAMPLES} of the digits", "runs": runs}


def _windows(
    network: Small, windows: int, examples: Examples, seed: jax.Array, rate: jax.Array, by_batches: jax.Array
) -> tuple[jax.Array, ...]:
    """After or over each window: w, the mean loss, the median norm of the gradient, the mean overlap."""
    key = jax.random.key(seed)
    features, targets = jnp.asarray(examples.features), jnp.asarray(examples.targets)

    def step(carry: Any, number: jax.Array) -> Any:
        w, before = carry
        value, gradient = jax.value_and_grad(network.loss)(w, examples)
        rows = jax.random.randint(jax.random.fold_in(key, number), (_BATCH,), 0, _EXAMPLES)
        of_batch = jax.grad(network.loss)(w, Examples(features[rows], targets[rows]))
        told = value, jnp.linalg.norm(gradient), overlap(gradient, before)
        return (w - rate * jnp.where(by_batches, of_batch, gradient), gradient), told

    def over_window(carry: Any, number: jax.Array) -> Any:
        carry, (values, norms, overlaps) = jax.lax.scan(step, carry, number * _WINDOW + jnp.arange(_WINDOW))
        return carry, (carry[0], jnp.mean(values), jnp.median(norms), jnp.mean(overlaps))

    start = network.start(key)
    return jax.lax.scan(over_window, (start, jnp.zeros_like(start)), jnp.arange(windows))[1]


def overlap(one: jax.Array, other: jax.Array) -> jax.Array:
    """The cosine of the angle between two vectors; 0 where one of them is 0.

    >>> float(overlap(jnp.array([1.0, 0.0]), jnp.array([-2.0, 0.0])))
    -1.0
    """
    lengths = jnp.linalg.norm(one) * jnp.linalg.norm(other)
    return jnp.vdot(one, other) / jnp.where(lengths > 0, lengths, 1)


def _judge_of_seeds(runs: Sequence[Data], measure: Callable[[Data], float]) -> list[float]:
    """The mean over the stuck runs of each seed that has any."""
    seeds = dict.fromkeys(run["seed"] for run in runs if run["plateau"] is not None)
    return [
        float(np.mean([measure(run) for run in runs if run["seed"] == seed and run["plateau"] is not None]))
        for seed in seeds
    ]


def _judge_logarithm_left(run: Data) -> float:
    return float(np.log(run["norms"][run["plateau"]] / run["norms"][0]))


def _judge_overlap(run: Data) -> float:
    return float(run["overlaps"][run["plateau"]])


def judge(data: Data) -> Judgement:
    """What is left of the gradient, and the overlap."""
    runs, of_all = data["runs"], [run for run in data["runs"] if run["kind"] == _ALL]
    stuck = [run for run in runs if run["plateau"] is not None]
    logarithms, overlaps = _judge_of_seeds(runs, _judge_logarithm_left), _judge_of_seeds(of_all, _judge_overlap)
    if not overlaps:
        nothing = f"None of the {len(of_all)} runs on all examples was stuck."
        return Judgement(INCONCLUSIVE, math.nan, (0.0, math.inf), "share left of the gradient", nothing)
    left = statistics.ratio(np.exp(logarithms).tolist(), [1.0] * len(logarithms))
    overlapping = statistics.mean(overlaps)
    verdict = statistics.all_of(
        [statistics.decide(left, _SHARE_LEFT), statistics.decide(overlapping, _OVERLAP, above=False)]
    )
    rows = {rate: [run for run in stuck if run["kind"] == _ALL and run["rate"] == rate] for rate in _RATES}
    by_rate = {
        f"{rate:g}": {
            "stuck": len(of_rate),
            "loss": float(np.median([run["losses"][run["plateau"]] for run in of_rate])),
            "gradient_left": float(np.exp(np.median([_judge_logarithm_left(run) for run in of_rate]))),
            "overlap": float(np.median([_judge_overlap(run) for run in of_rate])),
            "rate_times_curvature": float(np.median([run["rate_times_curvature"] for run in of_rate])),
        }
        for rate, of_rate in rows.items()
        if of_rate
    }
    in_batches = _judge_of_seeds([run for run in runs if run["kind"] == _BATCHES], _judge_overlap)
    bouncing = [run for run in stuck if run["kind"] == _ALL and _judge_overlap(run) < 0]
    product = float(np.median([run["rate_times_curvature"] for run in bouncing])) if bouncing else math.nan
    return Judgement(
        verdict,
        left.value,
        left.interval,
        "norm of the gradient where the loss stands still, by that in the first steps",
        f"{len(stuck)} of {len(runs)} runs are stuck, with a gradient {shown(left.value)} times as long as at the "
        f"beginning. Where all examples are used, gradients that follow one another have a mean cosine of "
        f"{shown(overlapping.value)} ({shown(overlapping.low)} to {shown(overlapping.high)}): {len(bouncing)} of "
        f"{sum(map(len, rows.values()))} stuck runs bounce (below 0), with a median rate times largest curvature of "
        f"{shown(product)}, where 2 is the limit of stability. In batches of {_BATCH} the mean cosine is "
        f"{shown(float(np.mean(in_batches)) if in_batches else math.nan)}.",
        {"overlap": overlapping._asdict(), "by_rate": by_rate},
    )


def draw(data: Data) -> Any:
    """Loss and gradient of one rate over the steps, and overlap against rate times curvature of all."""
    figure, (top, middle, right) = figures.new(3, width=14.0)
    for number, kind in enumerate((_ALL, _BATCHES)):
        runs = [run for run in data["runs"] if run["kind"] == kind]
        of_rate = [run for run in runs if run["rate"] == _DRAWN]
        steps = _WINDOW * (np.arange(len(of_rate[0]["losses"])) + 1).astype(float)
        figures.band(top, steps.tolist(), [run["losses"] for run in of_rate], number, kind)
        figures.band(middle, steps.tolist(), [run["norms"] for run in of_rate], number, kind)
        stuck = [run for run in runs if run["plateau"] is not None]
        right.plot(
            [run["rate_times_curvature"] for run in stuck],
            [_judge_overlap(run) for run in stuck],
            figures.MARKERS[number],
            color=figures.COLOURS[number],
            markerfacecolor="none",
        )
    top.set(xlabel="step", ylabel="loss, mean of 100 steps", ylim=(0, None), title=f"rate {_DRAWN:g}")
    middle.set(xlabel="step", ylabel="norm of the gradient over all examples", ylim=(0, None))
    middle.set_title(f"rate {_DRAWN:g}: median and range of seeds")
    right.axvline(2, color="black", linestyle=":", linewidth=1.5, label="limit of stability: 2")
    right.axhline(0, color="black", linewidth=1)
    right.set(
        xscale="log", xlabel="rate × largest curvature", ylabel="cosine of gradients of two steps", ylim=(-1.05, 1.05)
    )
    right.set_title("where the loss stands still: each run")
    top.legend()
    right.legend(loc=(0.01, 0.2), fontsize=12)
    return figure
