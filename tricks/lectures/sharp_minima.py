"""Keskar's network F1: where small and large batches end, how sharp it is there, and what lies between."""

import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks import data as data_sets
from tricks import losses
from tricks.config import Config
from tricks.curvature import hessian, keskar_sharpness, relative_sharpness
from tricks.data import Dataset, Split
from tricks.lectures.common import figures, training
from tricks.lectures.common.experiment import INCONCLUSIVE, REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import all_of, decide, difference, mean, ratio
from tricks.training import assembly, evaluation
from tricks.training.assembly import Static
from tricks.training.setup import Setup
from tricks.training.state import Weights, weights

_FIRST, _HALF, _SUBSPACE = "full space, ε = 1e-3", "full space, ε = 5e-4", "random subspace, ε = 1e-3"
_MEASURES = {_FIRST: (1e-3, None), _HALF: (5e-4, None), _SUBSPACE: (1e-3, 100)}
# With small and large batches.
_PUBLISHED = {_FIRST: (1.23, 205.14), _HALF: (0.61, 42.90), _SUBSPACE: (0.11, 9.22)}
_PARTS = ("train", "test")
_BATCHES = ("small", "large")
_ALPHAS = [round(float(alpha), 2) for alpha in np.linspace(-0.5, 1.5, 21)]

CLAIM = Claim(
    title="Large batches end in sharp minima, and these do worse on the test",
    idea="Steps of small batches are noisy, and noise throws the weights out of narrow valleys, but not out of wide "
    "ones. A large batch stays in the narrow ones. Where training and test loss are shifted against each other a "
    "narrow valley costs more.",
    lecture="Batch: why a small batch is better on test data, a flat and a sharp minimum; the table of Keskar et al.",
    rule="Over pairs with a seed in common, large batch beside small: the ratio of Keskar's sharpness (full space, ε = "
    "1e-3, 2000 training examples, running statistics) is above 1, and the test accuracy of the small batch is the "
    "higher one. Supported if the intervals of 95 % say so of both; refuted if one says the opposite.",
    source="Keskar et al. 2017, arXiv 1609.04836; Dinh et al., arXiv 1703.04933, on rescaling; Kwon et al., arXiv "
    "2102.11600.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains pairs from the same initial weights, and measures around and between their ends."""
    seeds = list(range(effort.pick(5, 2)))
    epochs = dict(zip(_BATCHES, effort.pick((8, 20), (1, 2)), strict=True))
    sizes = {"small": effort.of_images(256, 32)}
    found: dict[str, Any] = {
        "accuracy": {part: {batch: [] for batch in _BATCHES} for part in _PARTS},
        "sharpness": {name: {batch: [] for batch in _BATCHES} for name in _MEASURES},
        "relative": {batch: [] for batch in _BATCHES},
        "line": {part: [] for part in _PARTS},
    }
    for seed in seeds:
        ends: list[Weights] = []
        for batch in _BATCHES:
            note(f"seed {seed}: training, {batch} batch")
            changes = {
                "data.name": effort.images,
                "data.batch_size": sizes[batch],
                "data.validation_fraction": effort.of_images(1 / 60, 0.1),
                "model.hidden_sizes": effort.pick((512,) * 5, (16, 16)),
                "train.epochs": epochs[batch],
            }
            setup, end = _train(training.configured(Config(), changes, [seed])[0])
            ends.append(end)
            tenth = len(setup.data.train.targets) // 10
            sizes["large"] = tenth - tenth % jax.device_count()
        note(f"seed {seed}: sharpness")
        samples = _samples(setup.data, effort.of_images(2000, 200), seed)
        measure = functools.partial(_measure, setup.static, samples[0], effort.of_images(1000, 100), seed)
        # Much of it keeps one core busy, so both go on at once; what is quick takes longer to compile for two devices.
        devices = jax.devices()[: effort.pick(2, 1)]
        with ThreadPoolExecutor(len(devices)) as threads:
            measured = list(threads.map(measure, ends, itertools.cycle(devices)))
        train = _accuracy(setup.static, setup.data.train)
        test = _accuracy(setup.static, setup.data.test)
        for batch, end, (sharpness, relative) in zip(_BATCHES, ends, measured, strict=True):
            found["accuracy"]["train"][batch].append(train(end))
            found["accuracy"]["test"][batch].append(test(end))
            found["relative"][batch].append(relative)
            for name, value in sharpness.items():
                found["sharpness"][name][batch].append(value)
        for part, values in zip(_PARTS, _line(setup, ends, samples), strict=True):
            found["line"][part].append(values)
    return {"seeds": seeds, "examples": effort.images, "sizes": sizes, "epochs": epochs, "alphas": _ALPHAS, **found}


def _train(config: Config) -> tuple[Setup, Weights]:
    trained = training.train_one(config)
    end: Weights = jax.device_get(weights(trained.state.train))
    return trained.setup, end


def _samples(data: Dataset, count: int, seed: int) -> list[losses.Batch]:
    generator = np.random.default_rng(seed)
    drawn = [data_sets.draw(split, [count], generator)[0] for split in (data.train, data.test)]
    return [losses.Batch(*sample) for sample in drawn]


def _accuracy(static: Static, split: Split) -> Callable[[Weights], float]:
    """In percent, over a whole split."""
    sums = jax.jit(functools.partial(evaluation.sums, assembly.make_network(static), static.loss))
    blocks = evaluation.blocks(split, static.mesh)
    return lambda end: 100 * evaluation.means(sums, end, blocks, static.mesh, len(split.targets))["accuracy"]


def _measure(
    static: Static, sample: losses.Batch, fewer: int, seed: int, end: Weights, device: Any
) -> tuple[dict[str, float], float]:
    """Sharpness in percent by each measure, and the largest eigenvalue for relative changes."""
    with jax.default_device(device):
        params, model_state = jax.device_put(end)
        batch = jax.device_put(sample)
        loss_fn = losses.objective(assembly.make_network(static).apply, static.loss, model_state)
        key = jax.random.key(seed)
        sharpness = {
            name: keskar_sharpness(loss_fn, params, epsilon, batches=[batch], subspace=subspace, key=key).value
            for name, (epsilon, subspace) in _MEASURES.items()
        }
        operator = hessian(loss_fn, params, [jax.tree.map(lambda a: a[:fewer], batch)])
        return sharpness, float(relative_sharpness(operator, params, key=key, tol=1e-2).values[0])


def _line(setup: Setup, ends: Sequence[Weights], samples: Sequence[losses.Batch]) -> list[list[float]]:
    """Losses on the samples along the straight line; at each point with the statistics of the training sample there."""
    # The moving averages of batch normalization keep nothing of what they were.
    hyper = setup.hyper._replace(model={**setup.hyper.model, "batch_norm_momentum": 0.0})
    network, (small, large) = assembly.make_network(setup.static, hyper), ends

    @jax.jit
    def both(alpha: float, small: Weights, large: Weights, train: losses.Batch, test: losses.Batch) -> list[jax.Array]:
        params = jax.tree.map(lambda a, b: (1 - alpha) * a + alpha * b, small.params, large.params)
        of_train, model_state = network.apply(params, small.model_state, train.features, batch_statistics=True)
        of_test, _ = network.apply(params, model_state, test.features)
        pairs = (of_train, train), (of_test, test)
        return [jnp.mean(setup.static.loss(outputs, batch.targets)["loss"]) for outputs, batch in pairs]

    found = [both(alpha, small, large, *samples) for alpha in _ALPHAS]
    return np.array(found).T.tolist()


def judge(data: Data) -> Judgement:
    """Ratios of sharpness and differences of accuracy within pairs."""
    ratios = {
        name: ratio(values["large"], values["small"])
        for name, values in (*data["sharpness"].items(), ("relative", data["relative"]))
    }
    sharper, relative = ratios[_FIRST], ratios["relative"]
    test = difference(*(data["accuracy"]["test"][batch] for batch in _BATCHES))
    verdicts = decide(sharper, 1.0), decide(test, 0.0)
    accuracy = {part: [float(np.mean(data["accuracy"][part][batch])) for batch in _BATCHES] for part in _PARTS}
    invariant = decide(relative, 1.0)
    agrees = "agrees" if invariant == verdicts[0] else "says the opposite"
    if INCONCLUSIVE in (invariant, verdicts[0]):
        agrees = "leaves it open"
    ends = [float(np.mean([np.interp(end, data["alphas"], row) for row in data["line"]["train"]])) for end in (0, 1)]
    better = " The sharper end does better." if verdicts == (SUPPORTED, REFUTED) else ""
    barriers = [barrier(data["alphas"], losses) for losses in data["line"]["train"]]
    return Judgement(
        all_of(verdicts),
        sharper.value,
        sharper.interval,
        f"sharpness at batches of {data['sizes']['large']} over that at {data['sizes']['small']}, full space, ε = 1e-3",
        f"The sharpness of the large batch is {shown(sharper.value)} times that of the small one in full space at "
        f"ε = 1e-3, {shown(ratios[_HALF].value)} times at 5e-4 and {shown(ratios[_SUBSPACE].value)} times in a random "
        f"subspace (published: {_PUBLISHED[_FIRST][1] / _PUBLISHED[_FIRST][0]:.0f}, "
        f"{_PUBLISHED[_HALF][1] / _PUBLISHED[_HALF][0]:.0f}, {_PUBLISHED[_SUBSPACE][1] / _PUBLISHED[_SUBSPACE][0]:.0f})"
        f". Test accuracy is {accuracy['test'][0]:.2f} % with the small and {accuracy['test'][1]:.2f} % with the large "
        f"batch, {shown(test.low)} to {shown(test.high)} points apart (published: 98.03, 97.81), on training examples "
        f"{accuracy['train'][0]:.2f} and {accuracy['train'][1]:.2f} %.{better} The measure that rescaling of layers "
        f"does not move {agrees}: {shown(relative.value)} times ({shown(relative.low)} to {shown(relative.high)}). "
        f"The training losses of the ends are {shown(ends[0])} and {shown(ends[1])}, and curvature shrinks with the "
        f"loss. On the straight line between them the training loss rises by {shown(float(np.mean(barriers)))} above "
        "its ends.",
        {"ratios": ratios, "test_difference": test, "accuracy": accuracy, "barriers": mean(barriers)},
    )


def barrier(alphas: Sequence[float], losses: Sequence[float]) -> float:
    """How far the loss between two ends, at 0 and 1, rises above the straight line through them; 0 where it does not.

    >>> barrier([-0.5, 0.0, 0.5, 1.0], [9.0, 1.0, 4.0, 3.0])
    2.0
    """
    at, values = np.asarray(alphas), np.asarray(losses)
    inside = (at >= 0) & (at <= 1)
    ends = np.interp([0.0, 1.0], at, values)
    return float(np.max(values[inside] - np.interp(at[inside], [0.0, 1.0], ends)))


def draw(data: Data) -> Any:
    """Sharpness beside the published one, the measure without scale, and the line between the ends."""
    figure, (left, middle, right) = figures.new(3, width=14.0, gridspec_kw={"width_ratios": [1.5, 0.7, 1.3]})
    for kind, batch in enumerate(_BATCHES):
        label = f"batch of {data['sizes'][batch]:,}"
        for place, name in enumerate(_MEASURES):
            figures.seeds(left, 2 * place + 0.6 * kind, data["sharpness"][name][batch], kind, None if place else label)
            published = _PUBLISHED[name][kind]
            left.plot(
                2 * place + 0.6 * kind,
                published,
                "_",
                color="black",
                markersize=26,
                markeredgewidth=2.5,
                label="published" if place == kind == 0 else None,
            )
        figures.seeds(middle, 0.6 * kind, data["relative"][batch], kind)
    left.set_xticks([0.3, 2.3, 4.3], [name.replace(", ", "\n").replace("m s", "m\ns") for name in _MEASURES])
    left.set(
        yscale="log", xlim=(-0.5, 5.1), xlabel="where the highest loss is sought", ylabel="sharpness (% of 1 + loss)"
    )
    left.set_title("Keskar's measure")
    left.set_ylim(None, 30 * left.get_ylim()[1])
    left.legend(loc="upper right", title=f"{len(data['seeds'])} seeds, bar: mean")
    middle.set_xticks([0, 0.6], [f"{data['sizes'][batch]:,}" for batch in _BATCHES])
    middle.set(xlabel="batch size", ylabel="largest eigenvalue of |D|H|D|", xlim=(-0.5, 1.1))
    middle.set_ylim(0, 1.1 * max(max(data["relative"][batch]) for batch in _BATCHES))
    middle.set_title("rescaling-invariant")
    for kind, (part, label) in enumerate((("train", "training examples"), ("test", "test examples"))):
        figures.band(right, data["alphas"], data["line"][part], kind + 2, label)
    for place, batch in enumerate(_BATCHES):
        right.axvline(place, color="0.5", linewidth=1, zorder=0)
        right.text(place, 0.02, f" {batch}", transform=right.get_xaxis_transform(), fontsize=12)
    right.set(yscale="log", xlabel="α: small batch's end 0, large one's 1", ylabel="loss")
    right.set_title("on the straight line")
    low, high = right.get_ylim()
    right.set_ylim(low / (high / low) ** 0.1, high * (high / low) ** 0.25)
    right.legend(loc="upper center", fontsize=11, title="median and range")
    return figure
