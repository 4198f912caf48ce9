"""A loss and its gradient as they are at the moment, with derivatives that need nothing but their values."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tricks.curvature import trees
from tricks.curvature.captured import Captured, captured
from tricks.curvature.jaxprs import calls_back, coarsest, evaluated, pruned, steps

ValueAndField = Callable[..., tuple[jax.Array, Any]]


@partial(jax.tree_util.register_dataclass, data_fields=["functions"], meta_fields=["shapes"])
@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A loss and its vector field, for batches of each shape: a pytree, so `jit` takes it as an argument."""

    shapes: tuple[Hashable, ...]
    functions: tuple[Captured, ...]
    """(chosen, rest, batch, vector) -> the loss, the field, and the product of its derivative with the vector."""

    def loss(self, chosen: Any, rest: Any, *batch: Any) -> jax.Array:
        """Of the two parts of the parameters, as `trees.split` gives them."""
        return _loss(self._of(batch), len(jax.tree.leaves(chosen)))(self._of(batch).arrays, chosen, rest, batch)

    def field(self, chosen: Any, rest: Any, *batch: Any) -> Any:
        """Likewise the vector field."""
        return _field(self._of(batch), len(jax.tree.leaves(chosen)))(self._of(batch).arrays, chosen, rest, batch)

    @property
    def precision(self) -> float:
        """The epsilon of the coarsest type that it computes in."""
        return max(coarsest(function.program.traced) for function in self.functions)

    @property
    def calls_back(self) -> bool:
        """Whether it calls Python."""
        return any(calls_back(function.program.traced) for function in self.functions)

    def _of(self, batch: Any) -> Captured:
        return self.functions[self.shapes.index(_shapes(batch))]


def snapshot(
    value_and_field: ValueAndField,
    chosen: Any,
    rest: Any,
    groups: Sequence[Any] | None = None,
    shares: Sequence[jax.Array] | None = None,
) -> Snapshot:
    """Captures a loss and its vector field.

    Args:
        value_and_field: `(chosen, point, rest, *batch) -> (loss, field)`; the field is that at `chosen`, of which what
            is not to move with it is taken at `point`.
        chosen: the part of the parameters that moves, None at the other leaves.
        rest: the other part.
        groups: batches as `grouped` gives them; None for a loss of the parameters alone.
        shares: likewise.

    Returns:
        `Snapshot`.

    Raises:
        TypeError: for a loss without a second derivative, as JAX raises it.

    >>> cubes = snapshot(lambda w, point, rest: (jnp.sum(w**3), 3 * w**2), jnp.ones(2), None)
    >>> float(cubes.loss(2 * jnp.ones(2), None)), cubes.field(2 * jnp.ones(2), None).tolist()
    (16.0, [12.0, 12.0])
    >>> jax.jvp(lambda w: cubes.field(w, None), (jnp.ones(2),), (jnp.array([1.0, 0.0]),))[1].tolist()
    [6.0, 0.0]
    """

    def whole(chosen: Any, rest: Any, batch: Any, vector: Any) -> tuple[jax.Array, Any, Any]:
        def of_chosen(moving: Any) -> tuple[Any, jax.Array]:
            loss, field = value_and_field(moving, chosen, rest, *batch)
            return field, loss

        field, product, loss = jax.jvp(of_chosen, (chosen,), (vector,), has_aux=True)
        return loss, field, product

    functions: dict[Hashable, Captured] = {}
    # TensorFloat-32 and bfloat16 products, the default of some accelerators, keep too few digits for curvature.
    with jax.default_matmul_precision("highest"):
        for batch in _one_of_each(groups, shares):
            if _shapes(batch) not in functions:
                function = captured(whole, chosen, rest, batch, chosen)
                # JAX says so only where it is used.
                if any(eqn.primitive.name == "custom_lin" for eqn in steps(function.program.traced)):
                    raise TypeError("can't apply forward-mode autodiff (jvp) to a custom_vjp function.")
                functions[_shapes(batch)] = function
    return Snapshot(tuple(functions), tuple(functions.values()))


def _one_of_each(groups: Sequence[Any] | None, shares: Sequence[jax.Array] | None) -> list[Any]:
    if groups is None or shares is None:
        return [()]
    first = partial(jax.tree.map, lambda leaf: leaf[0])
    return [
        (group if len(share) == 1 else jax.eval_shape(first, group),)
        for group, share in zip(groups, shares, strict=True)
    ]


def _shapes(batch: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(batch)
    return structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


def _loss(function: Captured, leaves: int) -> Callable[..., jax.Array]:
    @jax.custom_jvp
    def loss(*arguments: Any) -> jax.Array:
        return _part(function, [True] + 2 * leaves * [False], arguments)[0]

    @loss.defjvp
    def slope(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        value, gradient = loss(*primals), _field(function, leaves)(*primals)
        return value, trees.dot(gradient, tangents[1]).astype(value.dtype)

    return loss


def _field(function: Captured, leaves: int) -> Callable[..., Any]:
    @jax.custom_jvp
    def field(*arguments: Any) -> Any:
        found = _part(function, [False] + leaves * [True] + leaves * [False], arguments)
        return jax.tree.unflatten(jax.tree.structure(arguments[1]), found)

    @field.defjvp
    def product(primals: Any, tangents: Any) -> tuple[Any, Any]:
        found = evaluated(function.program.traced, jax.tree.leaves((primals, tangents[1])))
        _, *values = jax.tree.unflatten(function.program.outputs, found)
        return tuple(values)

    return field


def _part(function: Captured, wanted: list[bool], arguments: Any) -> list[Any]:
    """Some outputs, and no more work than they need; of the vector none do."""
    shorter, needed = pruned(function.program.traced, wanted)
    leaves = jax.tree.leaves(arguments)
    return evaluated(shorter, [leaf for leaf, need in zip(leaves, needed, strict=False) if need])
