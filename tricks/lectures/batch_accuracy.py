"""Training and validation accuracy against batch size, at equal epochs and at equal updates."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tricks.config import Config
from tricks.data import load
from tricks.lectures.common import figures, training
from tricks.lectures.common.experiment import INCONCLUSIVE, REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import Estimate, all_of, decide, difference, mean

_LOST, _EQUALLY_TRAINED = 1.0, 0.1
_PARTS = ("train", "validation")
_EQUAL = ("epochs", "updates")

CLAIM = Claim(
    title="With larger batches accuracy falls on the training examples too, so it is no overfitting",
    idea="The same network trained for the same epochs with larger batches gets worse on validation examples. It can "
    "represent the same functions, so it is no model bias; if it gets worse on the examples that it was trained on as "
    "well, it is no overfitting either, and optimization is what fails.",
    lecture="Batch: the figure of training and validation accuracy against batch size, on MNIST and CIFAR-10.",
    rule="At equal epochs, from the smallest batch to the whole set, with one rate for all: training and validation "
    f"accuracy both fall by more than {_LOST:g} point, and the fall on training examples is more than half of that on "
    "validation examples. Supported if the intervals of 95 % over seeds say so of all three; refuted if one says the "
    "opposite. What is left at equal updates is reported beside it.",
    source="Figure of the lecture; Keskar et al., arXiv 1609.04836.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains at each size as many epochs, and as many updates; accuracies are those of the last weights."""
    seeds = list(range(effort.pick(5, 2)))
    shares = {"validation_fraction": effort.of_images(0.05, 0.1), "train_fraction": effort.of_images(0.1, 1.0)}
    count = len(load(effort.images, **shares).train.targets)
    sizes = [*effort.of_images((16, 64, 256, 1024), (32, 256)), count]
    steps = [count // size for size in sizes]
    updates = effort.pick(2, 1) * steps[0]
    epochs = {"epochs": [effort.pick(20, 2)] * len(sizes), "updates": [round(updates / number) for number in steps]}
    common = {
        "data.name": effort.images,
        **{f"data.{name}": share for name, share in shares.items()},
        # The moving averages of batch normalization would need more updates than a large batch gets.
        "model.batch_norm": False,
        "model.hidden_sizes": effort.pick((64, 64), (16,)),
    }
    runs: dict[tuple[int, int], list[Config]] = {}
    for size, lengths in zip(sizes, zip(*epochs.values(), strict=True), strict=True):
        for length in lengths:
            changes = {**common, "data.batch_size": size, "train.epochs": length}
            runs[size, length] = training.configured(Config(), changes, seeds)
    # The last weights are tested: on the training examples, which stand in the place of the test part.
    results = iter(
        training.train_all(
            [config for configs in runs.values() for config in configs],
            note,
            seen=lambda data: data._replace(test=data.train),
        )
    )
    ends = {place: [next(results) for _ in configs] for place, configs in runs.items()}
    accuracy: dict[str, Any] = {}
    for name in _EQUAL:
        chosen = [ends[place] for place in zip(sizes, epochs[name], strict=True)]
        accuracy[name] = {
            "train": [[100 * one["last_test_accuracy"] for one in of_size] for of_size in chosen],
            "validation": [[100 * one["validation_accuracy"][-1] for one in of_size] for of_size in chosen],
        }
    return {
        "seeds": seeds,
        "examples": f"{count} of {effort.images}",
        "sizes": sizes,
        "epochs": epochs["epochs"][0],
        "updates": updates,
        "updates_at_equal_epochs": [epochs["epochs"][0] * number for number in steps],
        "epochs_at_equal_updates": epochs["updates"],
        "accuracy": accuracy,
    }


def judge(data: Data) -> Judgement:
    """Falls of accuracy from the smallest batch to the largest, with the seed in common."""
    falls = {name: {part: difference(*_judge_ends(data, name, part)) for part in _PARTS} for name in _EQUAL}
    train, validation = (falls["epochs"][part] for part in _PARTS)
    surplus = mean(
        (
            np.subtract(*_judge_ends(data, "epochs", "train"))
            - np.subtract(*_judge_ends(data, "epochs", "validation")) / 2
        ).tolist()
    )
    verdicts = decide(train, _LOST), decide(validation, _LOST), decide(surplus, 0.0)
    smallest, largest = data["sizes"][0], data["sizes"][-1]
    if verdicts[0] == verdicts[1] == SUPPORTED:
        whats = {SUPPORTED: "optimization fails", REFUTED: "training shows too little of it to be the cause"}
        what = whats.get(verdicts[2], "whether training shows enough of it is open")
    elif INCONCLUSIVE in verdicts[:2]:
        what = "how much of it falls is open"
    else:
        what = "it falls on validation examples alone" if verdicts[1] == SUPPORTED else "no fall of that kind"
    left = falls["updates"]
    better = "no worse" if left["train"].value <= 0 else "still worse"
    return Judgement(
        all_of(verdicts),
        train.value,
        train.interval,
        f"training accuracy at a batch of {smallest} less that at {largest}, at equal epochs, in points",
        f"From a batch of {smallest} to {largest}, in {data['epochs']} epochs, which are "
        f"{data['updates_at_equal_epochs'][0]} and {data['updates_at_equal_epochs'][-1]} updates, training accuracy "
        f"{_judge_change(train)} points and validation accuracy {_judge_change(validation)}: {what}. In "
        f"{data['updates']} updates each, training accuracy {_judge_change(left['train'])} points and validation "
        f"accuracy {_judge_change(left['validation'])}: update for update the large batch is {better} in training."
        f"{_judge_where_equal(data)}",
        {"falls": falls, "surplus_of_training": surplus},
    )


def _judge_ends(data: Data, name: str, part: str) -> tuple[list[float], list[float]]:
    values = data["accuracy"][name][part]
    return values[0], values[-1]


def _judge_where_equal(data: Data) -> str:
    """What optimization does not explain: validation, where training accuracy is the same."""
    train, validation = (data["accuracy"]["epochs"][part] for part in _PARTS)
    same = [at for at, values in enumerate(train) if abs(difference(train[0], values).value) <= _EQUALLY_TRAINED]
    if len(same) < 2:
        return ""
    change = _judge_change(difference(validation[0], validation[same[-1]]))
    return (
        f" From {data['sizes'][0]} to {data['sizes'][same[-1]]} training accuracy is the same within "
        f"{_EQUALLY_TRAINED:g} points and validation accuracy {change}."
    )


def _judge_change(fall: Estimate) -> str:
    if fall.value > 0:
        return f"falls by {shown(fall.value)} ({shown(fall.low)} to {shown(fall.high)})"
    return f"rises by {shown(-fall.value)} ({shown(-fall.high)} to {shown(-fall.low)})"


def draw(data: Data) -> Any:
    """Accuracy against batch size, at equal epochs and at equal updates."""
    figure, panels = figures.new(2, sharey=True)
    titles = f"after {data['epochs']} epochs each", f"after {data['updates']} updates each"
    for axis, name, title in zip(panels, _EQUAL, titles, strict=True):
        for kind, part in enumerate(_PARTS):
            values = data["accuracy"][name][part]
            places = np.arange(len(values)) + 0.44 * kind - 0.22
            axis.plot(
                places,
                [np.mean(one) for one in values],
                color=figures.COLOURS[kind],
                linestyle=figures.LINES[kind],
                linewidth=1.2,
            )
            for place, one in zip(places, values, strict=True):
                figures.seeds(axis, place, one, kind, part if one is values[0] else None)
        axis.set_xticks(range(len(data["sizes"])), [str(size) for size in data["sizes"]])
        axis.set(xlabel="batch size (the last: all examples)", title=title)
        axis.tick_params(labelleft=True)
    panels[0].set_ylabel("accuracy (%)")
    panels[0].legend(loc="lower left", title=f"{len(data['seeds'])} seeds, bar: mean")
    return figure
