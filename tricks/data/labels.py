"""Targets of a person's own: classes by number, or numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tricks.errors import UserError

TASKS = (None, "classes", "numbers")
_LARGEST = np.iinfo(np.int32).max


class Labels(NamedTuple):
    """Targets, of the training file and of the test where it has one."""

    values: list[np.ndarray]
    """(n, ...) each: int32 classes from 0, or float numbers."""
    classes: int | None
    class_names: tuple[str, ...]


def label(arrays: dict[str, np.ndarray], task: str | None) -> Labels:
    """Makes targets of arrays.

    Text, bool and integers are classes, floating-point numbers are numbers, unless the task says otherwise. Classes of
    one dimension, (n,) or (n, 1), are numbered from 0 in the order of their values; those of more dimensions (of a
    sequence, of several labels) are taken as numbers of classes already.

    Args:
        arrays: by name, for messages: the targets, and those of the test.
        task: `classes`, `numbers`, or None.

    Returns:
        The targets in the order of the arrays.

    Raises:
        UserError: they cannot be what the task needs.

    >>> label({"targets": np.array(["no", "yes", "no"])}, None)
    Labels(values=[array([0, 1, 0], dtype=int32)], classes=2, class_names=('no', 'yes'))
    >>> label({"targets": np.array([3, 7])}, "numbers").values[0].tolist()
    [3.0, 7.0]
    """
    arrays = {name: _readable(name, array) for name, array in arrays.items()}
    whole = all(array.dtype.kind in "Ubiu" for array in arrays.values())
    if task == "numbers" or (task is None and not whole):
        return _numbers(arrays)
    arrays = {name: _whole(name, array) for name, array in arrays.items()}
    if all(array.ndim == 1 or array.shape[1:] == (1,) for array in arrays.values()):
        return _distinct({name: array.reshape(-1) for name, array in arrays.items()})
    return _numbered(arrays)


def of_categories(name: str, codes: np.ndarray, names: Sequence[str], task: str | None) -> Labels:
    """Makes classes of a text column.

    Args:
        name: of the column.
        codes: (n,), the place of each value among the names.
        names: the different values, sorted.
        task: `classes`, or None; text is nothing else.

    Returns:
        The one array of targets.

    Raises:
        UserError: the task is `numbers`, or there is one class only.
    """
    if task == "numbers":
        raise UserError(_text_is_no_number(name, names[0]))
    _check_several(name, names)
    return Labels([codes.astype(np.int32)], len(names), tuple(names))


def _readable(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(value, str) for value in array):
        array = array.astype(str)
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name} holds text that is not UTF-8; save it as UTF-8") from error
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "Ubiuf":
        raise UserError(f"{name} is of type {array.dtype}; allowed: numbers, bool and text")
    if array.dtype.kind == "U" and array.shape[1:] not in ((), (1,)):
        raise UserError(f"{name} is text of shape {array.shape}; allowed: one value for each example")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32, copy=False))
        if not finite.all():
            place = np.unravel_index(finite.argmin(), array.shape)
            where = ", ".join(map(str, place))
            raise UserError(f"{name}[{where}] is {array[place]:g}; allowed: finite numbers of float32")
    return array


def _numbers(arrays: dict[str, np.ndarray]) -> Labels:
    values = []
    for name, array in arrays.items():
        if array.dtype.kind == "U":
            raise UserError(_text_is_no_number(name, str(array.reshape(-1)[0])))
        values.append(array if array.dtype.kind == "f" else array.astype(np.float64))
    name, first = next(iter(arrays.items()))
    if (first == first[:1]).all():
        raise UserError(f"{name} is the same for all examples; allowed: targets that differ")
    return Labels(values, None, ())


def _text_is_no_number(name: str, example: str) -> str:
    return (
        f"{name} is text, such as {example!r}; the loss needs numbers: name another target, or choose a loss of classes"
    )


def _whole(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    whole = np.round(array)
    if not np.array_equal(whole, array):
        place = np.unravel_index((whole != array).argmax(), array.shape)
        raise UserError(
            f"{name} holds {array[place]:g}, no class; the loss needs classes: text or whole numbers, "
            f"or choose a loss of numbers"
        )
    return whole.astype(np.int64)


def _distinct(arrays: dict[str, np.ndarray]) -> Labels:
    name = next(iter(arrays))
    if len({array.dtype.kind == "U" for array in arrays.values()}) > 1:
        raise UserError(f"{' and '.join(arrays)} are text and numbers; allowed: both of one kind")
    names, codes = np.unique(np.concatenate([*arrays.values()]), return_inverse=True)
    texts = tuple(str(value).lower() if names.dtype.kind == "b" else str(value) for value in names)
    _check_several(name, texts)
    values = np.split(codes.astype(np.int32), np.cumsum([len(array) for array in arrays.values()])[:-1])
    return Labels(values, len(names), texts)


def _numbered(arrays: dict[str, np.ndarray]) -> Labels:
    for name, array in arrays.items():
        if array.min() < 0 or array.max() >= _LARGEST:
            wrong = array.min() if array.min() < 0 else array.max()
            raise UserError(f"{name} of shape {array.shape} holds {wrong}; allowed: classes numbered from 0")
    classes = max(int(array.max()) for array in arrays.values()) + 1
    if classes < 2:
        raise UserError(f"{next(iter(arrays))} holds nothing but 0; allowed: two classes or more")
    return Labels([array.astype(np.int32) for array in arrays.values()], classes, ())


def _check_several(name: str, names: Sequence[str]) -> None:
    if len(names) < 2:
        raise UserError(f"{name} has the one class {names[0]!r}; allowed: two classes or more")
