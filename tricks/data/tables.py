"""Examples from a table: CSV and Parquet files, whose columns are numbers, text or bool."""

import collections
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tricks.data import columns, csv_files, labels, parquet_files, row_groups, splits, table_copies
from tricks.data.raw import Raw
from tricks.data.roles import Roles, assign, listed
from tricks.errors import UserError

_FILES = {".csv": csv_files, ".parquet": parquet_files}
SUFFIXES = tuple(_FILES)
MOST_CATEGORIES = 100
_NEARLY_ALL_DIFFER = 20  # Values, of which more than one in two rows would each be a feature of its own.
_ROWS_AT_ONCE = 8192  # Rows of the features are written together, so that they stay in the cache.


class Place(NamedTuple):
    """How messages tell where a value is."""

    of: Callable[[int], str]
    """Of a row."""
    missing: str
    """What the file's format takes for a missing value."""


def read(
    path: Path,
    *,
    target: str,
    task: str | None = None,
    ignore: str = "",
    missing: str = "refuse",
    split_column: str = "",
    group_column: str = "",
    on_disk: bool = False,
) -> Raw:
    """Reads a table, an example in each row.

    Numbers are features as they are; of text and bool each different value is one, `column=value`, 1 where a row has it
    and else 0. A missing number is NaN here, a missing text none of the values. Text of more than 100 different values
    is refused, and of 20 or more in which over half the rows have a value of their own.

    Args:
        path: of a `.csv` or `.parquet` file.
        target: the column of the targets, or several of numbers or bool (0 and 1) with commas between.
        task: what the loss needs, `classes` or `numbers`; None to go by the target.
        ignore: columns to leave out, with commas between.
        missing: `refuse` missing values, or else what will be done about them.
        split_column: that tells the part of each row.
        group_column: whose rows of the same value stay together.
        on_disk: leave the features, which must be numbers then, in the `.parquet` file.

    Returns:
        The examples, features (n, columns) in float32.

    Raises:
        UserError: the file or one of its columns cannot be used.
    """
    import pyarrow

    file = _FILES[path.suffix.lower()]
    # Before all else that is read of it, so that a change between is noticed.
    opened = parquet_files.Groups(path) if on_disk else None
    names = file.names(path)
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"data.name is {str(path)!r}, which has two columns named {twice[0]!r}; rename one")
    if not target:
        raise UserError(f"data.target is empty; name the column to predict, one of {listed(names)}")
    roles = assign(
        names, target=target, split_column=split_column, group_column=group_column, ignore=ignore, of="columns"
    )
    if not roles.features:
        raise UserError(f"data.name is {str(path)!r}, of which no column is left for the features")
    used = [*roles.targets, *filter(None, (roles.split, roles.group))]
    raw = _raw(path, file.read(path, used if opened else [*roles.features, *used]), roles, task, missing, opened)
    # Several times the table, which its pool would keep.
    pyarrow.default_memory_pool().release_unused()
    return raw


def _raw(
    path: Path, table: Any, roles: Roles, task: str | None, missing: str, opened: parquet_files.Groups | None
) -> Raw:
    if not table.num_rows:
        raise UserError(f"data.name is {str(path)!r}, which has no rows")
    file = _FILES[path.suffix.lower()]
    place = Place(functools.partial(file.place, path), file.MISSING)
    labelled = _targets(table, roles.targets, task, place)
    parts = groups = None
    if roles.split:
        found = _complete(table, roles.split, "data.split_column", place)
        parts = splits.parse_parts(f"data.split_column is {roles.split!r}", found.names)[found.codes]
    if roles.group:
        groups = _complete(table, roles.group, "data.group_column", place).codes
    features: Any
    names: tuple[str, ...]
    if opened is not None:
        mapped = table_copies.check(opened, roles.features)
        features, names = row_groups.RowGroups(opened, roles.features, mapped), roles.features
    else:
        features, names = _features(table, roles.features, missing, place)
    return Raw(
        features,
        labelled.values[0],
        labelled.classes,
        "numbers",
        class_names=labelled.class_names,
        columns=names,
        parts=parts,
        groups=groups,
    )


def _targets(table: Any, names: Sequence[str], task: str | None, place: Place) -> labels.Labels:
    for name in names:
        columns.refuse_other_type(name, table.column(name))
    if len(names) == 1 and columns.is_text(table.column(names[0])):
        found = _complete(table, names[0], "data.target", place)
        if len(found.names) > MOST_CATEGORIES:
            _refuse_misspelt_number(found, names[0], place)
        if columns.is_bool(table.column(names[0])) and task == "numbers":
            return labels.label({f"column {names[0]!r}": found.codes}, task)
        return labels.of_categories(f"column {names[0]!r}", found.codes, found.names, task)
    arrays = [_target_numbers(table, name, place) for name in names]
    if len(names) == 1:
        return labels.label({f"column {names[0]!r}": arrays[0]}, task)
    # Several integers are classes only where the loss says so: each of two, of its own.
    return labels.label({f"the columns {listed(names)}": np.stack(arrays, axis=1)}, task or "numbers")


def _target_numbers(table: Any, name: str, place: Place) -> np.ndarray:
    column = table.column(name)
    if columns.is_text(column) and not columns.is_bool(column):
        raise UserError(
            f"data.target names {name!r} among others, which is not of numbers; allowed: it alone, or numbers and bool"
        )
    column = columns.bits(column) if columns.is_bool(column) else columns.numbers(column)
    _refuse_missing(column, name, "data.target", place)
    values = column.to_numpy()
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            finite = np.isfinite(values.astype(np.float32))
        if not finite.all():
            row = int(finite.argmin())
            raise UserError(
                f"column {name!r} is {values[row]:g} in {place.of(row)}; allowed: finite numbers of float32"
            )
    return values


def _complete(table: Any, name: str, field: str, place: Place) -> columns.Categories:
    column = table.column(name)
    if not columns.is_scalar(column):
        raise UserError(f"{field} is {name!r}, which is of type {column.type}; allowed: text, numbers and dates")
    _refuse_missing(column, name, field, place)
    return columns.categories(column)


def _refuse_missing(column: Any, name: str, field: str, place: Place) -> None:
    row = columns.first_null(column)
    if row is not None:
        raise UserError(
            f"column {name!r} of {field} has no value in {place.of(row)}; "
            f"fill it in, or leave that row out; missing are {place.missing}"
        )


def _features(table: Any, names: Sequence[str], missing: str, place: Place) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns as one float32 matrix, with NaN where a number is missing, and the names of its columns."""
    import pyarrow

    texts: dict[int, columns.Categories] = {}
    numbers: dict[int, Any] = {}
    titles: list[str] = []
    for name in names:
        column = table.column(name)
        columns.refuse_other_type(name, column)
        if missing == "refuse":
            _refuse_missing_feature(column, name, place)
        if columns.is_text(column):
            texts[len(titles)] = categories = _text(column, name, place)
            titles += [f"{name}={value}" for value in categories.names]
        else:
            numbers[len(titles)] = _numbers(column, name, missing, place)
            titles.append(name)
    features = np.zeros((table.num_rows, len(titles)), np.float32)
    if numbers:
        start = 0
        # Of all columns the same rows at a time, which stay in the cache.
        for batch in pyarrow.table([*numbers.values()], [*map(str, numbers)]).to_batches(_ROWS_AT_ONCE):
            block = features[start : start + batch.num_rows]
            for j, values in zip(numbers, batch.columns, strict=True):
                block[:, j] = values.to_numpy(zero_copy_only=False)
            start += batch.num_rows
    for j, categories in texts.items():
        rows = np.flatnonzero(categories.codes >= 0)
        features[rows, j + categories.codes[rows]] = 1
    return features, tuple(titles)


def _refuse_missing_feature(column: Any, name: str, place: Place) -> None:
    row = columns.first_null(column)
    if row is None:
        return
    if column.null_count == len(column):
        raise UserError(f"column {name!r} has no value at all; leave it out: data.ignore")
    raise UserError(
        f"column {name!r} has no value in {place.of(row)} ({column.null_count} rows without one); "
        f"allowed: data.missing of mean, median or zero, or leave the column out: data.ignore; "
        f"missing are {place.missing}"
    )


def _text(column: Any, name: str, place: Place) -> columns.Categories:
    found = columns.categories(column)
    _refuse_misspelt_number(found, name, place)
    if len(found.names) > MOST_CATEGORIES:
        raise UserError(
            f"column {name!r} is text of {len(found.names)} different values, such as {found.names[0]!r}; "
            f"allowed: at most {MOST_CATEGORIES}; leave it out: data.ignore"
        )
    rows = int((found.codes >= 0).sum())
    if len(found.names) >= _NEARLY_ALL_DIFFER and 2 * len(found.names) > rows:
        raise UserError(
            f"column {name!r} is text of {len(found.names)} different values in {rows} rows, such as "
            f"{found.names[0]!r}; allowed: at most half as many as rows; leave it out: data.ignore"
        )
    if len(found.names) + (found.codes < 0).any() < 2:
        what = f"has the one value {found.names[0]!r}" if found.names else "has no value at all"
        raise UserError(f"column {name!r} {what}; leave it out: data.ignore")
    return found


def _refuse_misspelt_number(found: columns.Categories, name: str, place: Place) -> None:
    wrong = columns.misspelt_number(found)
    if wrong:
        raise UserError(
            f"column {name!r} is {wrong.what!r} in {place.of(wrong.row)} and numbers elsewhere; "
            f"correct it, or empty it if it is missing, or leave the column out: data.ignore"
        )


def _numbers(column: Any, name: str, missing: str, place: Place) -> Any:
    column = columns.numbers(column)
    if missing == "refuse":
        # Of NaN too.
        _refuse_missing_feature(column, name, place)
    bad = columns.check_numbers(column, zero_is_one=missing == "zero")
    if isinstance(bad, columns.Bad):
        raise UserError(f"column {name!r} is {bad.what} in {place.of(bad.row)}; allowed: finite numbers of float32")
    if bad:
        raise UserError(f"column {name!r} {bad}")
    return column
