"""Keskar's network F1: where small and large batches end, how sharp it is there, and what lies between."""

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from tricks.config import Config
from tricks.lectures.common import ends, figures, training
from tricks.lectures.common.experiment import INCONCLUSIVE, REFUTED, SUPPORTED, Claim, Data, Effort, Judgement, Second
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import Estimate, all_of, decide, difference, mean, ratio
from tricks.training.setup import Setup
from tricks.training.state import Weights, weights

_FULL, _FULL_HALF = "full space, ε = 1e-3", "full space, ε = 5e-4"
_SUBSPACE, _SUBSPACE_HALF = "random subspace, ε = 1e-3", "random subspace, ε = 5e-4"
_MEASURES = {_FULL: (1e-3, None), _FULL_HALF: (5e-4, None), _SUBSPACE: (1e-3, 100), _SUBSPACE_HALF: (5e-4, 100)}
# With small and large batches.
_PUBLISHED = {
    _FULL: (1.23, 205.14),
    _FULL_HALF: (0.61, 42.90),
    _SUBSPACE: (0.11, 9.22),
    _SUBSPACE_HALF: (0.05, 9.17),
}
_PARTS = ("train", "test")
_BATCHES = ("small", "large")
# The large batch where its training loss has come down to that of the small one's end.
_EARLIER = "earlier"
_RELATIVE = "relative"
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
    second_rule="At one training loss: as the first rule, but with the weights of the large batch at the end of the "
    "first epoch at which its loss over all training examples (running statistics) is at or below that of the small "
    "batch's end; its last weights where it never is. Supported if the intervals of 95 % say so of both, the ratio of "
    "sharpness above 1 and the higher test accuracy of the small batch; refuted if one says the opposite; inconclusive "
    "if a pair never comes down so far.",
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
        "losses": {batch: [] for batch in (*_BATCHES, _EARLIER)},
        "earlier": {name: [] for name in ("epoch", "accuracy", "sharpness", "relative")},
    }
    for seed in seeds:
        setup, kept = _pair(seed, sizes, epochs, effort, note)
        note(f"seed {seed}: losses")
        of_train, of_test = (ends.over(setup.static, split) for split in (setup.data.train, setup.data.test))
        points = {batch: kept[batch][-1] for batch in _BATCHES}
        reached = {batch: of_train(end) for batch, end in points.items()}
        for batch, end in points.items():
            found["accuracy"]["train"][batch].append(100 * reached[batch]["accuracy"])
            found["accuracy"]["test"][batch].append(100 * of_test(end)["accuracy"])
        epoch, points[_EARLIER], reached[_EARLIER] = ends.first_at(kept["large"], reached["small"]["loss"], of_train)
        for point, measures in reached.items():
            found["losses"][point].append(measures["loss"])
        earlier = {"epoch": epoch, "accuracy": 100 * of_test(points[_EARLIER])["accuracy"]}
        note(f"seed {seed}: sharpness")
        measured = _measured(setup, points, seed, effort)
        earlier |= {"sharpness": measured[_EARLIER, _FULL], "relative": measured[_EARLIER, _RELATIVE]}
        for name, value in earlier.items():
            found["earlier"][name].append(value)
        for batch in _BATCHES:
            found["relative"][batch].append(measured[batch, _RELATIVE])
            for name in _MEASURES:
                found["sharpness"][name][batch].append(measured[batch, name])
        samples = ends.samples(setup.data, effort.of_images(2000, 200), seed)
        for part, values in zip(_PARTS, ends.line(setup, list(points.values())[:2], samples, _ALPHAS), strict=True):
            found["line"][part].append(values)
    return {"seeds": seeds, "examples": effort.images, "sizes": sizes, "epochs": epochs, "alphas": _ALPHAS, **found}


def _pair(
    seed: int, sizes: dict[str, int], epochs: dict[str, int], effort: Effort, note: Callable[[str], None]
) -> tuple[Setup, dict[str, list[Weights]]]:
    """What was trained with, and for each batch the weights after each epoch; `sizes` gets that of the large one."""
    kept: dict[str, list[Weights]] = {}
    for batch in _BATCHES:
        note(f"seed {seed}: training, {batch} batch")
        changes = {
            "data.name": effort.images,
            "data.batch_size": sizes[batch],
            "data.validation_fraction": effort.of_images(1 / 60, 0.1),
            # F1 has 512; on the digits the search for the highest loss then takes as long as on MNIST.
            "model.hidden_sizes": effort.pick(effort.of_images((512,) * 5, (128,) * 5), (16, 16)),
            "train.epochs": epochs[batch],
        }
        setup, kept[batch] = _train(training.configured(Config(), changes, [seed])[0])
        tenth = len(setup.data.train.targets) // 10
        sizes["large"] = tenth - tenth % jax.device_count()
    return setup, kept


def _train(config: Config) -> tuple[Setup, list[Weights]]:
    """What was trained with, and the weights after each epoch."""
    kept: list[Weights] = []

    def keep(step: int, state: Any) -> None:
        if step:
            # Copies: the next steps write where these arrays lie.
            kept.append(jax.tree.map(np.array, weights(state)))

    trained = training.train_one(config, keep)
    # Of a run that diverges in its first epoch there are none.
    return trained.setup, kept or [jax.device_get(weights(trained.state.train))]


def _measured(setup: Setup, points: dict[str, Weights], seed: int, effort: Effort) -> dict[tuple[str, str], float]:
    """For points and measures: the sharpness of each end by each measure, and what is compared at one loss."""
    sample, _ = ends.samples(setup.data, effort.of_images(2000, 200), seed)
    fewer = jax.tree.map(lambda a: a[: effort.of_images(1000, 100)], sample)
    jobs: dict[tuple[str, str], Callable[[Any], float]] = {}
    for point, end in points.items():
        for name in (_FULL,) if point == _EARLIER else _MEASURES:
            jobs[point, name] = functools.partial(ends.sharpness, setup.static, sample, seed, end, *_MEASURES[name])
        jobs[point, _RELATIVE] = functools.partial(ends.relative, setup.static, fewer, seed, end)
    # Much of it keeps one core busy, so two go on at once; what is quick takes longer to compile for two devices.
    devices = jax.devices()[: effort.pick(2, 1)]
    with ThreadPoolExecutor(len(devices)) as threads:
        values = threads.map(lambda job, device: job(device), jobs.values(), itertools.cycle(devices))
        return dict(zip(jobs, values, strict=True))


def judge(data: Data) -> Judgement:
    """Ratios of sharpness and differences of accuracy within pairs."""
    ratios = {
        name: ratio(values["large"], values["small"])
        for name, values in (*data["sharpness"].items(), (_RELATIVE, data["relative"]))
    }
    sharper, relative = ratios[_FULL], ratios[_RELATIVE]
    test = difference(*(data["accuracy"]["test"][batch] for batch in _BATCHES))
    verdicts = decide(sharper, 1.0), decide(test, 0.0)
    accuracy = {part: [float(np.mean(data["accuracy"][part][batch])) for batch in _BATCHES] for part in _PARTS}
    better = " The sharper end does better." if verdicts == (SUPPORTED, REFUTED) else ""
    barriers = mean([ends.barrier(data["alphas"], losses) for losses in data["line"]["train"]])
    low, high = (float(np.mean(data["losses"][batch])) for batch in _BATCHES)
    second, told, details = _judge_at_one_loss(data)
    times = [shown(ratios[name].value) for name in _MEASURES]
    published = ", ".join(f"{large / small:.0f}" for small, large in _PUBLISHED.values())
    right = "{:.2f} % with the small and {:.2f} % with the large batch"
    effect = f"sharpness at batches of {data['sizes']['large']} over that at {data['sizes']['small']}"
    return Judgement(
        all_of(verdicts),
        sharper.value,
        sharper.interval,
        f"{effect}, full space, ε = 1e-3",
        f"The sharpness of the large batch is {times[0]} times that of the small one in full space at ε = 1e-3, "
        f"{times[1]} times at 5e-4, {times[2]} times in a random subspace at 1e-3 and {times[3]} times there at 5e-4 "
        f"(published: {published}). Test accuracy is {right.format(*accuracy['test'])}, {shown(test.low)} to "
        f"{shown(test.high)} points apart (published: 98.03, 97.81), on training examples "
        f"{accuracy['train'][0]:.2f} and {accuracy['train'][1]:.2f} %.{better} The measure that rescaling of layers "
        f"does not move {_judge_agreement(relative, sharper)}: {shown(relative.value)} times ({shown(relative.low)} to "
        f"{shown(relative.high)}). The training losses of the ends are {shown(low)} and {shown(high)}, and curvature "
        f"shrinks with the loss. {told} On the straight line between the ends the training loss rises by "
        f"{shown(barriers.value)} above them.",
        {"ratios": ratios, "test_difference": test, "accuracy": accuracy, "barriers": barriers, **details},
        second._replace(effect=f"{effect}, at one training loss, full space, ε = 1e-3"),
    )


def _judge_at_one_loss(data: Data) -> tuple[Second, str, dict[str, Any]]:
    """The second rule: the large batch where it has come down to the loss of the small one's end."""
    earlier, small = data["earlier"], data["losses"]["small"]
    sharper = ratio(earlier["sharpness"], data["sharpness"][_FULL]["small"])
    relative = ratio(earlier["relative"], data["relative"]["small"])
    test = difference(data["accuracy"]["test"]["small"], earlier["accuracy"])
    missed = sum(one > level for one, level in zip(data["losses"][_EARLIER], small, strict=True))
    verdict = INCONCLUSIVE if missed else all_of((decide(sharper, 1.0), decide(test, 0.0)))
    lacking = f" In {missed} of {len(small)} pairs it never comes down so far, and its last weights count." * bool(
        missed
    )
    told = (
        f"Compared {'as near to' if missed else 'at'} one training loss{' as it comes' if missed else ''}, "
        f"{shown(float(np.mean(small)))} and "
        f"{shown(float(np.mean(data['losses'][_EARLIER])))}, where the large batch is after "
        f"{shown(float(np.mean(earlier['epoch'])))} epochs, it is {shown(sharper.value)} times as sharp "
        f"({shown(sharper.low)} to {shown(sharper.high)}), and the test accuracy of the small batch less that of the "
        f"large one is {shown(test.value)} points ({shown(test.low)} to {shown(test.high)}); there the measure that "
        "rescaling does not move "
        f"{_judge_agreement(relative, sharper)}: {shown(relative.value)} times ({shown(relative.low)} to "
        f"{shown(relative.high)}).{lacking}"
    )
    details = {"at_one_loss": {"sharpness": sharper, "test_difference": test, "relative": relative, "missed": missed}}
    return Second(verdict, sharper.value, sharper.interval, ""), told, details


def _judge_agreement(relative: Estimate, sharper: Estimate) -> str:
    verdicts = decide(relative, 1.0), decide(sharper, 1.0)
    if INCONCLUSIVE in verdicts:
        return "leaves it open"
    return "agrees" if verdicts[0] == verdicts[1] else "says the opposite"


def draw(data: Data) -> Any:
    """Sharpness beside the published one, the measure without scale, and the line between the ends."""
    figure, (left, middle, right) = figures.new(3, width=14.5, gridspec_kw={"width_ratios": [1.75, 0.85, 1.2]})
    sizes = [f"{data['sizes'][batch]:,}" for batch in _BATCHES]
    for kind, batch in enumerate(_BATCHES):
        for place, name in enumerate(_MEASURES):
            label = None if place else f"batch of {sizes[kind]}"
            figures.seeds(left, 2 * place + 0.6 * kind, data["sharpness"][name][batch], kind, label)
        figures.seeds(middle, 0.6 * kind, data["relative"][batch], kind)
    figures.seeds(left, 1.2, data["earlier"]["sharpness"], 4, f"{sizes[1]}, at the loss of {sizes[0]}")
    figures.seeds(middle, 1.2, data["earlier"]["relative"], 4)
    places = [2 * place + 0.6 * kind for place in range(len(_MEASURES)) for kind in range(len(_BATCHES))]
    published = [value for name in _MEASURES for value in _PUBLISHED[name]]
    left.plot(places, published, "_", color="black", markersize=26, markeredgewidth=2.5, label="published")
    names = [name.replace(", ", "\n").replace("m s", "m\ns") for name in _MEASURES]
    left.set_xticks([0.6, 2.3, 4.3, 6.3], names)
    left.set(
        yscale="log", xlim=(-0.5, 7.1), xlabel="where the highest loss is sought", ylabel="sharpness (% of 1 + loss)"
    )
    left.set_title("Keskar's measure")
    left.set_ylim(None, 30 * left.get_ylim()[1])
    left.legend(loc="upper right", title=f"{len(data['seeds'])} seeds, bar: mean")
    middle.set_xticks([0, 0.6, 1.2], [*sizes, f"{sizes[1]}\nearlier"])
    middle.set(xlabel="batch size", ylabel="largest eigenvalue of |D|H|D|", xlim=(-0.4, 1.6))
    middle.set_ylim(0, 1.1 * max(map(max, (*data["relative"].values(), data["earlier"]["relative"]))))
    middle.set_title("rescaling-invariant")
    for kind, (part, label) in enumerate((("train", "training examples"), ("test", "test examples"))):
        figures.band(right, data["alphas"], data["line"][part], kind + 2, label)
    for place, batch in enumerate(_BATCHES):
        right.axvline(place, color="0.5", linewidth=1, zorder=0)
        right.text(place, 0.02, f" {batch}", transform=right.get_xaxis_transform(), fontsize=12)
    right.set(yscale="log", xlabel="α: 0 small batch's end, 1 large", ylabel="loss")
    right.set_title("on the straight line")
    low, high = right.get_ylim()
    right.set_ylim(low / (high / low) ** 0.1, high * (high / low) ** 0.25)
    right.legend(loc="upper center", fontsize=11, title="median and range")
    return figure
