"""The decoded arrays of a prepared set, kept beside it."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tricks.cli.screen import say
from tricks.data import array_files, cache_files, records
from tricks.data.raw import Raw
from tricks.errors import UserError

_FIELDS = {"features": "train", "targets": "", "test_features": "test", "test_targets": ""}
"""Of `Raw`, and the split that is decoded for each."""
_DAMAGED = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)


def read(path: Path, fingerprint: int, *, on_disk: bool) -> Raw | None:
    """What is kept.

    Args:
        path: of the file.
        fingerprint: of the set as it is now prepared.
        on_disk: map the features into memory, unread.

    Returns:
        The examples; None where there is no such file, it belongs to a set that was prepared before, or is damaged,
        which is said.
    """
    try:
        return _read(path, fingerprint, on_disk)
    except FileNotFoundError:
        return None
    except _DAMAGED as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        say(f"the cache {path} cannot be read ({reason}); building it again")
        return None


def write(path: Path, raw: Raw, fingerprint: int) -> bool:
    """Keeps a set, a few examples at a time; where that cannot be, a line says so.

    Args:
        path: of the file.
        raw: the set, with features in memory or in their records.
        fingerprint: of it.

    Returns:
        Whether it is kept. Of several processes on a machine one writes it, and the others wait.
    """
    arrays = {name: array for name in _FIELDS if (array := getattr(raw, name)) is not None}
    facts = {"fingerprint": fingerprint, "pixels": raw.kinds == "pixels", "classes": raw.classes or 0}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = _inode(path)
        with cache_files.alone(path):
            if _inode(path) != before and _is_there(path, fingerprint):
                return True
            size = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays.values())
            cache_files.require_room(path.parent, size)
            with cache_files.written(path) as file, zipfile.ZipFile(file, "w") as archive:
                for name, fact in facts.items():
                    with archive.open(f"{name}.npy", "w") as member:
                        np.lib.format.write_array(member, np.asarray(fact))
                for name, array in arrays.items():
                    _write_array(archive, name, array)
    except OSError as error:
        reason = cache_files.reason(error)
        say(f"the decoded arrays cannot be cached in {path.parent} ({reason}); going on without")
        return False
    return True


def _inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


def _is_there(path: Path, fingerprint: int) -> bool:
    try:
        return _read(path, fingerprint, on_disk=True) is not None
    except _DAMAGED:
        return False


def _read(path: Path, fingerprint: int, on_disk: bool) -> Raw | None:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
        if int(stored["fingerprint"]) != fingerprint:
            return None  # The set was prepared anew.
        # Reading a member checks its CRC.
        stays = [field for field in _FIELDS if on_disk and field.endswith("features") and field in stored]
        arrays = {field: stored[field] for field in _FIELDS if field in stored and field not in stays}
        arrays |= {field: _mapped(path, stored.zip, field) for field in stays}
        for part in ("", "test_"):
            if len(arrays.get(f"{part}features", ())) != len(arrays.get(f"{part}targets", ())):
                raise ValueError(f"its {part}features and {part}targets are not as many")
        kinds = "pixels" if stored["pixels"] else "numbers"
        return Raw(classes=int(stored["classes"]), kinds=kinds, **arrays)


def _mapped(path: Path, archive: zipfile.ZipFile, field: str) -> np.ndarray:
    try:
        return array_files.mapped_member(path, archive, f"{field}.npy")
    except UserError as error:
        # Nobody but this module was to write it.
        raise ValueError(f"its {field} are compressed") from error


def _write_array(archive: zipfile.ZipFile, name: str, values: Any) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False, "shape": values.shape}
        np.lib.format.write_array_header_1_0(member, header)
        for block in records.blocks(values, _FIELDS[name]):
            member.write(np.ascontiguousarray(block).data)
