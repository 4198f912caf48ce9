"""What an array must be to be learned from."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tricks.errors import UserError

_VALUES_AT_ONCE = 2**20


def features(name: str, tree: Any) -> Any:
    """Features as NumPy arrays of numbers.

    Args:
        name: for messages.
        tree: an array, or a pytree of arrays, of whatever library.

    Returns:
        The same pytree.

    Raises:
        UserError: one is empty, of another type, not finite, or out of the range of float32 or int32.

    >>> features("x", {"word": np.arange(3)})
    {'word': array([0, 1, 2])}
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    if not leaves:
        raise UserError(f"{name} is {described(tree)}; allowed: an array, or a pytree of arrays")
    named = {name + jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    return jax.tree.unflatten(structure, [_numbers(name, array(name, leaf)) for name, leaf in named.items()])


def array(name: str, value: Any) -> np.ndarray:
    """A value as a NumPy array with examples.

    >>> array("y", [1, 2]).shape
    (2,)
    """
    try:
        # Of torch and of pandas too.
        found = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} is {described(value)}, which is no array: {error}") from error
    if found.ndim == 0:
        raise UserError(f"{name} is {described(value)}; allowed: arrays with an example in each row")
    if found.size == 0:
        raise UserError(f"{name} of shape {found.shape} is empty; allowed: arrays with an example in each row")
    return found


def kind(array: np.ndarray) -> str:
    """The word of `Raw.kinds` for an array.

    >>> kind(np.zeros((2, 8, 8), np.uint8)), kind(np.zeros((2, 8), np.uint8)), kind(np.zeros((2, 8)))
    ('pixels', 'tokens', 'numbers')
    """
    if array.dtype == np.uint8 and array.ndim >= 3:
        return "pixels"
    return "tokens" if array.dtype.kind in "iu" else "numbers"


def column(name: str, value: Any, count: int) -> np.ndarray:
    """A word or number for each of so many examples.

    >>> column("part", np.array([b"train", b"test"]), 2).tolist()
    ['train', 'test']
    """
    found = array(name, value)
    if found.shape != (count,):
        raise UserError(f"{name} is of shape {found.shape}; allowed: ({count},), a value for each example")
    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8", "replace")
    if found.dtype.kind not in "OUbiuf":
        raise UserError(f"{name} is of type {found.dtype}; allowed: text and numbers")
    return found.astype(str) if found.dtype.kind == "O" else found


def as_many(trees: Mapping[str, Any]) -> None:
    """Raises UserError if not all arrays have the same number of examples."""
    counts = [(name, len(leaf)) for name, tree in trees.items() for leaf in jax.tree.leaves(tree)]
    first, expected = counts[0]
    for name, count in counts:
        if count != expected:
            raise UserError(
                f"{first} has {expected} examples and {name} has {count}; allowed: as many, "
                f"or leave one out with data.ignore"
            )


def alike(name: str, tree: Any, other: Any, *, of_kind: bool) -> None:
    """Raises UserError if examples of the test are not shaped as those of training, or not of their kind."""
    structure, of_other = str(jax.tree.structure(tree)), str(jax.tree.structure(other))
    if structure != of_other:
        raise UserError(f"{name} is {structure}, for the test {of_other}; allowed: the same")
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        if one.shape[1:] != two.shape[1:]:
            raise UserError(f"{name} has examples of shape {one.shape[1:]}, for the test of {two.shape[1:]}")
        if of_kind and kind(one) != kind(two):
            raise UserError(f"{name} is of type {one.dtype}, for the test of {two.dtype}; allowed: the same")


def described(value: Any) -> str:
    """What kind of thing it is, for messages."""
    return "of shape ()" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} is of type {array.dtype}; allowed for features: numbers and bool")
    if array.dtype.kind == "b" or (array.dtype.kind in "iu" and np.can_cast(array.dtype, np.int32)):
        return array
    examples = max(1, _VALUES_AT_ONCE // array[0].size)
    for start in range(0, len(array), examples):
        block = array[start : start + examples]
        bad = _out_of_range(block)
        if bad.any():
            place = np.unravel_index(bad.argmax(), block.shape)
            where = ", ".join(map(str, (start + place[0], *place[1:])))
            allowed = "finite numbers of float32" if array.dtype.kind == "f" else "integers of int32"
            raise UserError(f"{name}[{where}] is {block[place]}; allowed: {allowed}")
    return array


def _out_of_range(block: np.ndarray) -> np.ndarray:
    if block.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return ~np.isfinite(block.astype(np.float32, copy=False))
    limits = np.iinfo(np.int32)
    above = block > limits.max
    return above if block.dtype.kind == "u" else above | (block < limits.min)
