"""Gradient descent needs features of equal scales: what it gains in speed, and in rates that may be used."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tricks.config import Config
from tricks.data import Dataset, Split
from tricks.lectures.common import figures, starts, statistics, training
from tricks.lectures.common.experiment import INCONCLUSIVE, Claim, Data, Effort, Judgement, Second
from tricks.training.sweeps.settings import with_setting

_FASTER, _SPACING, _SPREAD = 2.0, 0.5, 2.0
# Between two rates of the grid, where the rates that work begin and end.
_FINER = 8
_CANCER, _IMAGES = "breast_cancer", "images"
_LEVELS = {_CANCER: 0.1, _IMAGES: 0.2}
_LOWEST = {_CANCER: -7.0, _IMAGES: -5.0}
_HIGHEST = 0.5
_KINDS = _NORMALIZED, _UNEQUAL = "equal scales", "unequal scales"

CLAIM = Claim(
    title="With features of equal scales gradient descent is faster, and more learning rates work",
    idea="Where one feature is in thousands and another in thousandths, the loss is steep along the weights of the one "
    "and flat along those of the other, and no rate suits both. Features of mean 0 and deviation 1 make the surface "
    "round.",
    lecture="Batch normalization: its beginning, on changing the landscape by feature normalization.",
    rule=f"Networks of one hidden layer by plain gradient descent: on breast_cancer in its own units against the same "
    f"normalized, and on normalized images against the same with each feature multiplied by 10 to a power between "
    f"{-_SPREAD:g} and {_SPREAD:g}, drawn by the seed. Counted are the epochs until the mean training loss of one is "
    f"at most {_LEVELS[_CANCER]:g} (breast_cancer) or {_LEVELS[_IMAGES]:g} (images), at the best of rates in half "
    f"decades, where never counts as all epochs; and the decades of rates whose last epoch is as good. Supported if on "
    f"both the scales cost more than {_FASTER:g} times the epochs, and some of the decades; refuted if one of these is "
    "not so; a set on which nothing arrives says nothing.",
    source="LeCun, Bottou, Orr and Müller 1998, section 4.3.",
    second_rule="Half decades are too coarse to count what is gained. The same, where the rates that work reach from "
    f"the smallest to the largest of a grid of {_SPACING / _FINER:g} decades around the ends of the first, and where "
    f"the interval of the decades that are gained is widened by {2 * _SPACING / _FINER:g}, which the ends may be off.",
)


def badly_scaled(data: Dataset, seed: int) -> Dataset:
    """Multiplies every feature by 10^u, u uniform from -2 to 2, in all parts alike."""
    shape = data.train.features.shape[1:]
    factors = (10 ** np.random.default_rng(seed).uniform(-_SPREAD, _SPREAD, shape)).astype(np.float32)

    def part(split: Split) -> Split:
        return split._replace(features=split.features * factors[None])

    return data._replace(train=part(data.train), validation=part(data.validation), test=part(data.test))


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains at every rate, with equal and unequal scales."""
    seeds = list(effort.pick(range(5), range(2)))
    epochs, spacing = effort.pick(40, 10), effort.pick(_SPACING, 4 * _SPACING)
    base = with_setting(
        Config(),
        {
            "model.hidden_sizes": (64,),
            "model.batch_norm": False,
            "optimizer.name": "momentum",
            "optimizer.momentum": 0.0,
            "train.epochs": epochs,
        },
    )
    images = {"data.name": effort.images, "data.train_fraction": 0.02 if effort.images == "mnist" else 0.5}
    found: dict[str, Any] = {}
    for name, changes in ((_CANCER, {"data.name": _CANCER}), (_IMAGES, images)):
        rates = (10 ** np.arange(_LOWEST[name], _HIGHEST + spacing / 2, spacing)).tolist()
        common = with_setting(base, changes)
        runs = {}
        for kind in _KINDS:
            note(f"{name}, {kind}")
            runs[kind] = _trained(common, name, kind, seeds, [rates] * len(seeds), note)
        found[name] = {"rates": rates, "level": _LEVELS[name], **_summary(runs, _LEVELS[name]), "finer": {}}
        for kind in _KINDS:
            note(f"{name}, {kind}: where the rates end")
            between = [_between(rates, row, _LEVELS[name], spacing) for row in found[name]["last"][kind]]
            finer = _trained(common, name, kind, seeds, between, note)
            rows = zip(between, finer, strict=True)
            found[name]["finer"][kind] = [list(zip(row, map(_last, of), strict=True)) for row, of in rows]
    return {
        "seeds": seeds,
        "examples": f"breast_cancer, and a part of {effort.images}",
        "epochs": epochs,
        "spacing": spacing,
        "sets": found,
    }


def _trained(
    base: Config, name: str, kind: str, seeds: Sequence[int], rates: Sequence[Sequence[float]], note: Any
) -> list[list[dict[str, Any]]]:
    """Of each seed the runs with its rates."""
    if name == _CANCER and kind == _UNEQUAL:
        base = with_setting(base, {"data.normalization": "none"})
    lanes = [
        [with_setting(base, {"optimizer.learning_rate": rate, "seed": seed}) for rate in of_seed]
        for seed, of_seed in zip(seeds, rates, strict=True)
    ]
    if name == _IMAGES and kind == _UNEQUAL:
        return [
            training.train_all(each, note, seen=functools.partial(badly_scaled, seed=seed)) if each else []
            for seed, each in zip(seeds, lanes, strict=True)
        ]
    every = [config for each in lanes for config in each]
    done = iter(training.train_all(every, note) if every else [])
    return [[next(done) for _ in each] for each in lanes]


def _between(rates: Sequence[float], last: Sequence[float | None], level: float, spacing: float) -> list[float]:
    """Rates of the finer grid below the smallest that works, and above the largest."""
    works = [place for place, loss in enumerate(last) if loss is not None and loss <= level]
    if not works:
        return []
    parts = np.arange(1, _FINER) * spacing / _FINER
    below = (rates[works[0]] / 10**parts).tolist() if works[0] > 0 else []
    above = (rates[works[-1]] * 10**parts).tolist() if works[-1] + 1 < len(rates) else []
    return [*below, *above]


def _summary(runs: dict[str, list[list[dict[str, Any]]]], level: float) -> dict[str, Any]:
    """By kind, seed and rate: the first epoch at the level, the loss of the last, and the accuracy at the test."""

    def by_seed(value: Callable[[dict[str, Any]], float | None]) -> dict[str, list[list[float | None]]]:
        return {kind: [[value(run) for run in row] for row in rows] for kind, rows in runs.items()}

    return {
        "first": by_seed(lambda run: starts.updates_to(_curve(run), level, 1)),
        "last": by_seed(_last),
        "accuracy": by_seed(lambda run: run.get("test_accuracy")),
    }


def _last(run: dict[str, Any]) -> float | None:
    value = _curve(run)[-1]
    return value if np.isfinite(value) else None


def _curve(run: dict[str, Any]) -> list[float]:
    """The mean training loss of each epoch; of a run that diverged what is above every level."""
    losses = [np.inf if loss is None else loss for loss in run.get("train_loss", [])]
    return losses if run["status"] == "completed" else [*losses, np.inf]


def _judge_epochs(data: Data, name: str, kind: str) -> list[int]:
    """Of each seed at its best rate; all epochs where no rate is good."""
    rows = data["sets"][name]["first"][kind]
    return [min((first for first in row if first is not None), default=data["epochs"]) for row in rows]


def _judge_rates(data: Data, name: str, kind: str) -> list[list[float]]:
    """Those that work, of each seed."""
    of = data["sets"][name]
    rows = [zip(of["rates"], row, strict=True) for row in of["last"][kind]]
    return [[rate for rate, last in row if last is not None and last <= of["level"]] for row in rows]


def _judge_words(data: Data, name: str, kind: str) -> str:
    """The rates that work, and the accuracy at the best."""
    rates = [rate for row in _judge_rates(data, name, kind) for rate in row]
    rows = data["sets"][name]["accuracy"][kind]
    accuracies = [max((value for value in row if value is not None), default=0.0) for row in rows]
    works = f"rates from {min(rates):.1g} to {max(rates):.1g} work" if rates else "no rate works"
    return f"with {kind} {works}, and the best test accuracy is {np.mean(accuracies):.1%}"


def _judge_reach(data: Data, name: str, kind: str) -> list[float]:
    """Of each seed the decades from the smallest to the largest rate that works, on the finer grid; 0 where none does.

    One rate alone counts as a step of that grid.
    """
    of, found = data["sets"][name], []
    for coarse, row in zip(_judge_rates(data, name, kind), of["finer"][kind], strict=True):
        works = coarse + [rate for rate, last in row if last is not None and last <= of["level"]]
        step = data["spacing"] / _FINER
        found.append(float(np.log10(max(works) / min(works)) + step) if works else 0.0)
    return found


def _judge_second(data: Data, of_epochs: list[str]) -> Second:
    """The verdicts on the epochs are those of the first rule."""
    off, verdicts, gained = 2 * data["spacing"] / _FINER, [], {}
    for name, of_epoch in zip((_CANCER, _IMAGES), of_epochs, strict=True):
        one = statistics.difference(*(_judge_reach(data, name, kind) for kind in _KINDS))
        gained[name] = statistics.Estimate(one.value, one.low - off, one.high + off)
        # Of a set on which nothing arrives nothing is said.
        of_rates = INCONCLUSIVE if _judge_nothing(data, name) else statistics.decide(gained[name], 0.0)
        verdicts += [of_epoch, of_rates]
    return Second(
        statistics.all_of(verdicts),
        gained[_IMAGES].value,
        gained[_IMAGES].interval,
        f"decades of rates that work on {_IMAGES}, with equal scales less with unequal ones "
        f"(on {_CANCER}: {gained[_CANCER].value:.2g})",
    )


def _judge_nothing(data: Data, name: str) -> bool:
    return all(first is None for rows in data["sets"][name]["first"].values() for row in rows for first in row)


def judge(data: Data) -> Judgement:
    """Compares epochs at the best rate, and decades of rates, on both sets."""
    said, ratios, of_epochs, of_rates = [], {}, [], []
    details: dict[str, Any] = {}
    kinds = (_UNEQUAL, _NORMALIZED)
    for name in (_CANCER, _IMAGES):
        epochs = [_judge_epochs(data, name, kind) for kind in kinds]
        decades = [[data["spacing"] * len(row) for row in _judge_rates(data, name, kind)] for kind in kinds]
        ratios[name] = statistics.ratio(*epochs)
        gained = statistics.difference(decades[1], decades[0])
        nothing = _judge_nothing(data, name)
        of_epochs.append(INCONCLUSIVE if nothing else statistics.decide(ratios[name], _FASTER))
        of_rates.append(INCONCLUSIVE if nothing else statistics.decide(gained, 0.0))
        never = sum(all(first is None for first in row) for row in data["sets"][name]["first"][_UNEQUAL])
        said.append(
            f"On {name} the unequal scales cost {ratios[name].value:.3g} times the epochs"
            f"{f' or more ({never} of {len(epochs[0])} seeds never arrive)' if never else ''}, and "
            f"{np.mean(decades[0]):.2g} decades of rates work against {np.mean(decades[1]):.2g} with equal ones: "
            f"{'; '.join(_judge_words(data, name, kind) for kind in kinds)}."
        )
        details |= {f"{name}_epochs": epochs, f"{name}_decades": decades, f"{name}_gained": list(gained)}
    return Judgement(
        statistics.all_of([*of_epochs, *of_rates]),
        ratios[_IMAGES].value,
        ratios[_IMAGES].interval,
        "epochs to the level at the best rate on images, unequal scales over equal ones",
        " ".join(said),
        details,
        _judge_second(data, of_epochs),
    )


def draw(data: Data) -> Any:
    """Epochs to the level against the rate, on both sets."""
    figure, axes = figures.new(2, sharey=True)
    epochs = data["epochs"]
    for axis, name in zip(axes, (_CANCER, _IMAGES), strict=True):
        of = data["sets"][name]
        for kind, label in enumerate((_NORMALIZED, _UNEQUAL)):
            values = [[2 * epochs if first is None else first for first in row] for row in of["first"][label]]
            places = np.multiply(of["rates"], 0.93 if kind else 1.07)
            for row in values:
                axis.plot(
                    places, row, figures.MARKERS[kind], color=figures.COLOURS[kind], markerfacecolor="none", alpha=0.7
                )
            looks = {"color": figures.COLOURS[kind], "marker": figures.MARKERS[kind], "linestyle": figures.LINES[kind]}
            axis.plot(places, np.median(values, 0), markersize=4, label=f"{label}: median, seeds as points", **looks)
        axis.axhspan(1.6 * epochs, 2.5 * epochs, color="grey", alpha=0.15)
        axis.set(xscale="log", yscale="log", xlabel="learning rate", ylim=(0.8, 2.5 * epochs))
        axis.set_title(f"{name}: training loss ≤ {of['level']:g}")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= epochs]
    axes[0].set_yticks([*ticks, 2 * epochs], [*map(str, ticks), "never"])
    axes[0].set_yticks([], minor=True)
    axes[0].set_ylabel("epochs to the level")
    axes[0].legend(loc="lower left", fontsize=11)
    return figure
