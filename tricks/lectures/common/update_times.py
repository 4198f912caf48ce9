"""How long updates by gradient descent take, in processes of their own."""

import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks import losses, models
from tricks.data import load

_HIDDEN, _RATE = (128, 128), 0.01
# A batch above this is called once in a round, for it takes long.
_CALLS, _LARGE = 9, 1024
# What a process was told; the environment passes to another one by itself.
_SETTINGS = ("jax_platforms", "jax_num_cpu_devices")


class Times(NamedTuple):
    """Of one process."""

    loops: list[list[float]]
    """Seconds of an update, (rounds, sizes), in a loop within one program."""
    calls: list[list[float]]
    """The same with a call of the program for each update."""
    busy: float
    """Cores that computed at a time, the mean over the loops."""


def measure(images: str, sizes: Sequence[int], rounds: int, work: int, *, one_by_one: bool = False) -> Times:
    """Seconds of an update for each round and each size of the batch.

    Args:
        images: the set of examples.
        sizes: of the batches.
        rounds: how often all sizes take their turns.
        work: examples in a measurement, so that each takes as long; one update at least.
        one_by_one: take the gradients of a batch's examples one after the other.

    Returns:
        Those in a loop, and those with a call for each update.
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
    loops, calls, busy = [], [], []
    for _ in range(rounds):
        began, computed = time.perf_counter(), time.process_time()
        loops.append([seconds(size, max(work // size, 1)) for size in sizes])
        busy.append((time.process_time() - computed) / (time.perf_counter() - began))
        calls.append(
            [float(np.median([seconds(size, 1) for _ in range(_CALLS if size <= _LARGE else 1)])) for size in sizes]
        )
    return Times(loops, calls, float(np.mean(busy)))


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


def in_a_process(*tasks: Callable[[], Times], one_core: bool = False) -> list[Times]:
    """Computes in a process of its own, one after the other.

    Args:
        tasks: which can be pickled.
        one_core: it gets one core; otherwise it has the devices and the cores of this one. The threads of a process
            are as many as its cores when it starts, so that this one cannot lay its own aside.

    Returns:
        What the tasks return.
    """
    settings = {name: getattr(jax.config, name) for name in _SETTINGS}
    prepare = _keep_one_core if one_core else functools.partial(_keep_settings, settings)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), prepare) as alone:
        return [alone.submit(task).result() for task in tasks]


def _end_with(parent: int) -> None:
    """Ends this process where the one that waits for it is gone: Ctrl-C ends that one at once."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _keep_settings(settings: dict[str, Any]) -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for name, value in settings.items():
        jax.config.update(name, value)
    # The other process may hold most of the memory of an accelerator.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _keep_one_core() -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jax.config.update("jax_platforms", "cpu")
