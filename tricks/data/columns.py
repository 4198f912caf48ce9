"""One column of a table as numbers, or as a category in each row."""

import functools
from typing import Any, NamedTuple

import numpy as np

from tricks.errors import UserError

# Of the largest magnitude: a column that varies by less has hardly a hundred different values in float32.
_FINEST = 1e-5
_LEAVE = "leave it out: data.ignore"
LARGEST = float(np.finfo(np.float32).max)
"""Of a feature."""


class Categories(NamedTuple):
    """Text, or bool, by its different values."""

    codes: np.ndarray
    """(n,), the place of each value among the names; -1 where it is missing."""
    names: list[str]
    """Sorted."""


class Bad(NamedTuple):
    """What is wrong with a column, and in which row."""

    row: int
    what: str


def is_text(column: Any) -> bool:
    """Whether it holds text or bool, directly or by a dictionary."""
    from pyarrow import types

    kind = _value_type(column.type)
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return text or types.is_boolean(kind)


def is_bool(column: Any) -> bool:
    """Whether it holds bool."""
    from pyarrow import types

    return types.is_boolean(_value_type(column.type))


def is_scalar(column: Any) -> bool:
    """Whether each of its values can be written as a word."""
    from pyarrow import types

    kind = _value_type(column.type)
    return is_text(column) or is_number(column) or types.is_temporal(kind)


def is_number(column: Any) -> bool:
    """Whether it holds integers, floating-point or decimal numbers."""
    from pyarrow import types

    kind = _value_type(column.type)
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def categories(column: Any) -> Categories:
    """The different values of a column, sorted as text.

    Args:
        column: a `pyarrow.ChunkedArray` of what can be written as text.

    Returns:
        Their names, and which each row has.

    >>> import pyarrow
    >>> categories(pyarrow.chunked_array([["b", "a", None, "b"]]))
    Categories(codes=array([ 1,  0, -1,  1], dtype=int32), names=['a', 'b'])
    """
    import pyarrow

    encoded = _plain(column).cast(pyarrow.string()).dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return Categories(np.zeros(0, np.int32), [])
    found = encoded.chunk(0).dictionary.to_pylist()
    names = sorted(found)
    place = {name: i for i, name in enumerate(names)}
    # The last one is of what is missing.
    ranks = np.array([*(place[name] for name in found), -1], np.int32)
    codes = [ranks[chunk.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)] for chunk in encoded.chunks]
    return Categories(np.concatenate(codes), names)


def numbers(column: Any) -> Any:
    """A column of numbers in a plain type, NaN as null.

    Args:
        column: a `pyarrow.ChunkedArray` of which `is_number` holds.

    Returns:
        A `pyarrow.ChunkedArray` of integers, or of floating-point numbers.
    """
    import pyarrow
    from pyarrow import compute, types

    column = _plain(column)
    if types.is_decimal(column.type):
        column = column.cast(pyarrow.float64())
    if types.is_floating(column.type):
        if types.is_float16(column.type):
            column = column.cast(pyarrow.float32())
        is_nan = compute.is_nan(column)
        if compute.any(is_nan).as_py():
            column = compute.if_else(is_nan, pyarrow.scalar(None, column.type), column)
    return column


def complete_numbers(column: Any) -> np.ndarray:
    """The values of a column of numbers, none of which is missing.

    >>> import pyarrow
    >>> complete_numbers(pyarrow.chunked_array([[1, 2], [3]])).tolist()
    [1, 2, 3]
    """
    found: np.ndarray = (column if _is_plain(column.type) else numbers(column)).to_numpy()
    return found


@functools.cache
def _is_plain(kind: Any) -> bool:
    """Asked of each column of each group of rows, thousands of times."""
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind)


def small_integer(kind: Any) -> np.dtype | None:
    """The type of NumPy for integers of at most 16 bits, all of which float32 holds exactly.

    Args:
        kind: a `pyarrow.DataType`.

    Returns:
        The type; None for another one.

    >>> import pyarrow
    >>> small_integer(pyarrow.uint8()), small_integer(pyarrow.int32())
    (dtype('uint8'), None)
    """
    from pyarrow import types

    return np.dtype(kind.to_pandas_dtype()) if types.is_integer(kind) and kind.bit_width <= 16 else None


def bits(column: Any) -> Any:
    """A column of bool as 0 and 1, where it has a value.

    >>> import pyarrow
    >>> bits(pyarrow.chunked_array([[True, None, False]])).to_pylist()
    [1, None, 0]
    """
    import pyarrow

    return _plain(column).cast(pyarrow.int8())


def is_number_text(text: str) -> bool:
    """Whether text is a number.

    >>> is_number_text("-1e3"), is_number_text("3x")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def first_null(column: Any) -> int | None:
    """The first row, from 0, without a value."""
    from pyarrow import compute

    return compute.index(column.is_null(), True).as_py() if column.null_count else None


def check_numbers(column: Any, *, zero_is_one: bool) -> Bad | str | None:
    """Looks for what a feature cannot be.

    Args:
        column: as `numbers` gives it.
        zero_is_one: what is missing will count as a 0.

    Returns:
        What is wrong: of a row, or of the column and what to do; None if nothing.

    >>> import pyarrow
    >>> check_numbers(pyarrow.chunked_array([[1.0, float("inf")]]), zero_is_one=False)
    Bad(row=1, what='inf')
    """
    from pyarrow import compute

    least, most = compute.min_max(column).as_py().values()
    if least is None:
        return f"has no value at all; {_LEAVE}"
    largest = max(abs(least), abs(most))
    if largest > LARGEST:
        bad = compute.greater(compute.abs(column), LARGEST)
        row = compute.index(bad, True).as_py()
        return Bad(row, f"{column[row].as_py():g}")
    if least == most and zero_is_one and column.null_count and least:
        return None
    return check_range(least, most)


def check_range(least: float, most: float) -> str | None:
    """Looks for a column that tells examples hardly apart.

    Args:
        least: of its values.
        most: likewise.

    Returns:
        What is wrong with it, and what to do; None if nothing.

    >>> check_range(3.0, 3.0)
    'has the one value 3; leave it out: data.ignore'
    """
    largest = max(abs(least), abs(most))
    if least == most:
        return f"has the one value {least:g}; {_LEAVE}"
    if most - least < _FINEST * largest:
        return (
            f"varies by {most - least:g} around {largest:g}, which float32 hardly tells; "
            f"subtract {least:g}, or {_LEAVE}"
        )
    return None


def misspelt_number(found: Categories) -> Bad | None:
    """The first value that is no number, of text that is otherwise numbers: nine tenths of its rows or more.

    >>> misspelt_number(Categories(np.array([0, 1, 2] * 9 + [3]), ["1", "2", "3", "3x"]))
    Bad(row=27, what='3x')
    """
    odd = np.array([not is_number_text(name) for name in found.names])
    counts = np.bincount(found.codes[found.codes >= 0], minlength=len(odd))
    if not odd.any() or 10 * counts[odd].sum() > counts.sum():
        return None
    row = int((odd[found.codes] & (found.codes >= 0)).argmax())
    return Bad(row, found.names[found.codes[row]])


def refuse_other_type(name: str, column: Any) -> None:
    """Raises UserError for a column that is neither text nor numbers."""
    from pyarrow import types

    if types.is_null(column.type):
        raise UserError(f"column {name!r} has no value at all; {_LEAVE}")
    if not is_text(column) and not is_number(column):
        raise UserError(f"column {name!r} is of type {column.type}; allowed: numbers, text and bool; {_LEAVE}")


def _value_type(kind: Any) -> Any:
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _plain(column: Any) -> Any:
    from pyarrow import types

    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column
