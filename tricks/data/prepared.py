"""Classification sets of TensorFlow Datasets: prepared once with TensorFlow, read ever after without it."""

import contextlib
import difflib
import importlib.util
import logging
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tricks import paths
from tricks.cli import invocation
from tricks.data import bundled, decoded_cache, records
from tricks.data.raw import Raw
from tricks.errors import UserError


def read(name: str, directory: str = "", *, on_disk: bool = False) -> Raw:
    """Reads a prepared set, from its decoded arrays where they are cached, else from its records.

    Args:
        name: of the set, such as `mnist` or `emnist/letters`.
        directory: where it was prepared; empty for `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        on_disk: leave the features there, mapped into memory where decoded arrays can be cached.

    Returns:
        All examples of its train split, and of its test split where it has one.

    Raises:
        UserError: the set is unknown, not prepared, or not a classification of examples of one size.
    """
    root = data_directory(directory)
    version = _newest_version(name, root)
    if version is None:
        raise UserError(_not_prepared(name, root))
    cache, fingerprint = _cache(name, version, root)
    raw = decoded_cache.read(cache, fingerprint, on_disk=on_disk)
    if raw is not None:
        return raw
    with _readable(name, version, root):
        raw = _stored(name, version)
        if on_disk:
            kept = decoded_cache.write(cache, raw, fingerprint)
            return (decoded_cache.read(cache, fingerprint, on_disk=True) if kept else None) or raw
        features = records.in_memory(raw.features, "train")
        test = None if raw.test_features is None else records.in_memory(raw.test_features, "test")
    raw = raw._replace(features=features, test_features=test)
    decoded_cache.write(cache, raw, fingerprint)
    return raw


def prepare(name: str, *, directory: str = "", manual_directory: str = "", progress: bool = False) -> Path:
    """Downloads and prepares a set as array records, and caches its decoded arrays. Needs TensorFlow.

    Args:
        name: of the set in TensorFlow Datasets.
        directory: where to prepare it; empty for `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        manual_directory: a folder with the set's original files; what is found there is not downloaded.
        progress: show the bars of TensorFlow Datasets.

    Returns:
        The folder of the prepared set.

    Raises:
        UserError: TensorFlow is missing, or the set is unknown, no classification, or cannot be fetched.
    """
    if name in bundled.NAMES:
        raise UserError(f"data set {name!r} is bundled; it needs no preparing")
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(f"preparing a data set needs TensorFlow: {invocation.installation('tfds')}")
    root = data_directory(directory)
    if manual_directory and not Path(manual_directory).is_dir():
        raise UserError(f"--manual_dir is {manual_directory!r}; there is no such folder")
    # TensorFlow greets on stderr otherwise.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tfds = _tensorflow_datasets()
    if name.split("/")[0] not in tfds.list_builders(with_community_datasets=False):
        raise UserError(_unknown(name, tfds))
    try:
        (tfds.enable_progress_bar if progress else tfds.disable_progress_bar)()
        builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
        _check_classification(name, builder.info, tfds)
        download = tfds.download.DownloadConfig(manual_dir=manual_directory or None)
        builder.download_and_prepare(download_config=download)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"data set {name!r} cannot be prepared in {root}: {_first_line(error)}") from error
    if builder.builder_config is not None:
        name = f"{builder.name}/{builder.builder_config.name}"
    read(name, directory, on_disk=True)
    return Path(builder.data_path)


def data_directory(directory: str = "") -> Path:
    """Where prepared sets lie.

    >>> data_directory("/data").as_posix()
    '/data'
    """
    if directory:
        return paths.local("data.directory", directory)
    return paths.local("TFDS_DATA_DIR", os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def is_name(name: str) -> bool:
    """Whether a set could have that name.

    >>> is_name("emnist/letters"), is_name("/tmp/letters")
    (True, False)
    """
    return re.fullmatch(r"\w+(/[\w.-]+)?", name) is not None


def _newest_version(name: str, root: Path) -> Path | None:
    if not is_name(name):
        raise UserError(
            f"data.name is {name!r}; it must be a name, such as digits, mnist or emnist/letters, or the path of a "
            f".csv, .parquet or .npz file or of a folder of .npy files"
        )
    versions = [info.parent for info in (root / name).glob("*/dataset_info.json")]
    variants = sorted({f"{name}/{info.parents[1].name}" for info in (root / name).glob("*/*/dataset_info.json")})
    if variants and not versions:
        raise UserError(f"data.name is {name!r}, which has variants; prepared: {', '.join(variants)}")
    return max(versions, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], default=None)


def _not_prepared(name: str, root: Path) -> str:
    tfds = _tensorflow_datasets()
    if name.split("/")[0] not in tfds.list_builders(with_community_datasets=False):
        return _unknown(name, tfds)
    return f"data set {name!r} is not prepared in {root}; to prepare it: {_preparing(name, root)}"


def _preparing(name: str, root: Path) -> str:
    where = "" if root == data_directory() else f" --data_dir={root}"
    return f"{invocation.command('prepare')} {name}{where}"


def _unknown(name: str, tfds: Any) -> str:
    close = difflib.get_close_matches(name, [*bundled.NAMES, *tfds.list_builders(with_community_datasets=False)], n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    example = close[0] if close and close[0] not in bundled.NAMES else "mnist"
    return (
        f"unknown data set {name!r}; {meant}bundled: {', '.join(bundled.NAMES)}; any classification set of "
        f"TensorFlow Datasets can be prepared: {invocation.command('prepare')} {example}"
    )


def _tensorflow_datasets() -> Any:
    import tensorflow_datasets

    # It warns about optional speed-ups that are of no use once the arrays are cached.
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tensorflow_datasets


def _check_classification(name: str, info: Any, tfds: Any) -> tuple[str, str]:
    keys = info.supervised_keys
    if not _is_pair_of_names(keys) or not isinstance(info.features[keys[1]], tfds.features.ClassLabel):
        raise UserError(f"data set {name!r} is no classification: it has no pair of an example and a class label")
    feature = info.features[keys[0]]
    shape = getattr(feature, "shape", None)
    if shape is None or None in shape or not np.issubdtype(feature.np_dtype, np.number):
        raise UserError(f"data set {name!r} has examples of shape {shape}; they must be numbers of one fixed shape")
    if "train" not in info.splits and info.splits:
        raise UserError(f"data set {name!r} has no split named train; its splits: {', '.join(info.splits)}")
    return keys


def _is_pair_of_names(keys: Any) -> bool:
    return keys is not None and len(keys) == 2 and all(isinstance(key, str) for key in keys)


def _cache(name: str, version: Path, root: Path) -> tuple[Path, int]:
    """Where the decoded arrays are kept, and what they are known by."""
    path = root / "decoded" / f"{name.replace('/', '-')}-{version.name}.npz"
    return path, zlib.crc32((version / "dataset_info.json").read_bytes())


@contextlib.contextmanager
def _readable(name: str, version: Path, root: Path) -> Iterator[None]:
    again = f"remove that folder and run: {_preparing(name, root)}"
    try:
        yield
    except NotImplementedError as error:
        raise UserError(f"data set {name!r} in {version} is not stored as array records; {again}") from error
    except UserError:
        raise
    except Exception as error:  # Whatever its readers make of a damaged file.
        raise UserError(f"data set {name!r} in {version} cannot be read ({_first_line(error)}); {again}") from error


def _stored(name: str, version: Path) -> Raw:
    """All labels, and features that stay in their records."""
    tfds = _tensorflow_datasets()
    builder = tfds.builder_from_directory(str(version))
    feature, label = _check_classification(name, builder.info, tfds)
    parts = {}
    for split in [name for name in ("train", "test") if name in builder.info.splits]:
        targets = records.read_labels(builder, split, feature, label, tfds.decode.SkipDecoding())
        if targets.size and targets.min() < 0:
            raise UserError(f"the {split} split of {builder.name!r} has examples without a label; it cannot be used")
        parts[split] = records.Records(builder, split, feature), targets
    test = parts.get("test", (None, None))
    is_image = isinstance(builder.info.features[feature], tfds.features.Image)
    kind = "pixels" if is_image else "numbers"
    return Raw(
        *parts["train"], builder.info.features[label].num_classes, kind, test_features=test[0], test_targets=test[1]
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
