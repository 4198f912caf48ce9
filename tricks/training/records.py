"""Lines of metrics: `metrics.jsonl` and what is read from it."""

import contextlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tricks.cli.json_files import parse, unfinished
from tricks.errors import UserError

FILE = "metrics.jsonl"
# In the file the kind is called the split, which it is in most lines.
_KEYS = ("step", "epoch", "split")
# What its readers take for granted; all values but these words are numbers.
_NEEDED = {
    "train": ("loss", "learning_rate"),
    "validation": ("loss",),
    "test": ("loss",),
    "escape": ("loss", "loss_after", "outcome", "smallest_eigenvalue", "products"),
}
_WORDS = frozenset({"outcome"})
_NULL_WHERE_ABSENT = frozenset({"accuracy", "gradient_norm", "learning_rate", "examples_per_second"})


class Record(NamedTuple):
    """One line: what was measured at a step."""

    step: int
    """Updates done."""
    epoch: int
    """Epoch that the step belongs to, from 1; 0 before the first step."""
    kind: str
    """`train`: means over a chunk of steps; `validation`, `test`: over the whole split; or another measurement."""
    values: Mapping[str, Any]
    """Numbers and words by name; the names belong to whoever measured."""


class Writer:
    """Appends records to `metrics.jsonl`.

    Records of steps after `last_step`, and test records, are dropped first, so that a resumed run leaves the file of
    one that was never interrupted.
    """

    def __init__(self, directory: Path, last_step: int) -> None:
        self.kept = [r for r in read(directory) if r.step <= last_step and r.kind != "test"]
        temporary = unfinished(directory / FILE)
        with open(temporary, "w") as file:
            file.writelines(_line(record) for record in self.kept)
        temporary.replace(directory / FILE)
        self._file = open(directory / FILE, "a", buffering=1)  # noqa: SIM115

    def write(self, record: Record) -> None:
        """Appends one record; with the operating system when this returns, so that a kill does not lose it."""
        self._file.write(_line(record))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def close_all(*takers: Any) -> None:
    """Closes those who take records, each also where another fails.

    Args:
        takers: each has `close()`.
    """
    with contextlib.ExitStack() as stack:
        for taker in reversed(takers):
            stack.callback(taker.close)


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


def measures(records: list[Record]) -> list[str]:
    """Names of the measures of the loss: what validations hold.

    Args:
        records: of a run.

    Returns:
        Names, each once.

    >>> measures([Record(0, 0, "validation", {"loss": 1.0}), Record(4, 1, "train", {"loss": 1.0, "rate": 1.0})])
    ['loss']
    """
    return list(dict.fromkeys(name for r in records if r.kind == "validation" for name in r.values))


def epoch_means(records: list[Record]) -> list[Record]:
    """The training records of each epoch as one, its measures the means over all steps of the epoch.

    Args:
        records: of a run, oldest first.

    Returns:
        One record an epoch; the values that are no measures are those of its last record.

    >>> chunks = [Record(3, 1, "train", {"loss": 1.0, "rate": 0.2}), Record(4, 1, "train", {"loss": 5.0, "rate": 0.1})]
    >>> [(mean.step, mean.values) for mean in epoch_means([Record(0, 0, "validation", {"loss": 2.0}), *chunks])]
    [(4, {'loss': 2.0, 'rate': 0.1})]
    """
    names = measures(records)
    training = [r for r in records if r.kind == "train"]
    lengths = [r.step - before for r, before in zip(training, [0, *(r.step for r in training)], strict=False)]
    means = []
    for _, group in itertools.groupby(zip(training, lengths, strict=True), key=lambda pair: pair[0].epoch):
        rows = list(group)
        steps = sum(length for _, length in rows)
        last = rows[-1][0]
        mean = {
            name: math.fsum(length * r.values[name] for r, length in rows) / steps
            for name in names
            if all(name in r.values for r, _ in rows)
        }
        means.append(last._replace(values={**last.values, **mean}))
    return means


def _parse(path: Path) -> Iterator[Record]:
    *lines, cut_short = path.read_bytes().split(b"\n")
    del cut_short  # Empty, or what was being written when the run was killed.
    trained = 0
    for number, line in enumerate(lines, 1):
        try:
            record = _record(parse(line))
            if record.kind == "train":
                if record.step <= trained:
                    raise ValueError(f"step {record.step} does not follow {trained}")
                trained = record.step
        except ValueError as error:
            raise UserError(
                f"line {number} of {path} is damaged ({error}); mend it, or remove the file to go on without these "
                "records"
            ) from error
        yield record


def _record(fields: Any) -> Record:
    if not isinstance(fields, dict):
        raise ValueError("it is no object")
    step, epoch, kind = (fields.pop(key, None) for key in _KEYS)
    if type(step) is not int or type(epoch) is not int or min(step, epoch) < 0 or not isinstance(kind, str):
        raise ValueError("it needs a step and an epoch, integers, and a split")
    for name, value in fields.items():
        wanted = str if name in _WORDS else int | float | None
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ValueError(f"{name} is {str(value)[:40]!r}")
    missing = [name for name in _NEEDED.get(kind, ()) if name not in fields]
    if missing:
        raise ValueError(f"{kind} without {', '.join(missing)}")
    # JSON has no NaN. Of what was not measured, older files have a null as well.
    values = {
        name: math.nan if value is None else value
        for name, value in fields.items()
        if value is not None or name not in _NULL_WHERE_ABSENT
    }
    return Record(step, epoch, kind, values)


def _line(record: Record) -> str:
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.values.items()
    }
    return json.dumps({**dict(zip(_KEYS, record[:3], strict=True)), **plain}) + "\n"
