"""How many lanes a device has room for, estimated before anything is made."""

from typing import Any

import jax
import numpy as np

from tricks.losses import Batch
from tricks.memory import available, bytes_of, require_room
from tricks.training import assembly, programs
from tricks.training.assembly import Hyper, Static

_SHARE = 0.8  # Of what is free.
_WIDEST_ON_CPU = 16  # More gain little there, and lanes that have ended are trained on until others take their places.
_WIDEST = 1024


def bytes_of_lane(static: Static, hyper: Hyper, batch: Batch) -> int:
    """What a lane takes: twice its state, which a chunk reads and writes, and all that a step computes.

    XLA needs less for a step, since it lets go of what it has used.

    Args:
        static: what is fixed.
        hyper: the numbers.
        batch: shapes and types of one.

    Returns:
        Bytes.
    """
    numbers = programs.as_numbers(hyper)
    loop = jax.eval_shape(lambda h, seed: assembly.start(static, h, jax.random.key(seed)), numbers, np.uint32(0))
    step = jax.make_jaxpr(lambda h, state, batch: assembly.step(static, h, state, batch))(numbers, loop.train, batch)
    return 2 * bytes_of(_plain(loop)) + _computed(step.jaxpr)


def width(lanes: int, of_lane: int, beside: int, devices: int) -> int:
    """Lanes that are trained at once.

    Args:
        lanes: of the group.
        of_lane: bytes.
        beside: bytes that are there once.
        devices: that lanes are divided among.

    Returns:
        A number that divides over the devices.

    Raises:
        UserError: there is no room for one lane.
    """
    # Devices that are parts of a CPU share its memory.
    sharing = devices if jax.default_backend() == "cpu" else 1
    require_room(beside * sharing + of_lane * sharing, "the examples and one lane", "choose a smaller network or batch")
    free = available()
    most = lanes if free is None else int((_SHARE * free - beside * sharing) / of_lane / sharing) * devices
    widest = _WIDEST_ON_CPU if jax.default_backend() == "cpu" else _WIDEST
    each = -(-min(lanes, max(most, devices), max(widest, devices)) // devices)
    return each * devices


def _plain(tree: Any) -> Any:
    return [leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)]


def _computed(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [
            p for value in equation.params.values() for p in jax.tree.leaves(value, is_leaf=_is_jaxpr) if _is_jaxpr(p)
        ]
        if inner:
            total += max(_computed(getattr(p, "jaxpr", p)) for p in inner)
            continue
        avals = [variable.aval for variable in equation.outvars]
        total += sum(a.size * a.dtype.itemsize for a in avals if hasattr(a, "shape") and hasattr(a.dtype, "itemsize"))
    return total


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
