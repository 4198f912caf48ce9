"""Model bias, optimization, overfitting and mismatch, made on purpose and told apart; remedies against overfitting."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tricks.config import Config
from tricks.data import Dataset
from tricks.lectures.common import causes, figures, statistics
from tricks.lectures.common.causes import BY, GAP, LARGER
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement, Second

_SEEDS, _DEPTH, _FEW = 5, 20, 1000
_SHARE = 0.8
_NETWORKS = {"tiny": (2,), "shallow": (32, 32), "deep": (32,) * _DEPTH}
# The fault of each run, and the less and the more flexible networks that it is compared with.
_FAULTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "tiny": ("model bias", (), ("shallow", "deep")),
    "deep": ("optimization", ("tiny", "shallow"), ()),
    "few images": ("overfitting", ("fewer parameters",), ()),
    "turned test": ("mismatch", ("tiny",), ("deep",)),
    "shallow": ("no fault", ("tiny",), ("deep",)),
}
# The strength is chosen by validation.
_STRENGTHS = {"decay": (0.1, 0.3, 1.0), "dropout": (0.2, 0.5)}
_FIELDS = {"decay": "optimizer.weight_decay", "dropout": "model.dropout"}
# Drops and moves nothing, but lets runs without dropout and shifts share the program of those with them.
_IDLE = 1e-9

CLAIM = Claim(
    title="A few comparisons of losses tell model bias, optimization, overfitting and mismatch apart",
    idea="A large training loss is model bias if a more flexible network reaches a smaller one, and a matter of "
    "optimization if a less flexible one does: what the small network can do, the larger one could. Only beside a "
    "small training loss does a large test loss mean overfitting; or mismatch, if examples held out of the training "
    "data have a small one.",
    lecture="General guidance: what to do about a large loss, and the remedies against overfitting.",
    rule=f"Runs with a fault made on purpose, {_SEEDS} seeds: 2 hidden units (model bias), {_DEPTH} hidden layers "
    f"(optimization), {_FEW} images (overfitting), test images turned by a quarter (mismatch), and none. A training "
    f"loss is large if {LARGER:g} times, and {BY:g} above, the smallest of other networks on the same images; which "
    f"of the two is more flexible says why. Else validation less training loss above {GAP:g} is overfitting, test "
    f"less validation loss above {GAP:g} mismatch. Supported if the share of faults named right is above {_SHARE:g} "
    "with its interval (Wilson's), refuted if that is at or below. Remedies are measured, not judged.",
    source="He et al., arXiv 1512.03385: 56 layers against 20.",
    second_rule="Runs of one kind differ by their seed alone, so they are hardly cases of their own. The same, where "
    "each kind is one case, named right if all of its runs are.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains what has a known fault, and few images with each remedy."""
    seeds = effort.pick(list(range(_SEEDS)), [10, 11])
    settings: dict[str, dict[str, Any]] = {name: {"model.hidden_sizes": sizes} for name, sizes in _NETWORKS.items()}
    share, epochs = effort.of_images((_FEW / 58_800, 100), (0.125, 40))
    few = {"data.train_fraction": share, "train.epochs": epochs, "model.hidden_sizes": (256, 256)}
    idle = few | {"model.dropout": _IDLE, "data.augment.shift": _IDLE}
    settings |= {
        "few images": idle,
        # With as many updates.
        "more data": few | {"data.train_fraction": 4 * share, "train.epochs": epochs // 4},
        "augmentation": idle | {"data.augment.shift": effort.of_images(2.0, 1.0)},
        "fewer parameters": few | {"model.hidden_sizes": (16,)},
        **{f"{name} {one:g}": idle | {_FIELDS[name]: one} for name, each in _STRENGTHS.items() for one in each},
    }
    base = _base(effort)
    runs = causes.trained(base, settings, seeds, note)
    runs |= causes.trained(base, {"turned test": settings["shallow"]}, seeds, note, seen=_turned)
    return {"seeds": seeds, "examples": effort.images, "runs": runs}


def _base(effort: Effort) -> Config:
    config = Config()
    config.data.name = effort.images
    config.data.batch_size, config.data.validation_fraction = effort.of_images((64, 0.02), (32, 0.1))
    config.model.batch_norm = False
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 0.0
    config.train.epochs = effort.of_images(5, 20)
    return config


def _turned(data: Dataset) -> Dataset:
    return data._replace(test=data.test._replace(features=np.rot90(data.test.features, axes=(1, 2)).copy()))


def _judge_causes(data: Data) -> dict[str, list[str]]:
    """What is said of the runs of each fault, one for each seed."""
    runs = data["runs"]
    return {
        name: [
            causes.cause(
                train=runs[name]["train"][seed],
                validation=runs[name]["validation"][seed],
                test=runs[name]["test"][seed],
                smaller=[runs[other]["train"][seed] for other in smaller],
                larger=[runs[other]["train"][seed] for other in larger],
            )
            for seed in range(len(data["seeds"]))
        ]
        for name, (_, smaller, larger) in _FAULTS.items()
    }


def _judge_remedies(data: Data) -> dict[str, dict[str, list[float]]]:
    """Test losses and errors of few images with each remedy, one for each seed."""
    runs = data["runs"]
    chosen = ["few images", "more data", "augmentation", "fewer parameters"]
    for name, strengths in _STRENGTHS.items():
        chosen.append(min((f"{name} {one:g}" for one in strengths), key=lambda run: np.mean(runs[run]["validation"])))
    found = {name: {"loss": runs[name]["test"], "error": runs[name]["error"]} for name in chosen}
    found["early stopping"] = {"loss": runs["few images"]["best_test"], "error": runs["few images"]["best_error"]}
    return found


def judge(data: Data) -> Judgement:
    """How often the fault is named right."""
    said = _judge_causes(data)
    wrong = Counter(f"{name} as {one}" for name, each in said.items() for one in each if one != _FAULTS[name][0])
    mistaken = ", ".join(f"{times} × {one}" for one, times in wrong.items())
    count = sum(map(len, said.values()))
    right = count - wrong.total()
    named = statistics.share(right, count)
    deep, shallow = (data["runs"][name] for name in ("deep", "shallow"))
    more = statistics.ratio(deep["train"], shallow["train"])
    is_worse = more.low > 1 and np.mean(deep["test"]) > np.mean(shallow["test"])
    alone = ", which alone would pass for overfitting" if is_worse else ""
    remedies = _judge_remedies(data)
    without = remedies.pop("few images")
    gains = {name: statistics.ratio(rows["loss"], without["loss"]) for name, rows in remedies.items()}
    errors = {name: statistics.difference(rows["error"], without["error"]) for name, rows in remedies.items()}
    told = ", ".join(
        f"{name} {gain.value:.2f} ({gain.low:.2f} to {gain.high:.2f}; {errors[name].value:+.1f})"
        for name, gain in gains.items()
    )
    return Judgement(
        statistics.decide(named, _SHARE),
        named.value,
        (named.low, max(named.high, named.value)),
        "share of runs whose fault is named right",
        f"{right} of {count} faults are named right{mistaken and f' ({mistaken})'}. {_DEPTH} layers have "
        f"{more.value:.2f} times the training loss of 2 ({more.low:.2f} to {more.high:.2f}), "
        f"{np.mean(deep['train']):.3f} against {np.mean(shallow['train']):.3f}; their test loss "
        f"is {np.mean(deep['test']):.3f} against {np.mean(shallow['test']):.3f}{alone}. On few "
        "images, with each remedy the test loss over that without one "
        f"(and the test error less that without, in points): {told}.",
        {
            "said": said,
            "deep_over_shallow": list(more),
            "test_loss_over_that_without": {name: list(gain) for name, gain in gains.items()},
            "test_error_less_that_without": {name: list(one) for name, one in errors.items()},
        },
        _judge_kinds(said),
    )


def _judge_kinds(said: dict[str, list[str]]) -> Second:
    right = sum(set(each) == {_FAULTS[name][0]} for name, each in said.items())
    named = statistics.share(right, len(said))
    verdict = statistics.decide(named, _SHARE)
    return Second(verdict, named.value, named.interval, "share of kinds whose fault is named right with every seed")


def draw(data: Data) -> Any:
    """Training curves, the losses of each fault with what is said of it, and remedies."""
    figure, (curves, faults, losses, errors) = figures.new(2, 2, width=16, height=10)
    runs, said, remedies = data["runs"], _judge_causes(data), _judge_remedies(data)
    for kind, (name, sizes) in enumerate(_NETWORKS.items()):
        label = f"{name}: {len(sizes)} × {sizes[0]} units"
        figures.band(curves, range(1, len(runs[name]["curve"][0]) + 1), runs[name]["curve"], kind, label)
    curves.set(yscale="log", xlabel="epoch", ylabel="training loss")
    curves.set_title(f"{data['examples']}, median and range of {len(data['seeds'])} seeds")
    curves.legend()
    for kind, part in enumerate(("train", "validation", "test")):
        for place, name in enumerate(_FAULTS):
            figures.seeds(faults, 1.5 * place + 0.45 * (kind - 1), runs[name][part], kind, part if place == 0 else None)
    names = [f"{name}\n{max(sorted(set(each)), key=each.count)}" for name, each in said.items()]
    faults.set(yscale="log", ylabel="loss", xlabel="run, and what its losses say", title="faults made on purpose")
    faults.set_xticks(1.5 * np.arange(len(names)), names)
    faults.legend()
    for axis, part, label in ((losses, "loss", "test loss"), (errors, "error", "test error in %")):
        for place, (name, rows) in enumerate(remedies.items()):
            figures.seeds(axis, place, rows[part], 0 if name == "few images" else 2)
        axis.axhline(np.mean(remedies["few images"][part]), color="black", linestyle=":", linewidth=1.5)
        axis.set(ylabel=label, xlabel="remedy", title="few images: remedies against overfitting")
        axis.set_xticks(range(len(remedies)), ["none", *(name.replace(" ", "\n") for name in [*remedies][1:])])
        axis.tick_params(axis="x", labelsize=12)
    return figure
