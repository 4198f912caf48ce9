"""Any pytree as plain nested dicts of arrays, and back: what checkpoints, masks and optimizers take alike."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = [
    "Form",
    "Names",
    "form_of",
    "forms_of",
    "name_of",
    "nest",
    "pick",
    "require_arrays",
    "require_distinct",
    "require_floating",
    "settle",
    "strong",
]

Names = tuple[str, ...]


class Form(NamedTuple):
    """What a pytree was before it became plain: the names of its leaves from the root, and its structure."""

    name: str  # Of the tree, for messages.
    names: tuple[Names, ...]
    structure: Any
    is_plain: bool

    def to_plain(self, tree: Any) -> dict[str, Any]:
        """Nested dicts of the leaves of a pytree of this structure."""
        return nest(self.names, map(strong, self._leaves(tree)))

    def from_plain(self, plain: dict[str, Any]) -> Any:
        """The pytree that nested dicts stand for."""
        return plain if self.is_plain else jax.tree.unflatten(self.structure, pick(self.name, plain, self.names))

    def settle(self, before: dict[str, Any], tree: Any) -> dict[str, Any]:
        """As `to_plain`, in the types of the dicts before."""
        return nest(self.names, settle(self.names, pick(self.name, before, self.names), self._leaves(tree)))

    def _leaves(self, tree: Any) -> list[Any]:
        leaves, structure = jax.tree.flatten(tree)
        if structure != self.structure:
            raise ValueError(f"{self.name} are of structure {structure}; allowed: that of init, {self.structure}")
        return leaves


def form_of(name: str, tree: Any) -> Form:
    """The form of a pytree.

    Args:
        name: of the tree, for messages.
        tree: of any leaves.

    Returns:
        Its form; a leaf at the root is named `value`.

    Raises:
        ValueError: two leaves would have one name.

    >>> form = form_of("params", [jnp.ones(2), {"b": jnp.zeros(3)}])
    >>> form.names
    (('0',), ('1', 'b'))
    >>> form.from_plain({"0": "first", "1": {"b": "second"}})
    ['first', {'b': 'second'}]
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = tuple(tuple(map(name_of, path)) or ("value",) for path, _ in paths)
    require_distinct(name, names)
    plain: Any = jax.tree.structure(nest(names, range(len(names))))
    return Form(name, names, structure, plain == structure)


def forms_of(draw: Callable[[jax.Array], tuple[Any, Any]], instead: str) -> tuple[Form, Form]:
    """The forms of what a network draws.

    Args:
        draw: from a key to the parameters and the model state, any pytrees; it is traced, not run.
        instead: what to do about leaves that are no arrays, for the message.

    Returns:
        Those of both.

    Raises:
        ValueError: there are leaves that are no arrays, or parameters that cannot be trained, or none.

    >>> of_params, of_state = forms_of(lambda key: ([jax.random.normal(key, (2,))], {}), "take them out")
    >>> of_params.to_plain([jnp.ones(2)]), of_state.names
    ({'0': Array([1., 1.], dtype=float32)}, ())
    """
    found: list[Form] = []

    def describe(key: jax.Array) -> list[Any]:
        drawn = draw(key)
        for name, tree in zip(("params", "model_state"), drawn, strict=True):
            found.append(form_of(name, tree))
            require_arrays(name, found[-1].names, jax.tree.leaves(tree), instead)
        return jax.tree.leaves(drawn[0])

    params = jax.eval_shape(describe, jax.random.key(0))
    of_params, of_state = found
    require_floating(of_params.names, params)
    return of_params, of_state


def name_of(key: Any) -> str:
    """The text of a key: an attribute, an index, a key of a dict or of JAX; parts of a tuple are joined by dots.

    >>> name_of(3), name_of(("kernel", "u")), name_of(jax.tree_util.GetAttrKey("bias"))
    ('3', 'kernel.u', 'bias')
    """
    if isinstance(key, tuple):
        return ".".join(map(name_of, key))
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return name_of(getattr(key, attribute))
    return str(key)


def nest(names: Iterable[Names], leaves: Iterable[Any]) -> dict[str, Any]:
    """Nested dicts of leaves by their names.

    >>> nest([("a", "0"), ("b",)], [1, 2])
    {'a': {'0': 1}, 'b': 2}
    """
    tree: dict[str, Any] = {}
    for (*outer, last), leaf in zip(names, leaves, strict=True):
        node = tree
        for part in outer:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def pick(name: str, tree: dict[str, Any], names: Sequence[Names]) -> list[Any]:
    """Leaves by their names; the inverse of `nest`.

    Args:
        name: of the tree, for the message.
        tree: nested dicts.
        names: of all its leaves.

    Returns:
        The leaves in the order of the names.

    Raises:
        ValueError: a leaf is missing.

    >>> pick("params", {"a": {"0": 1}, "b": 2}, [("b",), ("a", "0")])
    [2, 1]
    """
    leaves = []
    for path in names:
        node: Any = tree
        for part in path:
            if not isinstance(node, dict) or part not in node:
                raise ValueError(
                    f"{name} have no {'/'.join(path)!r}; allowed: the structure that this network's init gives"
                )
            node = node[part]
        leaves.append(node)
    return leaves


def require_distinct(name: str, names: Sequence[Names]) -> None:
    """Refuses names that would put two leaves in one place.

    Args:
        name: of the tree, for the message.
        names: of all leaves.

    Raises:
        ValueError: names the place.

    >>> require_distinct("params", [("a", "0"), ("a", "0")])
    Traceback (most recent call last):
    ...
    ValueError: params have two leaves of the name 'a/0'; allowed: keys whose text differs
    """
    taken: set[Names] = set()
    for path in names:
        if path in taken or any(path[:length] in names for length in range(1, len(path))):
            raise ValueError(f"{name} have two leaves of the name {'/'.join(path)!r}; allowed: keys whose text differs")
        taken.add(path)


def require_arrays(name: str, names: Iterable[Names], leaves: Iterable[Any], instead: str) -> None:
    """Refuses leaves that are no arrays, and keys of random numbers.

    Args:
        name: of the tree, for the message.
        names: of its leaves.
        leaves: of any kind.
        instead: what to do, for the message.

    Raises:
        ValueError: names the leaf.

    >>> require_arrays("params", [("activation",)], [max], "keep it in a closure")
    Traceback (most recent call last):
    ...
    ValueError: params have <built-in function max> at 'activation'; allowed: arrays; keep it in a closure
    """
    for path, leaf in zip(names, leaves, strict=True):
        if not isinstance(leaf, int | float) and not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise ValueError(f"{name} have {leaf!r} at {'/'.join(path)!r}; allowed: arrays; {instead}")
        if hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ValueError(
                f"{name} have a random key at {'/'.join(path)!r}, which would draw the same numbers at every step; "
                "allowed: arrays; take keys from rng, a new one at each step"
            )


def require_floating(names: Sequence[Names], leaves: Iterable[Any]) -> None:
    """Refuses parameters that cannot be trained.

    Args:
        names: of the parameters.
        leaves: arrays or their shapes.

    Raises:
        ValueError: there are none, or one is not of floating numbers, which it names.

    >>> require_floating([("table",)], [jnp.arange(3)])
    Traceback (most recent call last):
    ...
    ValueError: parameter 'table' is of int32; allowed: floating numbers, which have gradients; keep others in the \
model state
    """
    if not names:
        raise ValueError("the network has no parameters; allowed: at least one array to train")
    for path, leaf in zip(names, leaves, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"parameter {'/'.join(path)!r} is of {leaf.dtype}; allowed: floating numbers, which have gradients; "
                "keep others in the model state"
            )


def settle(names: Sequence[Names], old: Iterable[Any], new: Iterable[Any]) -> list[jax.Array]:
    """A new model state in the types of the old one, so that a step leaves the kind of state that it found.

    Args:
        names: of the leaves, for the message.
        old: leaves before a step.
        new: and after it.

    Returns:
        The new leaves.

    Raises:
        ValueError: a leaf has another shape now, or floating numbers where there were integers.

    >>> settle([("mean",)], [jnp.zeros(2, jnp.bfloat16)], [jnp.ones(2)])
    [Array([1, 1], dtype=bfloat16)]
    """
    settled = []
    for path, before, after in zip(names, old, new, strict=True):
        if jnp.shape(before) != jnp.shape(after) or (_is_floating(after) and not _is_floating(before)):
            raise ValueError(
                f"model state {'/'.join(path)!r} was {_described(before)} and is {_described(after)} after a step; "
                "allowed: one shape and kind of number for all steps"
            )
        settled.append(jnp.asarray(after, before.dtype))
    return settled


def strong(leaf: Any) -> jax.Array:
    """An array whose type no other argument changes, as one of a Python number would."""
    return jnp.asarray(leaf, jnp.result_type(leaf))


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _described(leaf: Any) -> str:
    return f"{jnp.result_type(leaf)}[{','.join(map(str, jnp.shape(leaf)))}]"
