"""A function as it is at the moment, as a value: its arrays beside it, and what is kept of it holds none of them."""

import dataclasses
import weakref
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tricks.curvature.jaxprs import described, evaluated, lifted


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """What a function computes of its arrays and arguments; the same object wherever it is the same."""

    traced: Any
    """A function of flat arrays and arguments, traced."""
    outputs: Any
    """The structure of what it returns."""


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["program"])
@dataclasses.dataclass(frozen=True)
class Captured:
    """A function with the arrays that it closes over, for arguments of certain shapes: a pytree, so `jit` takes it."""

    program: Program
    arrays: list[jax.Array]

    def __call__(self, *arguments: Any) -> Any:
        """The function, without derivatives of its own."""
        flat = evaluated(self.program.traced, jax.tree.leaves((self.arrays, arguments)))
        return jax.tree.unflatten(self.program.outputs, flat)


# Compiled programs are keyed by these, and keep them alive.
_PROGRAMS: weakref.WeakValueDictionary[Hashable, Program] = weakref.WeakValueDictionary()


def captured(function: Callable[..., Any], *arguments: Any) -> Captured:
    """Traces a function, with all that it closes over as it is now.

    Functions that compute the same have the same program, so that nothing is compiled anew for another object, or for
    other arrays of the same shapes. Where arrays or numbers have changed, so does what is computed.

    Args:
        function: of arrays.
        arguments: arrays, or their shapes and types.

    Returns:
        `Captured`.

    >>> def of(shift):
    ...     return lambda x: x + shift
    >>> one, other = (captured(of(shift), 1.0) for shift in jnp.arange(2.0))
    >>> one.program is other.program, float(call(one, 1.0)), float(call(other, 1.0))
    (True, 1.0, 2.0)
    """
    # An object of its own: what JAX keeps of a trace, it keeps by the function.
    traced, shape = jax.make_jaxpr(lambda *a: function(*a), return_shape=True)(*arguments)
    description, arrays = described(traced)
    structures = jax.tree.structure(arguments), jax.tree.structure(shape)
    arrays = [_as_array(array) for array in arrays]
    program = _PROGRAMS.get((description, structures))
    if program is None:
        alone = jax.make_jaxpr(lifted(traced))(arrays, *jax.tree.leaves(arguments))
        program = Program(alone, structures[1])
        # Arrays of which no argument could be made are in the program, which then is of this moment alone.
        if not described(alone)[1]:
            _PROGRAMS[description, structures] = program
    return Captured(program, arrays)


def _as_array(value: Any) -> jax.Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the loss closes over a {type(value).__name__}; allowed: arrays and numbers (what a Ref holds: ref[...])"
        ) from error


@jax.jit
def call(function: Captured, *arguments: Any) -> Any:
    """Compiles and runs it.

    >>> call(captured(jnp.add, 1.0, 2.0), 3.0, 4.0).tolist()
    7.0
    """
    return function(*arguments)
