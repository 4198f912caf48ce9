"""Early stopping: where validation turns, what stopping there saves, and what it costs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tricks.config import Config
from tricks.data import Dataset, take
from tricks.lectures.common import figures, statistics, training
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.training.sweeps.settings import with_setting

_PATIENCES = (1, 2, 4, 8, 16)
_JUDGED, _EPOCHS, _VALIDATION = 4, 40, 500
_RIGHT, _WRONG = "right labels", "a fifth wrong"
_NOISES = {_RIGHT: 0.0, _WRONG: 0.2}
_LOWER, _ACCURACY, _SHARE = 1.1, -0.01, 0.5

CLAIM = Claim(
    title="Once validation has turned, training on makes the test loss worse; stopping saves epochs and loses nothing",
    idea="A flexible network goes on lowering its training loss by what is true of its training examples alone. The "
    "loss on held-out examples turns and rises. So training stops when it has not improved for some epochs (the "
    "patience), and the weights of its least are kept.",
    lecture="What to do when training fails: overfitting, early stopping among its remedies.",
    rule=f"Few training examples, with right labels and with a fifth of them wrong, and {_VALIDATION} for validation; "
    f"runs of {_EPOCHS} epochs of Adam. Supported if, on both, stopping after {_JUDGED} epochs without a lower "
    f"validation loss takes less than {_SHARE:g} of the epochs, the test loss at the end of all of them is more than "
    f"{_LOWER:g} times that of the weights kept, and their test accuracy is lower by less than {-_ACCURACY:g}. Refuted "
    "if one of these is not so.",
    source="Prechelt 1998, Early stopping – but when?",
)


def few_for_validation(data: Dataset) -> Dataset:
    """As many as go with few examples to train on."""
    return data._replace(validation=take(data.validation, np.arange(min(_VALIDATION, len(data.validation.targets)))))


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains to the end, and with each patience."""
    seeds = list(effort.pick(range(5), range(2)))
    base = with_setting(
        Config(),
        {
            "data.name": effort.images,
            "data.train_fraction": 0.04 if effort.images == "mnist" else 0.3,
            "model.batch_norm": False,
            "train.epochs": effort.pick(_EPOCHS, 12),
        },
    )
    cells = [(noise, patience) for noise in _NOISES.values() for patience in (0, *_PATIENCES)]
    lanes = [
        config
        for noise, patience in cells
        for config in training.configured(base, {"data.label_noise": noise, "early_stopping.patience": patience}, seeds)
    ]
    runs = training.train_all(lanes, note, seen=few_for_validation)
    of = {cell: runs[i * len(seeds) : (i + 1) * len(seeds)] for i, cell in enumerate(cells)}
    return {
        "seeds": seeds,
        "examples": f"{base.data.train_fraction:.0%} of {effort.images}",
        "epochs": base.train.epochs,
        "patiences": list(_PATIENCES),
        "settings": {name: _summary({p: of[noise, p] for p in (0, *_PATIENCES)}) for name, noise in _NOISES.items()},
    }


def _summary(runs: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    whole = runs[0]
    found: dict[str, Any] = {
        "train": [run["train_loss"] for run in whole],
        "validation": [run["validation_loss"] for run in whole],
        "last_loss": [run["last_test_loss"] for run in whole],
        "last_accuracy": [run["last_test_accuracy"] for run in whole],
        "best_loss": [run["test_loss"] for run in whole],
    }
    stopped = [runs[patience] for patience in _PATIENCES]
    found["epochs"] = [[run["epochs"][-1] for run in of] for of in stopped]
    found["loss"] = [[run["test_loss"] for run in of] for of in stopped]
    found["accuracy"] = [[run["test_accuracy"] for run in of] for of in stopped]
    return found


def judge(data: Data) -> Judgement:
    """Compares what is stopped, at the patience of the rule, with the last weights of the whole run."""
    place = data["patiences"].index(_JUDGED)
    verdicts, said, details, ratios = [], [], {}, {}
    for name in _NOISES:
        of = data["settings"][name]
        ratios[name] = statistics.ratio(of["last_loss"], of["loss"][place])
        gained = statistics.difference(of["accuracy"][place], of["last_accuracy"])
        share = statistics.mean(np.divide(of["epochs"][place], data["epochs"]).tolist())
        missed = statistics.ratio(of["loss"][place], of["best_loss"])
        turns = [int(np.argmin(curve)) for curve in of["validation"]]
        verdicts += [
            statistics.decide(ratios[name], _LOWER),
            statistics.decide(gained, _ACCURACY),
            statistics.decide(share, _SHARE, above=False),
        ]
        said.append(
            f"With {name} validation is best at epoch {np.median(turns):g} (median), and stopping takes "
            f"{share.value:.0%} of the epochs. The last weights of the whole run have {ratios[name].value:.3g} times "
            f"the test loss of those kept, and an accuracy {abs(100 * gained.value):.1f} points "
            f"{'lower' if gained.value > 0 else 'higher'}; those kept have {missed.value:.3g} times the test loss of "
            f"the best by validation of all epochs."
        )
        details[name] = {
            "turns": turns,
            "share_of_epochs": list(share),
            "accuracy_gained": list(gained),
            "loss_missed": list(missed),
            "loss_of_the_last": list(ratios[name]),
        }
    return Judgement(
        statistics.all_of(verdicts),
        ratios[_WRONG].value,
        ratios[_WRONG].interval,
        f"test loss of the last weights over that of the ones kept with patience {_JUDGED}, {_WRONG}",
        " ".join(said),
        details,
    )


def draw(data: Data) -> Any:
    """The curves, and the test by patience beside that of the whole run."""
    figure, (curves, losses, accuracies) = figures.new(
        3, width=15, height=6.2, gridspec_kw={"width_ratios": [1.4, 1, 1]}
    )
    epochs = range(data["epochs"] + 1)
    place = data["patiences"].index(_JUDGED)
    for kind, name in enumerate(_NOISES):
        of = data["settings"][name]
        figures.band(curves, epochs, of["validation"], kind, f"validation, {name}")
        figures.band(curves, epochs[1:], of["train"], kind + 2, f"training, {name}")
        stops = of["epochs"][place]
        at = [curve[stop] for curve, stop in zip(of["validation"], stops, strict=True)]
        label = f"stopped, patience {_JUDGED}" if kind == 0 else None
        curves.plot(stops, at, "k|", markersize=18, markeredgewidth=2.5, label=label, zorder=5)
        for axis, kept, last in (
            (losses, of["loss"], of["last_loss"]),
            (accuracies, np.multiply(of["accuracy"], 100), np.multiply(of["last_accuracy"], 100)),
        ):
            for x, values in enumerate([*kept, last]):
                figures.seeds(axis, x + 0.2 * (kind - 0.5), values, kind, name if x == 0 else None)
    curves.set(yscale="log", xlabel="epoch", ylabel="loss", title="whole runs")
    curves.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=2, fontsize=11)
    for axis, label in ((losses, "test loss"), (accuracies, "test accuracy (%)")):
        axis.set_xticks(range(len(data["patiences"]) + 1), [*map(str, data["patiences"]), "whole,\nlast"])
        axis.set(xlabel="patience (epochs)", ylabel=label)
        axis.axvline(len(data["patiences"]) - 0.5, color="grey", linewidth=1)
    losses.set_title("weights kept by stopping")
    losses.legend(fontsize=11)
    return figure
