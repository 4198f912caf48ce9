"""How noisy the gradient of a batch is against its size, and the paths that follow."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from tricks import data as data_sets
from tricks import losses, models
from tricks.lectures.common import figures, starts
from tricks.lectures.common.batch_gradients import as_training, variances_of_batches, variances_of_means
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement, Second
from tricks.lectures.common.paths import in_plane, length_over_distance
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import Estimate, all_of, decide, difference, mean, slope

_SLOPE, _FACTOR = 0.1, 0.1
_HIDDEN, _RATE, _KEPT = (32,), 0.005, 5
_POINTS = ("at the start", "after training")
_LOWERED = 0.05
_REAL_HIDDEN, _REAL_RATE, _REAL_BATCH, _SMALLEST, _LARGEST = (64, 64), 0.1, 64, 4, 1024

CLAIM = Claim(
    title="The variance of a batch's gradient falls as one over its size",
    idea="The gradient of a batch is a mean over examples drawn at random, so it is the gradient of all of them plus "
    "noise, and the noise is the smaller the more examples there are: steps from single examples wander, those from "
    "the whole set go straight.",
    lecture="Batch: why the path of small batches is noisy, the drawing of the paths at B = 1 and at the whole set.",
    rule="At fixed weights, at the start and after training, the slope of the logarithm of the gradient's variance "
    "against the logarithm of the batch size, drawn with replacement, is within "
    f"-1 ± {_SLOPE:g}; drawn without replacement, the variance at half of the examples is within {_FACTOR:.0%} of "
    "σ²/B (N − B)/(N − 1). Supported if the intervals of 95 % over seeds lie inside for both points; refuted if one "
    "lies outside.",
    source="McCandlish et al., arXiv 1812.06162, for the noise scale.",
    second_rule="The first rule takes means of the gradients of single examples, and tests the drawing more than the "
    f"claim. So: two hidden layers of {_REAL_HIDDEN[0]} units with batch normalization, where the gradient of a batch, "
    "as training computes it, is not a mean over examples. At the start, and after a short training by batches of "
    f"{_REAL_BATCH}, batches of {_SMALLEST} to {_LARGEST} (up to a quarter of the examples) are drawn without "
    "replacement from all training examples. The variance, without bias, is the squared distance from the mean "
    "gradient of batches of that size, divided by (N − B)/(N − 1). Supported if the intervals of 95 % over seeds of "
    f"the slope of log variance against log batch size lie within -1 ± {_SLOPE:g} at both points; refuted if one lies "
    "outside.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Gradients of single examples, whose means over drawn batches are the gradients of those batches."""
    seeds = list(range(effort.pick(5, 2)))
    training_set, count = data_sets.load(effort.images).train, effort.pick(1000, 200)
    steps, draws = effort.pick(1000, 100), effort.pick(1000, 200)
    sizes = [2**power for power in range(10) if 2**power < count // 2] + [count // 2]
    found: dict[str, Any] = {name: {point: [] for point in _POINTS} for name in ("with", "without", "of_one", "signal")}
    wander: dict[str, list[float]] = {"1": [], "all": []}
    drawn: dict[str, Any] = {}
    for seed in seeds:
        note(f"seed {seed}")
        generator = np.random.default_rng(seed)
        (sample,) = data_sets.draw(training_set, [count], generator)
        batch = losses.Batch(jnp.asarray(sample.features.reshape(count, -1)), jnp.asarray(sample.targets))
        network = models.multilayer_perceptron(
            input_size=batch.features.shape[1], output_size=10, hidden_sizes=_HIDDEN, activation="tanh"
        )
        vector, unravel = ravel_pytree(network.init(jax.random.key(seed))[0])
        per_example, descend = _functions(losses.objective(network.apply, losses.cross_entropy, {}), unravel)
        one = descend(vector, batch, generator.integers(count, size=(steps, 1)))
        every = descend(vector, batch, np.tile(np.arange(count), (steps, 1)))
        wander["1"].append(length_over_distance(np.asarray(one)))
        wander["all"].append(length_over_distance(np.asarray(every)))
        if not drawn:
            drawn = in_plane([np.asarray(one)[::_KEPT], np.asarray(every)[::_KEPT]])
        for point, weights in zip(_POINTS, (vector, every[-1]), strict=True):
            gradients = per_example(weights, batch)
            for name, replaced in (("with", True), ("without", False)):
                found[name][point].append(variances_of_means(gradients, sizes, draws, generator, replaced=replaced))
            centre = jnp.mean(gradients, axis=0, keepdims=True)
            found["of_one"][point].append(float(jnp.sum((gradients - centre) ** 2) / count))
            found["signal"][point].append(float(jnp.sum(centre**2)))
    return {
        "seeds": seeds,
        "examples": f"{count} of {effort.images}",
        "count": count,
        "sizes": sizes,
        "updates": steps,
        "wander": wander,
        "paths": drawn,
        **found,
        "real": _of_real_batches(effort, training_set, seeds, note),
    }


def _of_real_batches(effort: Effort, split: Any, seeds: list[int], note: Callable[[str], None]) -> dict[str, Any]:
    """Variances of the gradients of batches of all examples, by a network with batch normalization."""
    examples = starts.flat(split, len(split.targets))
    count, draws, updates = len(examples.targets), effort.pick(64, 16), effort.pick(400, 40)
    largest = min(_LARGEST, count // 4)
    sizes = [2**power for power in range(largest.bit_length()) if _SMALLEST <= 2**power <= largest]
    network = models.multilayer_perceptron(
        input_size=examples.features.shape[1], output_size=10, hidden_sizes=_REAL_HIDDEN, batch_norm=True
    )
    gradients, descend = as_training(network, examples, _REAL_RATE)
    found: dict[str, Any] = {point: [] for point in _POINTS}
    for seed, rows in zip(seeds, starts.batches(seeds, count, _REAL_BATCH, updates), strict=True):
        note(f"batch normalization, seed {seed}")
        begun = network.init(jax.random.key(seed))
        for number, weights in enumerate((begun, descend(*begun, rows))):
            taken = functools.partial(gradients, *weights)
            generator = np.random.default_rng([seed, number])
            found[_POINTS[number]].append(variances_of_batches(taken, count, sizes, draws, generator))
    return {"sizes": sizes, "examples": count, "draws": draws, "updates": updates, "variances": found}


def _functions(loss_fn: Any, unravel: Callable[[Any], Any]) -> tuple[Any, Any]:
    def loss(vector: jax.Array, batch: losses.Batch) -> jax.Array:
        return loss_fn(unravel(vector), batch)

    @jax.jit
    def per_example(vector: jax.Array, batch: losses.Batch) -> jax.Array:
        def of_one(one: losses.Batch) -> jax.Array:
            return jax.grad(loss)(vector, jax.tree.map(lambda a: a[None], one))

        return jax.vmap(of_one)(batch)

    @jax.jit
    def descend(vector: jax.Array, examples: losses.Batch, rows: jax.Array) -> jax.Array:
        def update(vector: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
            batch = jax.tree.map(lambda a: a[rows], examples)
            new = vector - _RATE * jax.grad(loss)(vector, batch)
            return new, new

        return jnp.concatenate([vector[None], jax.lax.scan(update, vector, rows)[1]])

    return per_example, descend


def judge(data: Data) -> Judgement:
    """Slopes over seeds, and the share of the variance that drawing without replacement leaves."""
    slopes = {point: mean([_judge_slope(data["sizes"], one) for one in data["with"][point]]) for point in _POINTS}
    size, count = data["sizes"][-1], data["count"]
    expected = (count - size) / (count - 1) / size
    factors = {
        point: mean((np.divide(np.asarray(data["without"][point])[:, -1], data["of_one"][point]) / expected).tolist())
        for point in _POINTS
    }
    verdicts = [_judge_within(one, -1.0, _SLOPE) for one in slopes.values()]
    verdicts += [_judge_within(one, 1.0, _FACTOR) for one in factors.values()]
    trained = slopes[_POINTS[1]]
    scales = {point: float(np.mean(np.divide(data["of_one"][point], data["signal"][point]))) for point in _POINTS}
    second, real, told = _judge_real_batches(data["real"])
    length = {name: float(np.mean(data["wander"][name])) for name in ("1", "all")}
    return Judgement(
        all_of(verdicts),
        trained.value,
        trained.interval,
        "slope of log variance against log batch size, after training",
        f"The variance goes with the power {shown(slopes[_POINTS[0]].value)} of the batch size at the start and "
        f"{shown(trained.value)} after training. Drawn without replacement, half of the examples have "
        f"{shown(factors[_POINTS[1]].value)} times the variance that the finite set predicts. Noise and gradient are "
        f"of the same size at a batch of {shown(scales[_POINTS[0]])} at the start and {shown(scales[_POINTS[1]])} "
        f"after training. In {data['updates']} updates the path is {shown(length['1'])} times as long as the distance "
        f"of its ends at a batch of 1, and {shown(length['all'])} times with all examples. {told}",
        {
            "slopes": slopes,
            "factors": factors,
            "noise_scale": scales,
            "length_over_distance": length,
            "slopes_with_batch_normalization": real,
        },
        second,
    )


def _judge_real_batches(real: Data) -> tuple[Second, dict[str, Any], str]:
    """The second rule, the slopes of all sizes, of the small and of the large ones, and a sentence of them."""
    sizes, half = real["sizes"], len(real["sizes"]) // 2
    slopes, told = {}, []
    for point in _POINTS:
        # The size in the middle belongs to both.
        every, small, large = (
            [_judge_slope(sizes[part], one[part]) for one in real["variances"][point]]
            for part in (slice(None), slice(half + 1), slice(half, None))
        )
        slopes[point] = {"all": mean(every), "small": mean(small), "large": mean(large)}
        bend = difference(large, small)
        bends = f" (up to {sizes[half]} {shown(mean(small).value)}, from there {shown(mean(large).value)})"
        told.append(f"{shown(mean(every).value)}{bends if bend.low > 0 or bend.high < 0 else ''} {point}")
    verdicts = [_judge_within(one["all"], -1.0, _SLOPE) for one in slopes.values()]
    point = max(_POINTS, key=lambda name: abs(slopes[name]["all"].value + 1))
    far = slopes[point]["all"]
    effect = f"slope of log variance of real batches, with batch normalization, {point} (the one farther from -1)"
    sentence = f"With batch normalization the variance of real batches goes with the power {' and '.join(told)}."
    if any(one["small"].high < min(one["large"].low, -1) for one in slopes.values()):
        sentence += " In small batches the means and deviations that normalize are noisy too."
    return Second(all_of(verdicts), far.value, far.interval, effect), slopes, sentence


def _judge_slope(sizes: Sequence[int], variances: Sequence[float]) -> float:
    return slope(np.log(sizes).tolist(), np.log(variances).tolist()).value


def _judge_within(estimate: Estimate, middle: float, half: float) -> str:
    return all_of([decide(estimate, middle - half), decide(estimate, middle + half, above=False)])


def draw(data: Data) -> Any:
    """Variance against batch size, and two paths from one start."""
    figure, (left, right) = figures.new(2)
    sizes = np.asarray(data["sizes"])
    shown_sizes = np.geomspace(1, data["count"] - 0.5, 200)
    for kind, (point, way) in enumerate((point, way) for point in _POINTS for way in ("with", "without")):
        of_one = np.asarray(data["of_one"][point])[:, None]
        label = f"{point}, {'with' if way == 'with' else 'without'} replacement"
        figures.band(left, sizes.tolist(), (np.asarray(data[way][point]) / of_one).tolist(), kind, label)
    left.plot(shown_sizes, 1 / shown_sizes, "-", color="0.4", linewidth=1, label="1/B")
    rest = (data["count"] - shown_sizes) / (data["count"] - 1) / shown_sizes
    left.plot(shown_sizes, rest, ":", color="0.2", linewidth=1.5, label="(N − B)/(N − 1)/B")
    _draw_real_batches(left, data["real"])
    left.set(xscale="log", yscale="log", xlabel="batch size B (examples)", ylabel="variance over that of one example")
    left.set(title=f"noise of the gradient, {len(data['seeds'])} seeds", ylim=(_LOWERED / data["count"] / 500, 3))
    left.legend(fontsize=11, loc="lower left")
    for kind, (name, size) in enumerate((("1", 1), ("all", data["count"]))):
        label = f"B = {size}: {shown(data['wander'][name][0])} times as long as its ends are apart"
        path = np.asarray(data["paths"][name])
        right.plot(
            *path.T, color=figures.COLOURS[kind], linewidth=1.2 if kind == 0 else 3, label=label, ls=figures.LINES[kind]
        )
        right.plot(*path[-1], figures.MARKERS[kind + 1], color=figures.COLOURS[kind], markersize=11)
    right.plot(0, 0, "o", color="black", markersize=11, label="start")
    first, second = data["paths"]["shares"]
    right.set(xlabel=f"first principal direction ({first:.0%} of the spread)")
    right.set_ylabel(f"second principal direction ({second:.0%})")
    right.set(title=f"weights over {data['updates']} updates, one run each")
    right.margins(y=0.25)
    right.legend(loc="upper left", fontsize=11)
    return figure


def _draw_real_batches(axis: Any, real: Data) -> None:
    """Below the others, so that they can be told apart; 1/B at their largest size, where no example stands alone."""
    sizes = np.asarray(real["sizes"])
    for kind, point in enumerate(_POINTS, 4):
        variances = np.asarray(real["variances"][point])
        lowered = _LOWERED * variances / variances[:, -1:] / sizes[-1]
        figures.band(axis, sizes.tolist(), lowered.tolist(), kind, f"{point}, batch normalization (× {_LOWERED:g})")
    axis.plot(sizes, _LOWERED / sizes, "-", color="0.4", linewidth=1)
