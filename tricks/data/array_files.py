"""Arrays by name from a `.npz` file, or from a folder of `.npy` files. A pickle in them is never loaded."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tricks.data.roles import chosen
from tricks.errors import UserError

_LOCAL_HEADER = 30  # Bytes before the name of a member of an archive.


def read_archive(path: Path, ignore: str = "", *, mapped: bool = False) -> dict[str, np.ndarray]:
    """The members of a `.npz` file.

    Args:
        path: of the file.
        ignore: members to leave unread, with commas between.
        mapped: map them into memory, unread.

    Returns:
        Arrays by name.

    Raises:
        UserError: it is none, is damaged, or holds a pickle that is not ignored, or is compressed and to be mapped.
    """
    try:
        if mapped:
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
                used = _used([name.removesuffix(".npy") for name in members], ignore)
                if others := [name for name in used if f"{name}.npy" not in members]:
                    raise ValueError(f"{others[0]!r} in it is no array; leave it out: data.ignore={others[0]}")
                return {name: mapped_member(path, archive, f"{name}.npy") for name in used}
        with open(path, "rb") as file, _archive(np.load(file, allow_pickle=False)) as opened:
            return {name: _member(path, opened, name) for name in _used(opened.files, ignore)}
    except UserError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"data.name is {str(path)!r}, which is no .npz file that can be read: {_first_line(error)}"
        ) from error


def read_folder(path: Path, ignore: str = "") -> dict[str, np.ndarray]:
    """The `.npy` files of a folder by their names without the ending, mapped into memory.

    Args:
        path: of the folder.
        ignore: files to leave unread, by their names without the ending, with commas between.

    Returns:
        Arrays by name.

    Raises:
        UserError: one cannot be read, or holds a pickle; or a name to ignore is not there.
    """
    files = {file.stem: file for file in sorted(path.glob("*.npy"))}
    return {name: _mapped(files[name]) for name in _used([*files], ignore)}


def mapped_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of a `.npz` file, mapped into memory; unlike one that is read, its sum is not checked.

    Args:
        path: of the file.
        archive: the same, opened.
        name: of the member.

    Returns:
        The array, read only.

    Raises:
        UserError: it is compressed.
        ValueError: it is no array, or one of Python objects.
    """
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED:
        raise UserError(
            f"data.storage is 'disk', but {str(path)!r} is compressed and can only be read as a whole; save it with "
            "np.savez, or its arrays with np.save in a folder, or choose data.storage=memory"
        )
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(member.header_offset + _LOCAL_HEADER + names)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError("Python objects")
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _used(names: Sequence[str], ignore: str) -> list[str]:
    ignored = chosen(names, "data.ignore", ignore, "arrays")
    return [name for name in names if name not in ignored]


def _archive(opened: Any) -> np.lib.npyio.NpzFile:
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise ValueError("it holds one array without a name; save it with np.savez")
    return opened


def _member(path: Path, opened: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array = opened[name]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{name!r} in {str(path)!r} cannot be read: {_first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{name!r} in {str(path)!r} is no array; save it with np.savez")
    return array


def _mapped(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{str(file)!r} cannot be read: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "allow_pickle" in text or "Python objects" in text:
        return "it holds no plain array; a pickle and Python objects are never loaded, save numbers or text"
    return text
