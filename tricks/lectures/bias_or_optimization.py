"""Model bias, optimization, overfitting and mismatch, made on purpose and told apart; remedies against overfitting."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tricks.config import Config
from tricks.data import Dataset
from tricks.lectures.common import figures, statistics, training
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement

_SEEDS, _DEPTH, _FEW = 5, 20, 1000
_LARGER, _BY, _GAP = 1.5, 0.03, 0.2
_SHARE = 0.8
# By flexibility.
_NETWORKS = ("tiny", "shallow", "deep")
_FAULTS = {
    "tiny": "model bias",
    "deep": "optimization",
    "few images": "overfitting",
    "turned test": "mismatch",
    "shallow": "no fault",
}
_DECAYS = {f"decay {strength:g}": strength for strength in (0.1, 0.3, 1.0)}
# Drops and moves nothing, but lets runs without dropout and shifts share the program of those with them.
_IDLE = 1e-9
_DIVERGED = 1e3

CLAIM = Claim(
    title="A few comparisons of losses tell model bias, optimization, overfitting and mismatch apart",
    idea="A large training loss is model bias if a more flexible network reaches a smaller one, and a matter of "
    "optimization if a less flexible one does: what the small network can do, the larger one could. Only beside a "
    "small training loss does a large test loss mean overfitting; or mismatch, if examples held out of the training "
    "data have a small one.",
    lecture="General guidance: what to do about a large loss, and the remedies against overfitting.",
    rule=f"Runs with a fault made on purpose, {_SEEDS} seeds: 2 hidden units (model bias), {_DEPTH} hidden layers "
    f"(optimization), {_FEW} images (overfitting), test images turned by a quarter (mismatch), and none. A training "
    f"loss is large if {_LARGER:g} times, and {_BY:g} above, the smallest of other networks on the same images; which "
    f"of the two is more flexible says why. Else validation less training loss above {_GAP:g} is overfitting, test "
    f"less validation loss above {_GAP:g} mismatch. Supported if the share of faults named right is above {_SHARE:g} "
    "with its interval (Wilson's), refuted if that is at or below. Remedies are measured, not judged.",
    source="He et al., arXiv 1512.03385: 56 layers against 20.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains what has a known fault, and few images with each remedy."""
    seeds = effort.pick(list(range(_SEEDS)), [10, 11])
    sizes = dict(zip(_NETWORKS, ((2,), (32, 32), (32,) * effort.pick(_DEPTH, 8)), strict=True))
    settings: dict[str, dict[str, Any]] = {name: {"model.hidden_sizes": sizes[name]} for name in _NETWORKS}
    share, epochs = effort.pick((_FEW / 58_800, 100), (0.125, 40))
    few = {
        "data.train_fraction": share,
        "train.epochs": epochs,
        "model.hidden_sizes": (256, 256),
        "model.dropout": _IDLE,
        "data.augment.shift": _IDLE,
    }
    settings |= {
        "few images": few,
        # With as many updates.
        "more data": few | {"data.train_fraction": 4 * share, "train.epochs": epochs // 4},
        "augmentation": few | {"data.augment.shift": effort.pick(2.0, 1.0)},
        "fewer parameters": few | {"model.hidden_sizes": (16,)},
        **{name: few | {"optimizer.weight_decay": strength} for name, strength in _DECAYS.items()},
        "dropout": few | {"model.dropout": 0.5},
    }
    base = _base(effort)
    runs = _trained(base, settings, seeds, note)
    runs |= _trained(base, {"turned test": settings["shallow"]}, seeds, note, seen=_turned)
    return {"seeds": seeds, "examples": effort.images, "sizes": sizes, "runs": runs}


def _base(effort: Effort) -> Config:
    config = Config()
    config.data.name = effort.images
    config.data.batch_size, config.data.validation_fraction = effort.pick((64, 0.02), (32, 0.1))
    config.model.batch_norm = False
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 0.0
    config.train.epochs = effort.pick(5, 20)
    return config


def _turned(data: Dataset) -> Dataset:
    return data._replace(test=data.test._replace(features=np.rot90(data.test.features, axes=(1, 2)).copy()))


def _trained(
    base: Config,
    settings: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    note: Callable[[str], None],
    seen: Callable[[Dataset], Dataset] = lambda data: data,
) -> dict[str, dict[str, list[Any]]]:
    """For each setting and measure a list over seeds."""
    configs = {name: training.configured(base, changes, seeds) for name, changes in settings.items()}
    rows = iter(training.train_all([one for each in configs.values() for one in each], note, seen=seen))
    found: dict[str, dict[str, list[Any]]] = {}
    for name, each in configs.items():
        measured = [_measured(next(rows), config.train.epochs) for config in each]
        found[name] = {measure: [one[measure] for one in measured] for measure in measured[0]}
    return found


def _measured(row: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Losses and test errors in % of the last weights, and of the best by validation."""
    if row["status"] == "diverged":
        measures = ("train", "validation", "test", "best_test", "error", "best_error")
        return {"curve": [_DIVERGED] * epochs, **dict.fromkeys(measures, _DIVERGED)}
    return {
        "curve": row["train_loss"],
        "train": row["train_loss"][-1],
        "validation": row["validation_loss"][-1],
        "test": row["last_test_loss"],
        "best_test": row["test_loss"],
        "error": 100 * (1 - row["last_test_accuracy"]),
        "best_error": 100 * (1 - row["test_accuracy"]),
    }


def cause(train: float, validation: float, test: float, smaller: Sequence[float], larger: Sequence[float]) -> str:
    """The lecture's questions, in their order.

    Args:
        train: loss of the run in question.
        validation: of held-out examples of the training data.
        test: of the test examples.
        smaller: training losses of less flexible networks on the same images.
        larger: of more flexible ones.

    Returns:
        One of the faults.

    >>> cause(1.0, 1.0, 1.0, smaller=[], larger=[0.1])
    'model bias'
    """
    best = min([*smaller, *larger])
    if train > _LARGER * best and train > best + _BY:
        return "model bias" if best in larger else "optimization"
    if validation - train > _GAP:
        return "overfitting"
    return "mismatch" if test - validation > _GAP else "no fault"


def _judge_causes(data: Data) -> dict[str, list[str]]:
    """What is said of the runs of each fault, one for each seed."""
    runs, order = data["runs"], _NETWORKS
    found: dict[str, list[str]] = {}
    for name in _FAULTS:
        place = order.index("shallow" if name == "turned test" else name) if name != "few images" else None
        smaller = ["fewer parameters"] if place is None else order[:place]
        larger = [] if place is None else order[place + 1 :]
        found[name] = [
            cause(
                *(runs[name][part][seed] for part in ("train", "validation", "test")),
                *([runs[other]["train"][seed] for other in others] for others in (smaller, larger)),
            )
            for seed in range(len(data["seeds"]))
        ]
    return found


def _judge_remedies(data: Data) -> dict[str, dict[str, list[float]]]:
    """Test losses and errors with each remedy; the decay is that with the lowest mean validation loss."""
    runs = data["runs"]
    decay = min(_DECAYS, key=lambda name: float(np.mean(runs[name]["validation"])))
    chosen = {
        name: {"loss": runs[run]["test"], "error": runs[run]["error"]}
        for name, run in {
            **{name: name for name in ("more data", "augmentation", "fewer parameters")},
            decay: decay,
            "dropout": "dropout",
        }.items()
    }
    stopped = {"loss": runs["few images"]["best_test"], "error": runs["few images"]["best_error"]}
    return {**chosen, "early stopping": stopped}


def judge(data: Data) -> Judgement:
    """How often the fault is named right."""
    said = _judge_causes(data)
    right = sum(one == _FAULTS[name] for name, each in said.items() for one in each)
    count = sum(map(len, said.values()))
    named = statistics.share(right, count)
    runs, few = data["runs"], data["runs"]["few images"]
    deep, shallow = (runs[name] for name in ("deep", "shallow"))
    larger = statistics.ratio(deep["train"], shallow["train"])
    wrong = ", ".join(sorted({f"{name}: {one}" for name, each in said.items() for one in each if one != _FAULTS[name]}))
    remedies = _judge_remedies(data)
    gains = {name: statistics.ratio(rows["loss"], few["test"]) for name, rows in remedies.items()}
    fewer_errors = {name: statistics.difference(few["error"], rows["error"]) for name, rows in remedies.items()}
    told = ", ".join(f"{name} {gain.value:.2f} ({gain.low:.2f} to {gain.high:.2f})" for name, gain in gains.items())
    return Judgement(
        statistics.decide(named, _SHARE),
        named.value,
        named.interval,
        "share of runs whose fault is named right",
        f"{right} of {count} faults are named right{wrong and f' (wrong are {wrong})'}. The network of "
        f"{len(data['sizes']['deep'])} layers has {larger.value:.2f} times the training loss of that of 2 ({larger.low:.2f} to "
        f"{larger.high:.2f}), {np.mean(deep['train']):.3f} against {np.mean(shallow['train']):.3f}, and a test loss of "
        f"{np.mean(deep['test']):.3f} against {np.mean(shallow['test']):.3f}, which alone would pass for overfitting. "
        f"Against overfitting, test loss over that without a remedy: {told}.",
        {
            "said": said,
            "deep_over_shallow": list(larger),
            "test_loss_over_that_without": {name: list(gain) for name, gain in gains.items()},
            "test_error_in_points_less": {name: list(gain) for name, gain in fewer_errors.items()},
        },
    )


def draw(data: Data) -> Any:
    """Training curves, the losses of each fault with what is said of it, and remedies."""
    figure, (left, middle, right) = figures.new(3, width=18, gridspec_kw={"width_ratios": [1, 1.5, 1.4]})
    runs = data["runs"]
    for kind, name in enumerate(_NETWORKS):
        curve, sizes = runs[name]["curve"], data["sizes"][name]
        label = f"{name}: {len(sizes)} × {sizes[0]} units"
        figures.band(left, range(1, len(curve[0]) + 1), curve, kind, label)
    left.set(
        yscale="log", xlabel="epoch", ylabel="training loss", title=f"{data['examples']}, {len(data['seeds'])} seeds"
    )
    left.legend()
    said = _judge_causes(data)
    for kind, part in enumerate(("train", "validation", "test")):
        for place, name in enumerate(_FAULTS):
            figures.seeds(middle, place + 0.28 * (kind - 1), runs[name][part], kind, part if place == 0 else None)
    names = [f"{name}\n→ {max(set(each), key=each.count)}" for name, each in said.items()]
    middle.set(yscale="log", ylabel="loss", xlabel="run → cause by its losses", title="faults made on purpose")
    middle.set_xticks(range(len(names)), names, rotation=25)
    middle.legend()
    remedies = {
        "none": {"error": runs["few images"]["error"], "loss": runs["few images"]["test"]},
        **_judge_remedies(data),
    }
    for place, rows in enumerate(remedies.values()):
        figures.seeds(right, place, rows["loss"], 0 if place == 0 else 2)
    right.axhline(np.mean(runs["few images"]["test"]), color="black", linestyle=":", linewidth=1.5)
    right.set(yscale="log", ylabel="test loss", xlabel="remedy", title="overfitting on few images")
    right.set_xticks(range(len(losses)), list(losses), rotation=25)
    return figure
