"""The decoded arrays of a prepared set, kept beside it."""

import contextlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tricks.data import array_files, records
from tricks.data.raw import Raw

_FIELDS = {"features": "train", "targets": "", "test_features": "test", "test_targets": ""}
"""Of `Raw`, and the split that is decoded for each."""


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
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            if int(stored["fingerprint"]) != fingerprint:
                return None  # The set was prepared anew.
            # Reading a member checks its CRC.
            stays = [field for field in _FIELDS if on_disk and field.endswith("features") and field in stored]
            arrays = {field: stored[field] for field in _FIELDS if field in stored and field not in stays}
            arrays |= {field: array_files.mapped_member(path, stored.zip, f"{field}.npy") for field in stays}
            for part in ("", "test_"):
                if len(arrays.get(f"{part}features", ())) != len(arrays.get(f"{part}targets", ())):
                    raise ValueError(f"its {part}features and {part}targets are not as many")
            kinds = "pixels" if stored["pixels"] else "numbers"
            return Raw(classes=int(stored["classes"]), kinds=kinds, **arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"the cache {path} cannot be read ({reason}); building it again")
        return None


def write(path: Path, raw: Raw, fingerprint: int) -> None:
    """Keeps a set, a few examples at a time; where that cannot be, a line says so.

    Args:
        path: of the file.
        raw: the set, with features in memory or in their records.
        fingerprint: of it.
    """
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w") as archive:
            facts = {"fingerprint": fingerprint, "pixels": raw.kinds == "pixels", "classes": raw.classes or 0}
            for name, fact in facts.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(fact))
            for name, split in _FIELDS.items():
                if getattr(raw, name) is not None:
                    _write_array(archive, name, getattr(raw, name), split)
        os.replace(temporary, path)
    except OSError as error:
        print(f"the decoded arrays cannot be cached in {path.parent} ({error.strerror}); going on without")
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write_array(archive: zipfile.ZipFile, name: str, values: Any, split: str) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False, "shape": values.shape}
        np.lib.format.write_array_header_1_0(member, header)
        for block in records.blocks(values, split):
            member.write(np.ascontiguousarray(block).data)
