"""How long an update and an epoch take, against the size of the batch."""

import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks import losses, models
from tricks.data import load
from tricks.lectures.common import figures
from tricks.lectures.common.experiment import REFUTED, Claim, Data, Effort, Judgement
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import Estimate, all_of, decide, ratio

_SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
_FEW, _MANY = 16, 1024
_SAME, _GROWN, _MUCH = 2.0, 8.0, 10.0
_HIDDEN, _RATE = (128, 128), 0.01
_CALLS = 9
_WAYS = ("all cores", "all cores, called from Python", "one core", "one core, an example at a time")

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
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Times updates of one network in turns of all sizes, here and in a process that has one core."""
    whole = len(load(effort.images).train.targets)
    sizes = effort.pick([*(size for size in _SIZES if size < whole), whole], [1, _FEW, _MANY])
    few = [size for size in sizes if size <= _MANY]
    work = effort.pick(8192, 512)
    rounds = effort.pick(9, 3)
    note("on all cores")
    together, called = measure(effort.images, sizes, rounds, work)
    note("on one core")
    # The threads of this process are there already; those of a new one are as many as it is given cores.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _keep_one_core) as alone:
        one_core, _ = alone.submit(measure, effort.images, sizes, rounds, work).result()
        one_by_one, _ = alone.submit(measure, effort.images, few, rounds, work, one_by_one=True).result()
    return {
        "examples": effort.images,
        "device": f"{jax.device_count()} cores" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind,
        "whole": whole,
        "rounds": rounds,
        "sizes": dict(zip(_WAYS, (sizes, sizes, sizes, few), strict=True)),
        "seconds": dict(zip(_WAYS, (together, called, one_core, one_by_one), strict=True)),
    }


def measure(
    images: str, sizes: Sequence[int], rounds: int, work: int, *, one_by_one: bool = False
) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds of an update for each round and each size of the batch, in a loop within one program.

    Args:
        images: the set of examples.
        sizes: of the batches.
        rounds: how often all sizes take their turns.
        work: examples in a measurement, so that each takes as long; one update at least.
        one_by_one: take the gradients of a batch's examples one after the other.

    Returns:
        (rounds, sizes), and the same with a call of the program for each update.
    """
    examples = load(images).train
    batch = losses.Batch(
        jnp.asarray(examples.features.reshape(len(examples.targets), -1)), jnp.asarray(examples.targets)
    )
    network = models.multilayer_perceptron(input_size=batch.features.shape[1], output_size=10, hidden_sizes=_HIDDEN)
    params, _ = network.init(jax.random.key(0))
    loss_fn = losses.objective(network.apply, losses.cross_entropy, {})

    def seconds(size: int, count: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(updates(loss_fn, size, one_by_one, params, batch, count))
        return (time.perf_counter() - began) / count

    for size in sizes:
        seconds(size, 1)
    loops, calls = [], []
    for _ in range(rounds):
        loops.append([seconds(size, max(work // size, 1)) for size in sizes])
        calls.append(
            [float(np.median([seconds(size, 1) for _ in range(_CALLS if size <= _MANY else 1)])) for size in sizes]
        )
    return loops, calls


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def updates(loss_fn: Any, size: int, one_by_one: bool, params: Any, examples: losses.Batch, count: int) -> Any:
    """Parameters after so many updates by gradient descent, on one batch of the examples after the other.

    Args:
        loss_fn: `loss_fn(params, batch) -> loss`, a mean over the batch.
        size: of the batches.
        one_by_one: take the gradients of a batch's examples one after the other.
        params: before.
        examples: all of them.
        count: of the updates.

    Returns:
        As `params`.
    """

    def gradient(params: Any, batch: losses.Batch) -> Any:
        def add(total: Any, one: losses.Batch) -> tuple[Any, None]:
            found = jax.grad(loss_fn)(params, jax.tree.map(lambda a: a[None], one))
            return jax.tree.map(lambda a, b: a + b / size, total, found), None

        if not one_by_one:
            return jax.grad(loss_fn)(params, batch)
        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), batch)[0]

    def update(step: jax.Array, params: Any) -> Any:
        at = step * size % (len(examples.targets) - size + 1)
        batch = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, at, size), examples)
        return jax.tree.map(lambda w, g: w - _RATE * g, params, gradient(params, batch))

    return jax.lax.fori_loop(0, count, update, params)


def _keep_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jax.config.update("jax_platforms", "cpu")


def judge(data: Data) -> Judgement:
    """Ratios of times within each round."""
    all_cores, calls, _, one_by_one = _WAYS
    same = _judge_ratio(data, all_cores, _FEW, 1)
    grown = _judge_ratio(data, one_by_one, _FEW, 1)
    called = _judge_ratio(data, calls, _FEW, 1)
    update = _judge_ratio(data, all_cores, _MANY, 1)
    epoch = Estimate(_MANY / update.value, _MANY / update.high, _MANY / update.low)
    verdicts = decide(same, _SAME, above=False), decide(grown, _GROWN), decide(epoch, _MUCH)
    medians = np.median(data["seconds"][all_cores], 0)
    flat = longest_flat(data["sizes"][all_cores], medians.tolist(), _SAME)
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
        f"times. An epoch at a batch of 1 takes {shown(epoch.value)} times as long as at {_MANY}.",
        {
            "verdicts": dict(zip(("same", "grows without", "epoch"), verdicts, strict=True)),
            "epoch_ratio": epoch,
            "ratio_called_from_python": called,
            "ratio_an_example_at_a_time": grown,
            "largest_batch_of_the_same_time": flat,
        },
    )


def longest_flat(sizes: Sequence[int], seconds: Sequence[float], times: float) -> int:
    """The largest size before the first that takes so many times as long as the first size.

    >>> longest_flat([1, 4, 16, 64], [1.0, 1.2, 1.9, 5.0], 2.0)
    16
    """
    longer = [one >= times * seconds[0] for one in seconds]
    return sizes[longer.index(True) - 1] if any(longer) else sizes[-1]


def _judge_ratio(data: Data, way: str, one: int, other: int) -> Estimate:
    sizes, seconds = data["sizes"][way], np.asarray(data["seconds"][way])
    return ratio(seconds[:, sizes.index(one)].tolist(), seconds[:, sizes.index(other)].tolist())


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
    figure.suptitle(f"median and range of {data['rounds']} rounds, {data['examples']}", fontsize=14)
    return figure
