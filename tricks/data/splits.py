"""Which examples are for training, for validation and for the test."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tricks import streams
from tricks.data.raw import Raw
from tricks.errors import UserError

PARTS = ("train", "validation", "test")
STRATIFY = ("auto", "yes", "no")
_SPELLINGS = {
    "train": 0,
    "training": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "dev": 1,
    "development": 1,
    "test": 2,
    "testing": 2,
}
# Test examples are set apart with a seed of their own, so that runs with different seeds are tested on the same ones.
_TEST_SEED = 0


class Rows(NamedTuple):
    """Places of the examples of each part, ascending; those of the test are None where the source has it apart."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray | None


def divide(
    name: str,
    raw: Raw,
    *,
    validation_fraction: float,
    test_fraction: float,
    train_fraction: float,
    seed: int,
    stratified: bool,
) -> Rows:
    """Divides examples among the parts: as the source says, and by lot where it does not.

    Args:
        name: of the set, for messages.
        raw: the examples.
        validation_fraction: share of the training examples that is held out for validation.
        test_fraction: share of all examples that is held out for the test.
        train_fraction: share of the rest that is trained on; a smaller one is a part of a larger one.
        seed: of all draws but that of the test, which is always the same.
        stratified: hold out each class by itself, in its share.

    Returns:
        The rows of each part.

    Raises:
        UserError: a part would be empty.

    >>> raw = Raw(np.eye(10), np.arange(10) % 2, 2, "numbers")
    >>> fractions = {"validation_fraction": 0.25, "test_fraction": 0.2, "train_fraction": 1.0}
    >>> rows = divide("made up", raw, **fractions, seed=0, stratified=True)
    >>> raw.targets[rows.test].tolist(), raw.targets[rows.validation].tolist()
    ([0, 1], [0, 1])
    """
    train, validation, test = _given(name, raw)
    to_carve = (not len(test) and raw.test_targets is None) + (not len(validation))
    labels = raw.targets if stratified else None
    if not len(test) and raw.test_targets is None:
        held = _hold_out(name, raw, labels, train, to_carve, ("test_fraction", test_fraction), _TEST_SEED)
        train, test = train[~held], train[held]
        to_carve -= 1
    if not len(validation):
        held = _hold_out(name, raw, labels, train, to_carve, ("validation_fraction", validation_fraction), seed)
        train, validation = train[~held], train[held]
    return Rows(_used(name, train, train_fraction, seed), validation, test if raw.test_targets is None else None)


def parse_parts(field: str, values: Sequence[str]) -> np.ndarray:
    """What a split column says.

    Args:
        field: that names the column, for messages, with its value.
        values: train, validation or test in a usual spelling.

    Returns:
        The place of each in `PARTS`.

    Raises:
        UserError: a value is none of them.

    >>> parse_parts("data.split_column is 'part'", ["train", "Dev", "TEST"]).tolist()
    [0, 1, 2]
    """
    parts = [_SPELLINGS.get(value.strip().lower()) for value in values]
    if None in parts:
        unknown = values[parts.index(None)]
        raise UserError(f"{field}, which holds {unknown!r}; allowed: train, validation (or val, dev) and test")
    return np.array(parts, np.int8)


def _given(name: str, raw: Raw) -> list[np.ndarray]:
    if raw.parts is None:
        return [np.arange(len(raw.targets)), np.arange(0), np.arange(0)]
    rows = [np.flatnonzero(raw.parts == part) for part in range(len(PARTS))]
    if not len(rows[0]):
        raise UserError(f"data.split_column: of {name!r} no example is for training; mark those with train")
    if len(rows[2]) and raw.test_targets is not None:
        raise UserError(
            f"data.split_column: {name!r} has test examples both apart and by this column; give one of them"
        )
    if raw.groups is not None:
        _check_groups_stay_together(raw.groups, raw.parts)
    return rows


def _check_groups_stay_together(groups: np.ndarray, parts: np.ndarray) -> None:
    first = np.zeros(groups.max() + 1, parts.dtype)
    first[groups[::-1]] = parts[::-1]
    other = np.flatnonzero(first[groups] != parts)
    if len(other):
        row = other[0]
        raise UserError(
            f"data.split_column puts examples of one group of data.group_column both into {PARTS[first[groups[row]]]} "
            f"and, in row {row + 1}, into {PARTS[parts[row]]}; mend the column, or leave one of the two out"
        )


def _hold_out(
    name: str,
    raw: Raw,
    labels: np.ndarray | None,
    rows: np.ndarray,
    to_carve: int,
    fraction: tuple[str, float],
    seed: int,
) -> np.ndarray:
    """Which of the rows are held out, as a mask."""
    field, share = fraction
    count = round(len(rows) * share)
    if not 0 < count < len(rows):
        raise UserError(
            f"data.{field} is {share:g}; of the {len(rows)} training examples of {name!r} "
            f"it would hold out {count}: choose one that leaves examples on both sides"
        )
    generator = streams.split(seed)
    if raw.groups is not None:
        return _hold_out_groups(raw.groups[rows], count, to_carve, generator)
    order = generator.permutation(len(rows))
    if labels is not None:
        counts = shares_of_classes(np.bincount(labels[rows]), share, to_carve)
        # Where every class is a single example, none can be spared and any are taken.
        if counts.any():
            return _hold_out_of_each_class(labels[rows], counts, order)
    held = np.zeros(len(rows), bool)
    held[order[:count]] = True
    return held


def _hold_out_of_each_class(labels: np.ndarray, counts: np.ndarray, order: np.ndarray) -> np.ndarray:
    sizes = np.bincount(labels)
    # Place of each example among those of its class, in the order that was drawn.
    by_class = order[np.argsort(labels[order], kind="stable")]
    place = np.empty(len(labels), np.int64)
    place[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return place < counts[labels]


def shares_of_classes(sizes: np.ndarray, share: float, to_carve: int) -> np.ndarray:
    """How many examples of each class are held out.

    Each class gives the whole number below or above its share, by the largest remainders, so that together they give
    the share of all. A class that has an example for each part gives at least one and keeps enough for the other parts;
    of a smaller one the training part is served first.

    Args:
        sizes: (classes,), examples of each class.
        share: that is held out.
        to_carve: parts still to be held out, this one among them.

    Returns:
        (classes,) numbers of examples.

    >>> shares_of_classes(np.array([1000, 10, 3, 1]), 0.1, to_carve=2).tolist()
    [100, 1, 1, 0]
    """
    enough = sizes > to_carve
    most = np.maximum(np.where(enough, sizes - to_carve, sizes - 1), 0)
    exact = sizes * share
    counts = np.clip(np.floor(exact), enough, most).astype(np.int64)
    left = round(float(sizes.sum() * share)) - counts.sum()
    remainders = np.where(counts < most, exact - counts, 0.0)
    by_remainder = np.argsort(-remainders, kind="stable")
    chosen = [c for c in by_remainder[: max(left, 0)] if remainders[c] > 0]
    counts[chosen] += 1
    return counts


def _hold_out_groups(groups: np.ndarray, count: int, to_carve: int, generator: np.random.Generator) -> np.ndarray:
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    spare = len(sizes) - to_carve
    if spare < 1:
        raise UserError(
            f"data.group_column has {len(sizes)} different values where {to_carve + 1} parts need at least one each; "
            f"choose another column, or leave it out"
        )
    chosen: list[int] = []
    left = count
    order = generator.permutation(len(sizes))
    for candidate in order:
        if left == 0 or len(chosen) == spare:
            break
        if sizes[candidate] <= left:
            chosen.append(candidate)
            left -= sizes[candidate]
    others = np.setdiff1d(order, chosen)
    smallest = others[np.argmin(sizes[others])]
    if not chosen or (len(chosen) < spare and sizes[smallest] - left < left):
        chosen.append(smallest)
    return np.isin(group, chosen)


def _used(name: str, train: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    if fraction == 1:
        return train
    kept = round(len(train) * fraction)
    if not 0 < kept <= len(train):
        raise UserError(
            f"data.train_fraction is {fraction:g}; of the {len(train)} training examples of {name!r} "
            f"it would use {kept}: choose one above 0 that leaves some, at most 1"
        )
    return np.sort(train[streams.training_subset(seed).permutation(len(train))[:kept]])
