"""How long an update and an epoch take, against the size of the batch."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tricks.data import load
from tricks.lectures.common import figures
from tricks.lectures.common.experiment import REFUTED, Claim, Data, Effort, Judgement, Second
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import Estimate, all_of, decide, ratio
from tricks.lectures.common.update_times import in_a_process, measure

_SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
_FEW, _MANY = 16, 1024
_SAME, _GROWN, _MUCH = 2.0, 8.0, 10.0
_WAYS = ("all cores", "all cores, called from Python", "one core", "one core, an example at a time")
_PARTS = ("same", "grows without", "epoch")

CLAIM = Claim(
    title="With parallel arithmetic an update takes the same time up to a large batch, so small batches make the epoch "
    "slow",
    idea="The gradients of a batch's examples are independent of each other. Hardware that computes them side by side "
    "needs no longer for a large batch than for one example, until it is full; then an epoch of small batches, which "
    "has more updates, takes much longer. Without parallel arithmetic an update takes the longer the larger its batch.",
    lecture="Batch: small batch against large batch, the table and the figure of times for one update and one epoch.",
    rule=f"On all cores an update at a batch of {_FEW} takes less than {_SAME:g} times as long as at 1; on one core, "
    f"an example at a time, above {_GROWN:g} times as long; and on all cores an epoch at a batch of 1 takes above "
    f"{_MUCH:g} times as long as at {_MANY}. Supported if the intervals of 95 % over rounds say so of all three; "
    f"refuted if one says the opposite. {_FEW} stands for the lecture's 1000, since the cores and vector units of such "
    "a CPU do some tens of multiplications at once, a hundredth of what the lecture's graphics processor does.",
    source="Figure of the lecture, on a V100: about constant for batches from 1 to 1000 on MNIST.",
    second_rule="The rounds of one process have in common how many cores it is given and where its memory lies, so "
    "intervals over rounds are too narrow. The rounds are those of several processes, one after the other, and of "
    "each process the geometric mean of its ratios counts once. The same three thresholds: supported if the intervals "
    "of 95 % over processes say so of all three; refuted if one says the opposite.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Times updates of one network in turns of all sizes, in processes that have all cores and in some with one."""
    whole = len(load(effort.images).train.targets)
    sizes = effort.pick([*(size for size in _SIZES if size < whole), whole], [1, _FEW, _MANY])
    few = [size for size in sizes if size <= _MANY]
    work, rounds = effort.pick(8192, 512), effort.pick(3, 2)
    task = functools.partial(measure, effort.images, sizes, rounds, work)
    one_by_one = functools.partial(measure, effort.images, few, rounds, work, one_by_one=True)
    # An accelerator of another kind belongs to one process, which is this one.
    apart = jax.default_backend() in ("cpu", "gpu")
    every, alone = [], []
    for number in range(effort.pick(5, 2)):
        note(f"on all cores, process {number + 1}")
        every += in_a_process(task) if apart else [task()]
    for number in range(effort.pick(3, 2)):
        note(f"on one core, process {number + 1}")
        alone.append(in_a_process(task, one_by_one, one_core=True))
    taken = (
        [one.loops for one in every],
        [one.calls for one in every],
        [one.loops for one, _ in alone],
        [one.loops for _, one in alone],
    )
    return {
        "examples": effort.images,
        "device": f"{jax.device_count()} cores" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind,
        "whole": whole,
        "sizes": dict(zip(_WAYS, (sizes, sizes, sizes, few), strict=True)),
        "seconds": {way: [row for rows in times for row in rows] for way, times in zip(_WAYS, taken, strict=True)},
        "process": {
            way: [number if own else 0 for number, rows in enumerate(times) for _ in rows]
            for way, times, own in zip(_WAYS, taken, (apart, apart, True, True), strict=True)
        },
        "cores_busy": [one.busy for one in every],
    }


def judge(data: Data) -> Judgement:
    """Ratios of times within each round, and their geometric means over the rounds of each process."""
    all_cores, calls, _, _ = _WAYS
    same, grown, epoch = effects = _judge_effects(data)
    called, update = _judge_ratio(data, calls, _FEW, 1), _judge_ratio(data, all_cores, _MANY, 1)
    verdicts = _judge_thresholds(effects)
    of_processes = _judge_effects(data, over_processes=True)
    medians = np.median(data["seconds"][all_cores], 0)
    flat = longest_flat(data["sizes"][all_cores], medians.tolist(), _SAME)
    busy, processes = data["cores_busy"], len(set(data["process"][all_cores]))
    # Of an accelerator it is not the cores that count.
    kept = f" The {processes} processes kept {shown(min(busy))} to {shown(max(busy))} cores busy."
    says = "But a batch costs time from the first examples on: " if verdicts[0] == REFUTED else ""
    return Judgement(
        all_of(verdicts),
        same.value,
        same.interval,
        f"time of an update at a batch of {_FEW} over that at 1, on all cores",
        f"On {data['device']} an update at a batch of {_FEW} takes {shown(same.value)} times as long as at 1, at "
        f"{_MANY} {shown(update.value)} times. {says}{flat} is the largest batch whose update takes less than "
        f"{_SAME:g} times as long as that of one example. With a call from Python for each update, which takes time of "
        f"its own, {_FEW} take {shown(called.value)} times as long as one; an example at a time, {shown(grown.value)} "
        f"times. An epoch at a batch of 1 takes {shown(epoch.value)} times as long as at {_MANY}."
        + (kept if data["device"].endswith(" cores") else ""),
        {
            "verdicts": dict(zip(_PARTS, verdicts, strict=True)),
            "epoch_ratio": epoch,
            "ratio_called_from_python": called,
            "ratio_an_example_at_a_time": grown,
            "largest_batch_of_the_same_time": flat,
            "over_processes": dict(zip(_PARTS, of_processes, strict=True)),
            "verdicts_over_processes": dict(zip(_PARTS, _judge_thresholds(of_processes), strict=True)),
            "cores_busy": data["cores_busy"],
        },
        Second(
            all_of(_judge_thresholds(of_processes)),
            of_processes[0].value,
            of_processes[0].interval,
            f"time of an update at a batch of {_FEW} over that at 1, on all cores, over {processes} processes",
        ),
    )


def _judge_effects(data: Data, *, over_processes: bool = False) -> tuple[Estimate, Estimate, Estimate]:
    """In the order of `_PARTS`."""
    all_cores, _, _, one_by_one = _WAYS
    same = _judge_ratio(data, all_cores, _FEW, 1, over_processes=over_processes)
    grown = _judge_ratio(data, one_by_one, _FEW, 1, over_processes=over_processes)
    update = _judge_ratio(data, all_cores, _MANY, 1, over_processes=over_processes)
    # Of one process the interval ends at 0.
    high = _MANY / update.low if update.low > 0 else math.inf
    return same, grown, Estimate(_MANY / update.value, _MANY / update.high, high)


def _judge_thresholds(effects: tuple[Estimate, Estimate, Estimate]) -> list[str]:
    same, grown, epoch = effects
    return [decide(same, _SAME, above=False), decide(grown, _GROWN), decide(epoch, _MUCH)]


def longest_flat(sizes: Sequence[int], seconds: Sequence[float], times: float) -> int:
    """The largest size before the first that takes so many times as long as the first size.

    >>> longest_flat([1, 4, 16, 64], [1.0, 1.2, 1.9, 5.0], 2.0)
    16
    """
    longer = [one >= times * seconds[0] for one in seconds]
    return sizes[longer.index(True) - 1] if any(longer) else sizes[-1]


def _judge_ratio(data: Data, way: str, one: int, other: int, *, over_processes: bool = False) -> Estimate:
    sizes, seconds = data["sizes"][way], np.asarray(data["seconds"][way])
    pair = seconds[:, [sizes.index(one), sizes.index(other)]]
    if over_processes:
        process = np.asarray(data["process"][way])
        pair = np.stack([np.exp(np.mean(np.log(pair[process == number]), axis=0)) for number in np.unique(process)])
    return ratio(pair[:, 0].tolist(), pair[:, 1].tolist())


def draw(data: Data) -> Any:
    """Times of an update and of an epoch."""
    figure, (left, right) = figures.new(2)
    for kind, way in enumerate(_WAYS):
        sizes, seconds = np.asarray(data["sizes"][way]), np.asarray(data["seconds"][way])
        label = way.replace("all cores", data["device"])
        figures.band(left, sizes.tolist(), (1e3 * seconds).tolist(), kind, label)
        figures.band(right, sizes.tolist(), (seconds * data["whole"] / sizes).tolist(), kind, label)
    left.axvspan(1, 1000, color="0.92", zorder=0)
    left.text(
        1.5, 0.96, "where the lecture's V100\ntakes the same time", transform=left.get_xaxis_transform(), va="top"
    )
    left.set(title="an update", ylabel="time (ms)")
    right.set(title=f"an epoch of {data['whole']:,} examples", ylabel="time (s)")
    for axis in (left, right):
        axis.set(xscale="log", yscale="log", xlabel="batch size (examples)")
    right.legend(loc="upper right")
    counts = [f"{len(data['process'][way])} rounds in {len(set(data['process'][way]))}" for way in (_WAYS[0], _WAYS[2])]
    title = f"median and range of {counts[0]} processes on {data['device']}, {counts[1]} on one core"
    figure.suptitle(f"{title}; {data['examples']}", fontsize=14)
    return figure
