"""Files of data that the corpus makes: a table with columns of very different units, and a part of MNIST."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.diagnosis.own import examples

_ROWS = 4000


def write(name: str, folder: Path) -> None:
    """Writes one of the files, which are the same every time.

    Args:
        name: one of `FILES`, or `mnist-FAULT-AMOUNT.npz`.
        folder: for it.

    Raises:
        UserError: MNIST is not prepared.
    """
    if name.endswith(".npz"):
        _write_mnist(folder / name)
    else:
        _write_table(folder / name)


def _write_table(path: Path) -> None:
    columns = FILES[path.name](_customers())
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


def _write_mnist(path: Path) -> None:
    _, fault, amount = path.stem.split("-")
    made = examples.with_fault(examples.named("mnist", 6000, 1000), fault, float(amount))
    pixels = made.features.round().astype(np.uint8)
    np.savez(path, features=pixels, targets=made.targets, part=examples.PARTS[made.part])


Columns = dict[str, np.ndarray]


def _customers() -> Columns:
    """Columns from 1e-5 to 1e5, one of words, and an answer of three classes; fixed parts."""
    rng = np.random.default_rng(11)
    z = rng.normal(size=(_ROWS, 6))
    region = rng.integers(0, 3, _ROWS)
    first = 1.5 * z[:, 0] * z[:, 1] + z[:, 2]
    second = z[:, 3] ** 2 - 1 + 0.7 * (region == 1) + 0.8 * z[:, 4]
    scores = np.stack([1.2 * first, 1.2 * second, 0.5 - 0.5 * first - 0.3 * second], axis=1)
    scores += 0.15 * rng.gumbel(size=scores.shape)
    return {
        "income": 45_000 + 12_000 * z[:, 0],
        "share": 0.4 + 0.05 * z[:, 1],
        "age": 45 + 12 * z[:, 2],
        "dose": 2e-4 + 4e-5 * z[:, 3],
        "debt": 1e5 * z[:, 4],
        "visits": 10 + 3 * z[:, 5],
        "region": np.array(["north", "south", "west"])[region],
        "answer": np.array(["no", "perhaps", "yes"])[scores.argmax(axis=1)],
        "part": np.array(["train", "train", "train", "validation", "test"])[np.arange(_ROWS) % 5],
    }


def _moved(columns: Columns) -> Columns:
    """The test is of later years: higher incomes and ages."""
    test = columns["part"] == "test"
    return columns | {
        "income": columns["income"] + 20_000 * test,
        "age": columns["age"] + 20 * test,
        "share": columns["share"] - 0.06 * test,
    }


def _prior(columns: Columns) -> Columns:
    """The test is of those who said yes or no, the rest mostly of those who said perhaps."""
    test, perhaps = columns["part"] == "test", columns["answer"] == "perhaps"
    kept = np.where(test, ~perhaps, perhaps | (np.random.default_rng(1).random(_ROWS) < 0.25))
    return {name: column[kept] for name, column in columns.items()}


def _wrong_labels(columns: Columns) -> Columns:
    rng = np.random.default_rng(2)
    chosen = rng.random(_ROWS) < 0.3
    return columns | {"answer": np.where(chosen, rng.permutation(columns["answer"]), columns["answer"])}


def _copied(columns: Columns) -> Columns:
    """Half of the test and validation rows are rows of training."""
    rng = np.random.default_rng(3)
    rows = np.arange(_ROWS)
    copied = (columns["part"] != "train") & (rng.random(_ROWS) < 0.6)
    rows[copied] = rng.choice(np.flatnonzero(columns["part"] == "train"), copied.sum())
    return {name: column if name == "part" else column[rows] for name, column in columns.items()}


def _rare(columns: Columns) -> Columns:
    """Of every hundred answers of perhaps and yes, three are left."""
    kept = (columns["answer"] == "no") | (np.random.default_rng(4).random(_ROWS) < 0.03)
    return {name: column[kept] for name, column in columns.items()}


FILES: dict[str, Callable[[Columns], Columns]] = {
    "customers.csv": lambda columns: columns,
    "customers_moved.csv": _moved,
    "customers_prior.csv": _prior,
    "customers_wrong_labels.csv": _wrong_labels,
    "customers_copied.csv": _copied,
    "customers_rare.csv": _rare,
}
