"""The one interface to all examples, and how their parts are made."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from tricks.data import imputation, labels, on_disk, sources, splits
from tricks.data.normalization import NORMALIZATIONS, SUMMED_VALUES, gather, statistics, target_statistics
from tricks.data.raw import Raw
from tricks.errors import UserError


class Split(NamedTuple):
    """Examples on the host."""

    features: Any
    """Pytree of arrays (n, ...): float32, or int32 for tokens."""
    targets: np.ndarray
    """(n, ...): int32 classes, or float32 numbers."""


class Dataset(NamedTuple):
    """A data set ready for training."""

    name: str
    classes: int | None
    """Number of classes; None for a regression."""
    train: Split
    validation: Split
    test: Split
    feature_mean: Any
    """Of the training part, in the pytree and shape of one example; None in place of what is not normalized."""
    feature_scale: Any
    """What the centred features were divided by; None likewise."""
    class_names: tuple[str, ...] = ()
    """Of a person's own classes, in the order of their numbers."""
    columns: tuple[str, ...] = ()
    """Names of the features of a table."""
    target_mean: np.ndarray | None = None
    """Of the training part of a regression, in the shape of one target, float64."""
    target_scale: np.ndarray | None = None
    """What the centred targets of a regression were divided by."""


def load(
    name: str,
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    train_fraction: float = 1.0,
    seed: int = 0,
    directory: str = "",
    target: str = "",
    task: str | None = None,
    ignore: str = "",
    missing: str = "refuse",
    normalization: str = "feature",
    standardize_targets: bool = True,
    split_column: str = "",
    group_column: str = "",
    stratify: str = "auto",
    storage: str = "memory",
    shuffle_window: int = on_disk.WINDOW,
    read: Callable[[], Any] | None = None,
) -> Dataset:
    """Loads a data set by its name, or a person's own by the path of a file.

    Features keep their shapes and are normalized, x~ = (x - m) / s, with mean and standard deviation of the training
    part only, as `normalization.statistics` says. Targets of a regression are standardized by the training part too, so
    that a mean squared error of 1 is that of predicting the mean.

    Args:
        name: `digits`, `breast_cancer`, `diabetes` (bundled with scikit-learn), a prepared classification set of
            TensorFlow Datasets, or the path of a `.csv`, `.parquet` or `.npz` file or of a folder of `.npy` files.
        validation_fraction: share of the training examples held out for validation.
        test_fraction: share of all examples held out for the test, always the same, where the source has no test part.
        train_fraction: share of what remains that is trained on; a smaller one is a part of a larger one.
        seed: draws the validation examples, and those that are trained on.
        directory: where prepared sets lie; empty for `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        target: column of a table, or array, to predict; of a table several with commas between.
        task: what the loss needs, `classes` or `numbers`; None to go by a person's own targets: text, bool and integers
            are classes. A named set has its own.
        ignore: columns or arrays to leave out, with commas between.
        missing: `refuse` missing values of a table, or fill numbers by `mean` or `median` of the training part or with
            `zero`; a missing text is then none of the values.
        standardize_targets: whether targets that are numbers are; otherwise they stay as they are, as probabilities
            must.
        normalization: of each dimension (`feature`), over all positions of the last axis (`channel`), or `none`.
        split_column: column or array that says train, validation or test; a part it does not name is drawn as ever.
        group_column: column or array whose examples of the same value are all held out or all not.
        stratify: hold out each class in its share: `yes`, `no`, or `auto`: of a person's own classes without groups.
        storage: `memory`, or `disk` for features that stay in their files: `tricks.data.stored.Stored` arrays.
        shuffle_window: of a set on disk, how many training examples are shuffled together.
        read: a function that gives the arrays in place of the name, as `arrays.named` says.

    Returns:
        The three splits. Those of named sets are the same as ever.

    Raises:
        UserError: the source is unknown or cannot be used, or a split would be empty.

    >>> digits = load("digits")
    >>> digits.train.features.shape, digits.validation.features.shape, digits.test.features.shape
    ((1294, 8, 8, 1), (144, 8, 8, 1), (359, 8, 8, 1))
    >>> dots = load("dots", read=lambda: (np.eye(20), np.arange(20) % 2))
    >>> sorted(dots.test.targets.tolist()), dots.class_names
    ([0, 0, 1, 1], ('0', '1'))
    """
    _check("task", task, labels.TASKS)
    _check("missing", missing, imputation.MISSING)
    _check("normalization", normalization, NORMALIZATIONS)
    _check("stratify", stratify, splits.STRATIFY)
    _check("storage", storage, on_disk.STORAGES)
    stays = storage == "disk"
    own = read is not None or sources.is_path(name)
    use = {"target": target, "ignore": ignore, "split_column": split_column, "group_column": group_column}
    if own:
        with _naming(name):
            raw = sources.read_own(name, read, task=task, missing=missing, on_disk=stays, **use)
    else:
        raw = sources.read_set(name, directory, missing, use, on_disk=stays)
    rows = splits.divide(
        name,
        raw,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        train_fraction=train_fraction,
        seed=seed,
        stratified=_is_stratified(raw, own, stratify),
    )
    if raw.columns and missing != "refuse":
        with _naming(name):
            imputation.fill(raw.features, rows.train, by=missing, columns=raw.columns)
    return _normalized(name, raw, rows, normalization, standardize_targets, shuffle_window if stays else 0)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors within that name no field of the config tell which data they are of."""
    try:
        yield
    except UserError as error:
        if str(error).startswith("data."):
            raise
        raise UserError(f"data.name is {name!r}; {error}") from error


def _check(field: str, value: object, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise UserError(f"data.{field} is {value!r}; allowed: {', '.join(map(str, allowed))}")


def _is_stratified(raw: Raw, own: bool, stratify: str) -> bool:
    possible = bool(raw.classes) and raw.targets.ndim == 1 and raw.groups is None
    if stratify == "yes" and not possible:
        why = (
            "groups are held out whole" if raw.groups is not None else "the targets are not one class for each example"
        )
        raise UserError(f"data.stratify is 'yes', but {why}; allowed: auto or no")
    return stratify == "yes" or (stratify == "auto" and own and possible)


def _normalized(
    name: str, raw: Raw, rows: splits.Rows, normalization: str, standardize_targets: bool, window: int
) -> Dataset:
    leaves, structure = jax.tree.flatten(raw.features)
    kinds = jax.tree.leaves(raw.kinds)
    at_once = on_disk.VALUES_AT_ONCE if window else SUMMED_VALUES
    fitted = [
        statistics(leaf, rows.train, kind=kind, normalization=normalization, values_at_once=at_once)
        for leaf, kind in zip(leaves, kinds, strict=True)
    ]
    target_mean = target_scale = None
    if not raw.classes and standardize_targets:
        target_mean, target_scale = target_statistics(raw.targets[rows.train])

    def part(features: Any, targets: np.ndarray, chosen: np.ndarray) -> Split:
        own_leaves = jax.tree.leaves(features)
        if window and chosen is rows.train:
            gathered = on_disk.trained_on(own_leaves, chosen, kinds, fitted, window)
        elif window:
            gathered = on_disk.evaluated(own_leaves, chosen, kinds, fitted)
        else:
            gathered = [
                gather(leaf, chosen, kind=kind, mean=mean, scale=scale)
                for leaf, kind, (mean, scale) in zip(own_leaves, kinds, fitted, strict=True)
            ]
        own = targets[chosen]
        if target_mean is not None:
            own = (own - target_mean) / target_scale
        own = own.astype(np.int32 if raw.classes else np.float32)
        return Split(jax.tree.unflatten(structure, gathered), own)

    if rows.test is None:
        assert raw.test_targets is not None
        test = part(raw.test_features, raw.test_targets, np.arange(len(raw.test_targets)))
    else:
        test = part(raw.features, raw.targets, rows.test)
    return Dataset(
        name,
        raw.classes,
        part(raw.features, raw.targets, rows.train),
        part(raw.features, raw.targets, rows.validation),
        test,
        jax.tree.unflatten(structure, [mean for mean, _ in fitted]),
        jax.tree.unflatten(structure, [scale for _, scale in fitted]),
        raw.class_names,
        raw.columns,
        target_mean,
        target_scale,
    )
