"""Lines of metrics: `metrics.jsonl` and TensorBoard events."""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tensorboardX import SummaryWriter

from tricks.errors import UserError

FILE = "metrics.jsonl"


class Record(NamedTuple):
    """One line: means over a chunk of training steps, or over a whole split."""

    step: int
    """Updates done."""
    epoch: int
    """Epoch that the step belongs to, from 1; 0 before the first step."""
    split: str
    loss: float
    accuracy: float
    """NaN for a regression."""
    gradient_norm: float | None = None
    learning_rate: float | None = None
    examples_per_second: float | None = None
    smallest_eigenvalue: float | None = None
    largest_eigenvalue: float | None = None
    trace: float | None = None
    minimum_ratio: float | None = None
    outcome: str | None = None
    """Of a check of saddle escape, in words."""
    held_out_curvature: float | None = None
    loss_after: float | None = None
    distance: float | None = None
    products: int | None = None


_CURVATURE = ("smallest_eigenvalue", "largest_eigenvalue", "trace", "minimum_ratio")
_ESCAPE = ("held_out_curvature", "loss_after", "distance", "products")
_NUMBERS = ("loss", "accuracy", "gradient_norm", "learning_rate", "examples_per_second", *_CURVATURE, *_ESCAPE)
_OF_SOME_SPLITS = frozenset({*_CURVATURE, *_ESCAPE, "outcome"})


class Writer:
    """Appends records to `metrics.jsonl` and, in the same folder, TensorBoard events.

    Records of steps after `last_step`, and test records, are dropped first, and the events are written anew from
    what remains, so that a resumed run leaves the files of one that was never interrupted.
    """

    def __init__(self, directory: Path, last_step: int) -> None:
        kept = [r for r in read(directory) if r.step <= last_step and r.split != "test"]
        for events in directory.glob("events.*"):
            events.unlink()
        self._events = SummaryWriter(str(directory))
        temporary = directory / (FILE + ".tmp")
        with open(temporary, "w") as file:
            file.writelines(_line(record) for record in kept)
        temporary.replace(directory / FILE)
        self._file = open(directory / FILE, "a", buffering=1)  # noqa: SIM115
        for record in kept:
            self._add_events(record)

    def write(self, record: Record) -> None:
        """Appends one record; with the operating system when this returns, so that a kill does not lose it."""
        self._file.write(_line(record))
        self._add_events(record)

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        self._events.close()

    def _add_events(self, record: Record) -> None:
        for name in _NUMBERS:
            value = getattr(record, name)
            if value is not None and math.isfinite(value):
                self._events.add_scalar(f"{record.split}/{name}", value, record.step)


def read(directory: Path) -> list[Record]:
    """All records of a run, oldest first; a last line that was cut short is left out.

    Args:
        directory: of the run.

    Returns:
        Records; none where there is no file.

    Raises:
        UserError: a line is damaged.
    """
    path = directory / FILE
    return list(_parse(path)) if path.exists() else []


def epoch_means(records: list[Record]) -> list[Record]:
    """The training records of each epoch as one, its loss and accuracy the means over all steps of the epoch.

    Args:
        records: of a run, oldest first.

    Returns:
        One record an epoch; the other fields are those of its last record.

    >>> chunks = [Record(3, 1, "train", 1.0, 0.0), Record(4, 1, "train", 5.0, 1.0)]
    >>> [(mean.step, mean.loss, mean.accuracy) for mean in epoch_means(chunks)]
    [(4, 2.0, 0.25)]
    """
    training = [r for r in records if r.split == "train"]
    lengths = [r.step - before for r, before in zip(training, [0, *(r.step for r in training)], strict=False)]
    means = []
    for _, group in itertools.groupby(zip(training, lengths, strict=True), key=lambda pair: pair[0].epoch):
        rows = list(group)
        steps = sum(length for _, length in rows)
        loss = math.fsum(length * r.loss for r, length in rows) / steps
        accuracy = math.fsum(length * r.accuracy for r, length in rows) / steps
        means.append(rows[-1][0]._replace(loss=loss, accuracy=accuracy))
    return means


def _parse(path: Path) -> Iterator[Record]:
    *lines, cut_short = path.read_bytes().split(b"\n")
    del cut_short  # Empty, or what was being written when the run was killed.
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            record = Record(**{**fields, **{k: math.nan for k in ("loss", "accuracy") if fields[k] is None}})
            if not isinstance(record.step, int) or not isinstance(record.epoch, int):
                raise TypeError("step and epoch must be integers")
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"line {number} of {path} is damaged; mend it, or remove the file to go on without these records"
            ) from error
        yield record


def _line(record: Record) -> str:
    fields: dict[str, Any] = {k: v for k, v in record._asdict().items() if v is not None or k not in _OF_SOME_SPLITS}
    # JSON has no NaN.
    return (
        json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}) + "\n"
    )
