"""Whether LAMB recovers at a large batch what Adam and momentum lose, each at its best rate."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tricks.config import Config
from tricks.data import Dataset, load
from tricks.lectures.common import figures, training
from tricks.lectures.common.experiment import REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import all_of, decide, difference, mean

_RATES = {
    "momentum": (0.01, 0.03, 0.1, 0.3, 1.0),
    "adam": (0.001, 0.003, 0.01, 0.03, 0.1),
    "lamb": (0.003, 0.01, 0.03, 0.1, 0.3),
}
_WRITTEN = {"momentum": "momentum", "adam": "Adam", "lamb": "LAMB"}
_LARGE, _SMALL = "large", "small"

CLAIM = Claim(
    title="LAMB with warm-up recovers at a large batch what Adam and momentum lose",
    idea="With a large batch there are few updates, and each must go far. LAMB moves each layer by a share of the "
    "layer's own size, so a large rate harms no layer, and after a warm-up it keeps the accuracy of small batches.",
    lecture="Batch: have both fish and bear's paws, the papers on training with large batches.",
    rule="All with the same warm-up of one epoch and linear decay to 0, equal epochs, and each at the best of five "
    "rates for its batch size by validation accuracy; then on fresh seeds the test accuracy. The other is that of Adam "
    "and momentum which was better at the large batch in validation. Supported if the intervals of 95 % over the seeds "
    "have the other's accuracy at the small batch above that at the large one, and LAMB's at the large batch above the "
    "middle of those two: it recovers more than half. Refuted if one of these is the other way.",
    source="You et al., arXiv 1904.00962; Nado et al., arXiv 2102.06356, who find that others do as well.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Chooses a rate for each optimizer and batch size, then trains at it with other seeds."""
    tuned_on, seeds = (list(range(100, 100 + effort.pick(2, 1))), list(range(effort.pick(5, 2))))
    sizes = {_SMALL: effort.of_images(128, 32), _LARGE: effort.of_images(4096, 256)}
    epochs, count = effort.pick(5, 2), len(load(effort.images).train.targets)
    rates = {name: effort.pick(values, values[1::2]) for name, values in _RATES.items()}
    swept: dict[str, Any] = {}
    compared: dict[str, Any] = {}
    for batch, size in sizes.items():
        common = {
            "data.name": effort.images,
            "data.batch_size": size,
            "train.epochs": epochs,
            # The moving averages of batch normalization would need more updates than a large batch gets.
            "model.batch_norm": False,
            "model.hidden_sizes": effort.pick((128, 128), (16,)),
            "schedule.shape": "linear",
            "schedule.warmup_steps": count // size,
        }
        tried = [(name, rate) for name, values in rates.items() for rate in values]
        note(f"rates for the {batch} batch")
        found = _trained(common, tried, tuned_on, note)
        swept[batch] = {
            name: [[_last(one, "validation_accuracy") for one in found[name, rate]] for rate in values]
            for name, values in rates.items()
        }
        best = [(name, values[best_of(swept[batch][name])]) for name, values in rates.items()]
        found = _trained(common, best, seeds, note)
        compared[batch] = {
            name: {"rate": rate, "accuracy": [100 * one.get("last_test_accuracy", 0.0) for one in found[name, rate]]}
            for name, rate in best
        }
    return {
        "seeds": seeds,
        "examples": f"{count} of {effort.images}",
        "sizes": sizes,
        "epochs": epochs,
        "updates": {batch: epochs * (count // size) for batch, size in sizes.items()},
        "rates": {name: list(values) for name, values in rates.items()},
        "swept": swept,
        "compared": compared,
    }


def best_of(accuracies: Sequence[Sequence[float]]) -> int:
    """Place of the rate with the highest mean over seeds; the lower one of equals.

    >>> best_of([[0.5, 0.6], [0.7, 0.7], [0.9, 0.0]])
    1
    """
    return int(np.argmax(np.mean(accuracies, axis=1)))


def _trained(
    common: Mapping[str, Any], settings: Sequence[tuple[str, float]], seeds: Sequence[int], note: Callable[[str], None]
) -> dict[tuple[str, float], list[dict[str, Any]]]:
    configs = []
    for name, rate in settings:
        changes = {**common, "optimizer.name": name, "optimizer.learning_rate": rate}
        # The others have no decay.
        changes |= {"optimizer.weight_decay": 0.0} if name == "lamb" else {}
        configs += training.configured(Config(), changes, seeds)
    kept: list[Dataset] = []

    def first(data: Dataset) -> Dataset:
        kept[:] = kept or [data]
        return kept[0]

    # All have the split of the first seed: five copies of the images for each group of lanes would fill the memory.
    results = iter(training.train_all(configs, note, seen=first))
    return {setting: [next(results) for _ in seeds] for setting in settings}


def _last(summary: Mapping[str, Any], name: str) -> float:
    # A run that diverged has learned nothing.
    return 0.0 if summary["status"] == "diverged" else 100 * summary[name][-1]


def judge(data: Data) -> Judgement:
    """LAMB beside the better of the others, over seeds that they have in common."""
    tuned = {name: max(np.mean(values, axis=1)) for name, values in data["swept"][_LARGE].items()}
    other = max(("adam", "momentum"), key=lambda name: tuned[name])
    at = {batch: {name: one["accuracy"] for name, one in data["compared"][batch].items()} for batch in data["compared"]}
    lost = difference(at[_SMALL][other], at[_LARGE][other])
    middle = np.add(at[_SMALL][other], at[_LARGE][other]) / 2
    recovered = difference(at[_LARGE]["lamb"], middle.tolist())
    verdicts = decide(lost, 0.0), decide(recovered, 0.0)
    own = difference(at[_SMALL]["lamb"], at[_LARGE]["lamb"])
    gained = difference(at[_LARGE]["lamb"], at[_LARGE][other])
    size = data["sizes"][_LARGE]
    ends = {SUPPORTED: "recovers more than half of it", REFUTED: "does not recover half of it"}
    end = ends.get(verdicts[1], "is not shown to recover half of it")
    if verdicts[0] != SUPPORTED:
        end = "has no clear loss to recover"
    edges = [
        f"{_WRITTEN[name]} {batch}"
        for batch, chosen in data["compared"].items()
        for name, one in chosen.items()
        if one["rate"] in (data["rates"][name][0], data["rates"][name][-1])
    ]
    return Judgement(
        all_of(verdicts),
        recovered.value,
        recovered.interval,
        f"test accuracy of LAMB at {size} less the middle of {_WRITTEN[other]}'s at {data['sizes'][_SMALL]} and "
        f"{size}, in points",
        f"From a batch of {data['sizes'][_SMALL]} to {size}, {data['updates'][_SMALL]} to {data['updates'][_LARGE]} "
        f"updates, {_WRITTEN[other]} loses {shown(lost.value)} points ({shown(lost.low)} to {shown(lost.high)}). "
        f"LAMB's accuracy at the large batch less that is {shown(gained.value)} points ({shown(gained.low)} to "
        f"{shown(gained.high)}): LAMB {end}. It loses {shown(own.value)} points itself. Rates: {_judge_rates(data)}.",
        {
            "other": other,
            "lost": lost,
            "gained": gained,
            "lost_by_lamb": own,
            "means": {batch: {name: mean(values) for name, values in of.items()} for batch, of in at.items()},
            "best_rate_at_the_edge_of_the_sweep": edges,
        },
    )


def _judge_rates(data: Data) -> str:
    def of(batch: str) -> str:
        return ", ".join(f"{_WRITTEN[name]} {one['rate']:g}" for name, one in data["compared"][batch].items())

    return f"{of(_SMALL)} at {data['sizes'][_SMALL]}; {of(_LARGE)} at {data['sizes'][_LARGE]}"


def draw(data: Data) -> Any:
    """The sweep of rates at the large batch, and the comparison at both."""
    figure, (left, right) = figures.new(2)
    lowest = min(np.mean(one) for of in data["compared"].values() for one in (v["accuracy"] for v in of.values()))
    floor = math.floor(lowest - 5)
    for kind, (name, label) in enumerate(_WRITTEN.items()):
        for batch, line in ((_SMALL, ":"), (_LARGE, "-")):
            means = np.mean(data["swept"][batch][name], axis=1)
            left.plot(
                data["rates"][name],
                np.maximum(means, floor),
                line,
                marker=figures.MARKERS[kind],
                color=figures.COLOURS[kind],
            )
        for place, batch in enumerate((_SMALL, _LARGE)):
            values = data["compared"][batch][name]["accuracy"]
            figures.seeds(right, 3.5 * place + kind, values, kind, label if place == 0 else None)
    runs = len(data["swept"][_LARGE]["lamb"][0])
    left.set(xscale="log", xlabel="learning rate", ylabel="validation accuracy (%)", ylim=(floor, None))
    left.set_title(
        f"sweep, mean of {runs} {'run' if runs == 1 else 'runs'}\nsolid: batch of {data['sizes'][_LARGE]:,}, dotted: "
        f"{data['sizes'][_SMALL]}; below {floor} % drawn there"
    )
    right.set_xticks([1, 4.5], [f"batch of {data['sizes'][batch]:,}" for batch in (_SMALL, _LARGE)])
    right.set(xlabel=f"{data['epochs']} epochs each, at the best rate", ylabel="test accuracy (%)")
    right.set_title(f"{len(data['seeds'])} fresh seeds, bar: mean")
    right.legend()
    return figure
