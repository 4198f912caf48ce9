"""The programs of a run, each compiled while the next is traced."""

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks.memory import bytes_of, require_room
from tricks.training import assembly, chunk, evaluation, shardings
from tricks.training.assembly import Hyper, Static
from tricks.training.state import LoopState, weights

Program = Callable[..., Any]


class Shapes(NamedTuple):
    """What programs are compiled for beside `Static`: pytrees of `jax.ShapeDtypeStruct`.

    Attributes:
        hyper: the numbers.
        chunks: for each length of a chunk what `chunk.run` takes after the state.
        blocks: for each shape of the counts of a block, the block.
    """

    hyper: Hyper
    chunks: dict[int, tuple[Any, ...]]
    blocks: dict[tuple[int, ...], evaluation.Block]


class Programs(NamedTuple):
    """Compiled, or about to be.

    Attributes:
        start: `start(hyper, seed) -> loop`.
        chunks: for each length `run(hyper, state, *rest) -> (state, metrics)`; the state is donated.
        evaluate: for each shape of a block `sums(weights, block)`.
        after_epoch: `after_epoch(hyper, loop, measures) -> (loop, progress)`; the loop state is donated.
        watch: for each length `watch(state, losses, first, last) -> state`, where saddles are escaped.
        loop: shapes and shardings of the state.
    """

    start: Program
    chunks: dict[int, Program]
    evaluate: dict[tuple[int, ...], Program]
    after_epoch: Program
    watch: dict[int, Program]
    loop: LoopState


def as_numbers(hyper: Hyper) -> Hyper:
    """The hyperparameters as arrays of the default types, so that other numbers are no other program.

    Args:
        hyper: Python's numbers.

    Returns:
        The same as scalars on the host.

    >>> as_numbers(Hyper({}, {"learning_rate": 1}, {}, {})).optimizer["learning_rate"].dtype
    dtype('float32')
    """
    floats = jax.dtypes.canonicalize_dtype(np.float64)
    # Steps and epochs are counted; all else is a quantity, also where a person has written 1 for 1.0.
    counted = ("warmup_steps", "total_steps", "patience")
    parts: list[dict[str, Any]] = [
        {name: np.asarray(value, np.int32 if name in counted else floats) for name, value in part.items()}
        for part in hyper
    ]
    return Hyper(*parts)


def compiled(static: Static, shapes: Shapes) -> Programs:
    """Compiles all programs of a run, in other threads; asked again for the same ones, it gives those back.

    Args:
        static: what is fixed.
        shapes: of what they take.

    Returns:
        The programs. The first call of each waits until it is there.
    """
    leaves, structure = jax.tree.flatten(shapes)
    return _compiled(static, structure, tuple((leaf.shape, np.dtype(leaf.dtype), leaf.sharding) for leaf in leaves))


@functools.lru_cache(maxsize=8)
def _compiled(static: Static, structure: Any, leaves: tuple[Any, ...]) -> Programs:
    structs = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape, dtype, sharding in leaves]
    shapes: Shapes = jax.tree.unflatten(structure, structs)
    replicated = NamedSharding(static.mesh, PartitionSpec())

    def jit(function: Callable[..., Any], placed: Any, donate: int | None = None) -> Any:
        return jax.jit(function, donate_argnums=donate, out_shardings=placed)

    def start(hyper: Hyper, seed: jax.Array) -> LoopState:
        return assembly.start(static, hyper, jax.random.key(seed))

    seed = jax.ShapeDtypeStruct((), np.uint32)
    placed: Any = replicated
    if shardings.count(static.mesh) > 1:
        placed = shardings.of_loop(static, jax.eval_shape(start, shapes.hyper, seed))
    started = jit(start, placed).trace(shapes.hyper, seed)
    loop: LoopState = shardings.with_shardings(started.out_info, placed)
    # The state, and a gradient beside it. XLA ends the process where the memory does not suffice.
    require_room(
        _bytes_needed((loop, loop.train.params)), "weights and the optimizer's averages", "choose a smaller network"
    )
    of_train = placed if placed is replicated else (placed.train, replicated)
    run = jit(functools.partial(chunk.run, static), of_train, donate=1)
    chunks = {length: run.trace(shapes.hyper, loop.train, *rest) for length, rest in shapes.chunks.items()}
    sums = jit(functools.partial(evaluation.sums, assembly.computing_network(static), static.loss), replicated)
    of_loop = placed if placed is replicated else (placed, replicated)
    after_epoch = jit(functools.partial(assembly.after_epoch, static), of_loop, donate=1)
    measures = {name: jax.ShapeDtypeStruct((), np.float32) for name in static.loss.names}
    return Programs(
        later(started, run_once(static.mesh)),
        {length: later(traced) for length, traced in chunks.items()},
        {shape: later(sums.trace(weights(loop.train), block)) for shape, block in shapes.blocks.items()},
        later(after_epoch.trace(shapes.hyper, loop, measures)),
        {length: later(_watch(static, loop, traced)) for length, traced in chunks.items() if static.escape},
        loop,
    )


def _bytes_needed(tree: Any) -> int:
    # Devices that are parts of a CPU share its memory.
    return bytes_of(tree) if jax.default_backend() == "cpu" else shardings.bytes_on_device(tree)


def _watch(static: Static, loop: LoopState, traced_chunk: Any) -> Any:
    assert static.escape is not None
    replicated = NamedSharding(static.mesh, PartitionSpec())
    _, metrics = traced_chunk.out_info
    loss = metrics.steps.measures["loss"]
    losses = jax.ShapeDtypeStruct(loss.shape, loss.dtype, sharding=replicated)
    bound = jax.ShapeDtypeStruct((), np.int32)
    watch = functools.partial(chunk.watch, static.escape.trigger)
    return jax.jit(watch, out_shardings=replicated).trace(loop.escape, losses, bound, bound)


def run_once(mesh: Mesh) -> dict[str, Any] | None:
    """Options of XLA for a program that runs once or hardly ever: compiled sooner, in place of running faster.

    Args:
        mesh: the devices.

    Returns:
        For `compiler_options`; None for XLA's own.

    >>> from tricks.training.feed import make_mesh
    >>> _ = jax.jit(lambda x: x + 1, compiler_options=run_once(make_mesh()))(1)
    """
    # Other platforms do not know the options, or mean something else by them.
    if mesh.devices.flat[0].platform != "cpu":
        return None
    # At level 0 the last bits of initial weights would be others.
    options: dict[str, Any] = {"xla_backend_optimization_level": 1}
    # The newer of XLA's two ways of making kernels takes half as long again. Later versions know no other.
    return options | ({"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {})


def quickly_compiled(mesh: Mesh) -> dict[str, Any] | None:
    """Options of XLA for a program that takes less time than its compilation: products of matrices are as fast, the
    rest is several times slower.

    Args:
        mesh: the devices.

    Returns:
        For `compiler_options`; None for XLA's own.

    >>> from tricks.training.feed import make_mesh
    >>> _ = jax.jit(lambda x: x + 2, compiler_options=quickly_compiled(make_mesh()))(1)
    """
    options = run_once(mesh)
    return None if options is None else {**options, "xla_backend_optimization_level": 0}


def later(traced: Any, options: dict[str, Any] | None = None) -> Program:
    """Compiles a traced function in another thread.

    Args:
        traced: as `jax.jit(function).trace(...)` gives it.
        options: of XLA.

    Returns:
        The compiled function; its first call waits until it is there.

    >>> int(later(jax.jit(lambda x: x + 1).trace(1))(2))
    3
    """
    lowered = traced.lower()
    future: Future[Program] = _threads().submit(lowered.compile, options)
    return lambda *arguments: future.result()(*arguments)


def wait() -> None:
    """Returns when all that `later` was given is compiled, which a signal may cut short.

    >>> later(jax.jit(lambda x: x + 2).trace(1)) and wait()
    """
    _threads().submit(lambda: None).result()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    # Tracing holds Python's lock; what XLA does with the result does not, and it divides that among the cores.
    return ThreadPoolExecutor(1)
