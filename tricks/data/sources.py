"""Where examples come from: a named set, a file, a folder, or a function."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tricks.data import array_files, arrays, bundled, prepared, tables
from tricks.data.raw import Raw
from tricks.errors import UserError

_SUFFIXES = (".npz", *tables.SUFFIXES)
ON_DISK = "a prepared set, a folder of .npy files, or an uncompressed .npz or a .parquet file"


def is_path(name: str) -> bool:
    """Whether a name is the path of a person's own data, and not that of a set.

    Args:
        name: of a set, or a path.

    Returns:
        Whether it ends as such a file does, or is a folder that can be no prepared set.

    >>> is_path("prices.csv"), is_path("emnist/letters")
    (True, False)
    """
    if name.lower().endswith(_SUFFIXES):
        return True
    folder = Path(name)
    return os.sep in name and folder.is_dir() and (any(folder.glob("*.npy")) or not prepared.is_name(name))


def read_set(name: str, directory: str, missing: str, own_only: Mapping[str, str], *, on_disk: bool = False) -> Raw:
    """Reads a set by its name, bundled or prepared.

    Args:
        name: of the set.
        directory: where prepared sets lie.
        missing: what is done about missing values; no set has any.
        own_only: by field of the config, what only a person's own data can be told.
        on_disk: leave the features in their files.

    Returns:
        The examples.

    Raises:
        UserError: there is no such set, or one of those fields is given, or it is bundled and shall stay on disk.
    """
    if os.sep in name and Path(name).is_file():
        raise UserError(f"data.name is {name!r}; of files allowed: .csv, .parquet and .npz, or a folder of .npy files")
    _refuse_filling(name, missing)
    try:
        if on_disk and name in bundled.NAMES:
            raise UserError(
                f"data.storage is 'disk', but {name!r} is bundled and small; allowed: memory, or data.name of {ON_DISK}"
            )
        raw = bundled.read(name) if name in bundled.NAMES else prepared.read(name, directory, on_disk=on_disk)
    except UserError as error:
        if any(Path(name).glob("*.npy")):
            raise UserError(f"{error}; to read the folder of .npy files give it as {name + os.sep!r}") from error
        raise
    for field, value in own_only.items():
        if value:
            raise UserError(
                f"data.{field} is {value!r}, but {name!r} is a set that knows it; leave it empty, or let data.name be "
                f"the path of a .csv, .parquet or .npz file or of a folder of .npy files"
            )
    return raw


def read_own(
    name: str,
    function: Callable[[], Any] | None,
    *,
    target: str,
    task: str | None,
    ignore: str,
    missing: str,
    split_column: str,
    group_column: str,
    on_disk: bool = False,
) -> Raw:
    """Reads a person's own data.

    Args:
        name: the path of a file or folder.
        function: that is called in place of reading, if there is one.
        target: of the columns or arrays.
        task: what the loss needs, `classes` or `numbers`; None to go by the targets.
        ignore: names to leave out, with commas between.
        missing: what is done about missing values of a table.
        split_column: that tells the part of each example.
        group_column: whose examples of the same value stay together.
        on_disk: leave the features in their files; what a function gives is taken as it is, mapped arrays too.

    Returns:
        The examples.

    Raises:
        UserError: they cannot be read or used.
    """
    use = {
        "target": target,
        "task": task,
        "ignore": ignore,
        "split_column": split_column,
        "group_column": group_column,
    }
    path = Path(name)
    if on_disk and missing != "refuse":
        raise UserError(
            f"data.missing is {missing!r}, but data.storage is 'disk'; allowed: refuse; fill the values in the file, "
            f"or choose data.storage=memory"
        )
    if function is not None:
        _refuse_filling(name, missing)
        return arrays.assemble(arrays.named(function()), **use)  # type: ignore[arg-type]
    try:
        if path.suffix.lower() in tables.SUFFIXES and not path.is_dir():
            if on_disk and path.suffix.lower() != ".parquet":
                raise UserError(
                    f"data.storage is 'disk', but {name!r} can only be read as a whole; allowed: memory, or data.name "
                    f"of {ON_DISK}"
                )
            return tables.read(path, missing=missing, on_disk=on_disk, **use)  # type: ignore[arg-type]
        _refuse_filling(name, missing)
        if path.is_dir():
            found = array_files.read_folder(path, ignore)
        else:
            found = array_files.read_archive(path, ignore, mapped=on_disk)
    except FileNotFoundError as error:
        raise UserError(f"data.name is {name!r}; there is no such file") from error
    except OSError as error:
        raise UserError(f"data.name is {name!r}, which cannot be read: {error.strerror or error}") from error
    if not found:
        but = " but those of data.ignore" if ignore else ""
        raise UserError(
            f"data.name is {name!r}, which holds no arrays{but}; allowed: a .npz file or a folder of .npy files"
        )
    # What is ignored was not even read.
    return arrays.assemble(found, **use | {"ignore": ""})  # type: ignore[arg-type]


def _refuse_filling(name: str, missing: str) -> None:
    if missing != "refuse":
        raise UserError(
            f"data.missing is {missing!r}, but {name!r} is no table; allowed: refuse. Only missing values of .csv and "
            f".parquet files can be filled"
        )
