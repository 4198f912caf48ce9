"""The files that a run was built from, those of a person's own: kept with it, and compared when it goes on."""

import functools
import hashlib
import importlib.metadata
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tricks import data as data_sets
from tricks import own_functions
from tricks.cli.json_files import read_json, write_json
from tricks.config import Config
from tricks.data import Dataset
from tricks.data.label_noise import with_label_noise
from tricks.data.sources import is_path
from tricks.errors import UserError
from tricks.memory import bytes_of
from tricks.own_functions import OwnFunction
from tricks.training import model_parts

FILE, FOLDER = "sources.json", "sources"
_SUMMED_BYTES = 2**24
_NAMED: dict[str, Callable[[Config], str]] = {
    "model.build": lambda config: config.model.build,
    "loss.name": lambda config: config.loss.name,
    "data.name": lambda config: config.data.name,
    "data.augment.function": lambda config: config.data.augment.function,
    "mesh.rule": lambda config: config.mesh.rule,
}


class Sources(NamedTuple):
    """What of a run is a person's own."""

    functions: Mapping[str, OwnFunction]
    """By the field that names them."""
    data: Path | None
    """A file, or a folder of files."""


def find(config: Config, folders: Sequence[Path]) -> Sources:
    """Imports the functions that a config names, and finds its data.

    Args:
        config: a valid one.
        folders: where relative files are looked for, in this order.

    Returns:
        What was found.

    Raises:
        UserError: something is missing, or cannot be imported.
    """
    functions = {field: own_functions.load(field, name, folders) for field, name in _own_names(config).items()}
    if "data.name" in functions or not _is_data(config.data.name, folders):
        return Sources(functions, None)
    return Sources(functions, own_functions.find_file("data.name", config.data.name, folders))


def _own_names(config: Config) -> dict[str, str]:
    names = {field: name(config) for field, name in _NAMED.items()}
    # A file may have a colon in its name.
    return {field: name for field, name in names.items() if own_functions.is_own(name) and not is_path(name)}


def _is_data(name: str, folders: Sequence[Path]) -> bool:
    name = os.path.expanduser(name)  # Unlike a Path it keeps the slash that a folder may end with.
    return is_path(name) or ("/" in name and any(is_path(f"{folder}/{name}") for folder in folders))


def load(config: Config, sources: Sources) -> Dataset:
    """Loads the data set of a config.

    Args:
        config: a valid one, whose options are complete.
        sources: of the run.

    Returns:
        The data set, by the name that it has in the config.

    Raises:
        UserError: it cannot be loaded.
    """
    fields, own = config.data, sources.functions.get("data.name")
    task = model_parts.find_loss(config, sources.functions).takes if fields.task == "auto" else fields.task
    data = data_sets.load(
        fields.name if sources.data is None else str(sources.data),
        validation_fraction=fields.validation_fraction,
        test_fraction=fields.test_fraction,
        train_fraction=fields.train_fraction,
        seed=config.seed,
        directory=fields.directory,
        target=fields.target,
        task=task,
        ignore=fields.ignore,
        missing=fields.missing,
        normalization=fields.normalization,
        standardize_targets=fields.standardize_targets,
        split_column=fields.split_column,
        group_column=fields.group_column,
        stratify=fields.stratify,
        storage=fields.storage,
        shuffle_window=fields.shuffle_window,
        read=None if own is None else functools.partial(own, **fields.options),
    )
    return with_label_noise(data._replace(name=fields.name), fields.label_noise, config.seed)


def settle(workdir: Path, sources: Sources, data: Dataset, network: str, resuming: bool) -> None:
    """Keeps the files of a run that begins; refuses to go on with one whose files have changed.

    Args:
        workdir: the run directory, which is made or resumed.
        sources: as they are now.
        data: as it is now.
        network: fingerprint of the network and the loss, as they are now.
        resuming: whether the run was begun before.

    Raises:
        UserError: names the file that is another one now.
    """
    if not (sources.functions or sources.data):
        return
    if not resuming or not (workdir / FILE).exists():
        _keep(workdir, sources, data, network)
    else:
        _check_same(workdir, sources, data, network)


def kept(workdir: Path, config: Config) -> Sources:
    """The very functions and data that a run was made with.

    Args:
        workdir: the run directory.
        config: of the run.

    Returns:
        The functions, from their copies; and where the data lies.

    Raises:
        UserError: a copy or the data is missing or was changed since.
    """
    own = _own_names(config)
    if not own and not (workdir / FILE).exists():
        return Sources({}, None)
    stored = _read(workdir)
    functions = {}
    for field, name in own.items():
        if field not in stored["functions"]:
            raise UserError(f"--workdir {workdir} cannot be used: its {FILE} lacks {field}")
        entry, folder = stored["functions"][field], workdir / FOLDER / field
        for file, digest in entry["files"].items():
            if not (folder / file).is_file() or _digest(folder / file) != digest:
                raise UserError(f"--workdir {workdir} cannot be used: {folder / file} is missing or was changed")
        functions[field] = own_functions.load(
            field, name, (folder.resolve(),), written_in=Path(entry["folder"]), main=Path(entry["main"])
        )
    if stored["data"] is None:
        return Sources(functions, None)
    path = Path(stored["data"]["path"])
    if _digests(path) != stored["data"]["files"]:
        what = "has changed since" if path.exists() else "is not there any more"
        raise UserError(f"--workdir {workdir} cannot be used: its data {path} {what}")
    return Sources(functions, path)


def _keep(workdir: Path, sources: Sources, data: Dataset, network: str) -> None:
    for field, own in sources.functions.items():
        for relative, file in own_functions.files_of(own).items():
            copy = workdir / FOLDER / field / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    described = _described(sources, data)
    write_json(workdir / FILE, {**described, "network": network, "versions": _versions()})


def _check_same(workdir: Path, sources: Sources, data: Dataset, network: str) -> None:
    stored, now = _read(workdir), _described(sources, data)
    for field, own in now["functions"].items():
        before = stored["functions"].get(field, {}).get("files", {})
        for file in sorted({*before, *own["files"]}):
            if before.get(file) != own["files"].get(file):
                raise UserError(
                    f"--workdir {workdir} was made with another {file} ({field}), which is kept as "
                    f"{workdir / FOLDER / field / file}: choose another directory, or put that one back"
                )
    if (stored["data"] or {}).get("files") != (now["data"] or {}).get("files"):
        raise UserError(
            f"--workdir {workdir} was made with another {sources.data or 'data set'} (data.name), which has changed "
            "since: choose another directory"
        )
    check_made(workdir, sources, data, network)


def check_made(workdir: Path, sources: Sources, data: Dataset, network: str) -> None:
    """Refuses what a person's functions have made, where it is not what a run was made with.

    Args:
        workdir: the run directory.
        sources: of the run.
        data: that were loaded.
        network: fingerprint of the network and the loss.

    Raises:
        UserError: the data, the network or the loss are others, though the files are the same.
    """
    if not sources.functions:
        return
    stored = _read(workdir)
    also = "what it reads beside its Python files has changed, or it draws without a seed"
    if "data.name" in sources.functions and stored["checksum"] != _checksum(data):
        raise UserError(
            f"--workdir {workdir} cannot be used: {sources.functions['data.name'].name} (data.name) gives other data "
            f"than when the run was made; {also}"
        )
    # Another version of JAX or Flax may write the same network otherwise.
    if stored.get("versions") == _versions() and stored["network"] != network:
        raise UserError(
            f"--workdir {workdir} cannot be used: the network or the loss of {', '.join(sources.functions)} is another "
            f"one than when the run was made; {also}"
        )


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jax", "flax")}


def _described(sources: Sources, data: Dataset) -> dict[str, Any]:
    functions = {
        field: {
            "name": own.name,
            "folder": str(own.root),
            "main": str(own.main.relative_to(own.root)),
            "files": {name: _digest(file) for name, file in own_functions.files_of(own).items()},
        }
        for field, own in sources.functions.items()
    }
    path = sources.data
    return {
        "functions": functions,
        "data": None if path is None else {"path": str(path), "files": _digests(path)},
        "checksum": _checksum(data) if "data.name" in functions else None,
        "columns": list(data.columns),
        "class_names": list(data.class_names),
    }


def _read(workdir: Path) -> dict[str, Any]:
    try:
        stored = read_json(workdir / FILE)
        if not {"functions", "data", "checksum"} <= {*stored}:
            raise ValueError("it is no list of sources")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--workdir {workdir} cannot be used: its {FILE} is damaged or missing ({error})") from error
    return dict(stored)


def _digests(path: Path) -> dict[str, str]:
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    return {file.name: _digest(file) for file in files if file.is_file()}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(data: Dataset) -> int:
    total = 0
    for leaf in jax.tree.leaves((data.train, data.validation, data.test)):
        # Of what is on disk only a part at a time is in memory.
        together = max(1, _SUMMED_BYTES * len(leaf) // bytes_of(leaf))
        for start in range(0, len(leaf), together):
            total = zlib.crc32(np.ascontiguousarray(leaf[start : start + together]).view(np.uint8).data, total)
    return total
