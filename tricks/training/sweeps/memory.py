"""How many lanes a device has room for, estimated before anything is made."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from tricks.losses import Batch
from tricks.memory import available, bytes_of, require_room
from tricks.training import assembly, programs
from tricks.training.assembly import Hyper, Static

_SHARE = 0.8  # Of what is free.
# More operations than these in a step are faster with fewer lanes at once. More lanes than 8 gain little, and those
# that have ended are trained on until others take their places.
_ON_CPU = ((8e6, 8), (150e6, 4))
_WIDEST = 1024


class Lane(NamedTuple):
    """What one lane needs."""

    bytes: int
    """Twice its state, which a chunk reads and writes, and all that a step computes: more than XLA takes for a step,
    since that lets go of what it has used."""
    operations: float
    """Of the matrix products of a step; infinite where there are convolutions."""


def of_lane(static: Static, hyper: Hyper, batch: Batch) -> Lane:
    """What a lane needs, as far as its trace tells.

    Args:
        static: what is fixed.
        hyper: the numbers.
        batch: shapes and types of one.

    Returns:
        `Lane`.
    """
    numbers = programs.as_numbers(hyper)
    loop = jax.eval_shape(lambda h, seed: assembly.start(static, h, jax.random.key(seed)), numbers, np.uint32(0))
    step = jax.make_jaxpr(lambda h, state, batch: assembly.step(static, h, state, batch))(numbers, loop.train, batch)
    return Lane(2 * bytes_of(_plain(loop)) + _computed(step.jaxpr), _operations(step.jaxpr))


def width(lanes: int, lane: Lane, beside: int, devices: int) -> int:
    """Lanes that are trained at once.

    Args:
        lanes: of the group.
        lane: what each needs.
        beside: bytes that are there once.
        devices: that lanes are divided among.

    Returns:
        A number that divides over the devices.

    Raises:
        UserError: there is no room for one lane.
    """
    # Devices that are parts of a CPU share its memory.
    sharing = devices if jax.default_backend() == "cpu" else 1
    require_room(
        beside * sharing + lane.bytes * sharing, "the examples and one lane", "choose a smaller network or batch"
    )
    free = available()
    most = lanes if free is None else int((_SHARE * free - beside * sharing) / lane.bytes / sharing) * devices
    widest = devices * (widest_on_cpu(lane) if jax.default_backend() == "cpu" else _WIDEST)
    each = -(-min(lanes, max(most, devices), widest) // devices)
    return each * devices


def widest_on_cpu(lane: Lane) -> int:
    """How many lanes at once pay on a core, as it was measured: products of small matrices, and what is done for each
    operation beside it, gain by more lanes; large ones use all cores by themselves, and XLA is slower at many of them.

    Args:
        lane: what each needs.

    Returns:
        8, 4 or 1.
    """
    return next((lanes for most, lanes in _ON_CPU if lane.operations <= most), 1)


def _plain(tree: Any) -> Any:
    return [leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)]


def _computed(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = _inner(equation)
        if inner:
            total += max(_computed(getattr(p, "jaxpr", p)) for p in inner)
            continue
        avals = [variable.aval for variable in equation.outvars]
        total += sum(a.size * a.dtype.itemsize for a in avals if hasattr(a, "shape") and hasattr(a.dtype, "itemsize"))
    return total


def _operations(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "conv_general_dilated":
            return math.inf
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        total += sum(_operations(getattr(inner, "jaxpr", inner)) for inner in _inner(equation))
    return total


def _inner(equation: Any) -> list[Any]:
    return [p for value in equation.params.values() for p in jax.tree.leaves(value, is_leaf=_is_jaxpr) if _is_jaxpr(p)]


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
