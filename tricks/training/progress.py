"""What a person sees while a run goes on and when it ends."""

import math
import sys

from tabulate import tabulate
from tqdm import tqdm

from tricks.cli.screen import say
from tricks.training.records import Record

_LINES = 20
_LONGEST = 12
_COLUMNS = 79


class Bar:
    """A bar on a terminal; where the output goes elsewhere, about twenty plain lines."""

    def __init__(self, steps_per_epoch: int, total_steps: int, *, first_step: int, metric: str = "accuracy") -> None:
        # Beside the loss; a long name has no room in the line.
        self._metric = metric if metric != "loss" and len(metric) <= _LONGEST else "accuracy"
        self._epochs = total_steps // steps_per_epoch
        self._training: Record | None = None
        self._validation: Record | None = None
        self._bar = (
            tqdm(total=total_steps, initial=first_step, bar_format=_FORMAT, leave=False)
            if sys.stderr.isatty() and sys.stdout.isatty()
            else None
        )

    def show(self, record: Record) -> None:
        """Takes one more record into account."""
        if record.kind == "train":
            self._training = record
        elif record.kind == "validation":
            self._validation = record
        elif record.kind == "escape":
            self._say(escape_line(record))
            return
        else:
            return  # Tests come at the end, and are of an earlier step.
        if self._bar is not None:
            self._bar.set_description_str(self._text(digits=3), refresh=False)
            self._bar.update(record.step - self._bar.n)
        elif record.kind == "validation" and self._is_due(record.epoch):
            width = len(str(self._epochs))
            say(f"epoch {record.epoch:{width}d}/{self._epochs}  {self._text(digits=4)}")

    def _say(self, text: str) -> None:
        if self._bar is None:
            say(text)
        else:
            self._bar.write(text)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _is_due(self, epoch: int) -> bool:
        every = math.ceil(self._epochs / _LINES)
        return epoch % every == 0 or epoch == self._epochs

    def _beside(self, record: Record, digits: int) -> str:
        value = float(record.values.get(self._metric, math.nan))
        if not math.isfinite(value):
            return ""
        return f" {value:.{digits - 2}%}" if self._metric == "accuracy" else f" ({self._metric} {value:.{digits}g})"

    def _text(self, digits: int) -> str:
        parts = []
        for name, record in (("loss", self._training), ("val", self._validation)):
            if record is not None:
                beside = self._beside(record, digits)
                parts.append(f"{name} {record.values['loss']:.{digits}f}{beside}")
        if self._training is not None:
            parts.append(f"rate {self._training.values['learning_rate']:.1e}")
            parts.append(f"{_short(self._training.values['examples_per_second'])} ex/s")
        return "  ".join(parts)


# Of at most 79 columns with what _text makes of three digits.
_FORMAT = "{percentage:3.0f}%|{bar:5}| {desc} {remaining}"


def escape_line(record: Record) -> str:
    """What a check of saddle escape came to, in a line, with the most negative curvature that it found.

    Args:
        record: of the kind `escape`.

    Returns:
        Text of less than 80 columns.

    >>> values = {"outcome": "escaped", "smallest_eigenvalue": -0.5, "loss": 1.5, "loss_after": 1, "products": 9}
    >>> escape_line(Record(9, 1, "escape", values))
    'step 9: escaped (-0.5, 9 products), loss 1.5 -> 1'
    """
    values = record.values
    moved = f" -> {values['loss_after']:.3g}" if values["loss_after"] != values["loss"] else ""
    found = f"({values['smallest_eigenvalue']:.2g}, {values['products']} products)"
    return f"step {record.step}: {values['outcome']} {found}, loss {values['loss']:.3g}{moved}"


def result_table(rows: list[Record], measures: list[str]) -> str:
    """The closing table: a row for each split, or a column where it would be too wide.

    Args:
        rows: one record for each split, at the best step.
        measures: names of the columns beside split, step and epoch.

    Returns:
        Text of less than 80 columns, as long as no name is longer than half of that.

    >>> print(result_table([Record(44, 1, "test", {"loss": 0.25, "accuracy": 0.9})], ["loss", "accuracy"]))
    split      loss  accuracy      step    epoch
    -------  ------  ----------  ------  -------
    test     0.2500  90.00%          44        1
    >>> wide = ["loss", "mean_absolute_error", "median_absolute_error", "largest_absolute_error"]
    >>> print(result_table([Record(44, 1, "test", dict.fromkeys(wide, 0.25))], wide))
    split                     test
    ----------------------  ------
    loss                    0.2500
    mean_absolute_error     0.2500
    median_absolute_error   0.2500
    largest_absolute_error  0.2500
    step                        44
    epoch                        1
    """
    table = [
        (r.kind, *(_number(name, r.values[name]) if name in r.values else "" for name in measures), r.step, r.epoch)
        for r in rows
    ]
    align = ("left", *("left" if name == "accuracy" else "right" for name in measures), "right", "right")
    headers = ("split", *measures, "step", "epoch")
    text = tabulate(table, headers=headers, colalign=align, disable_numparse=True)
    if max(map(len, text.splitlines())) <= _COLUMNS:
        return text
    first, *columns = zip(headers, *table, strict=True)
    sides = ("left", *("right" for _ in table))
    return tabulate(columns, headers=first, colalign=sides, disable_numparse=True)


def _number(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "accuracy" else f"{value:.4f}"


def _short(number: float) -> str:
    """
    >>> _short(123456.0), _short(1234.0), _short(950.0)
    ('123k', '1.2k', '950')
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:.{0 if number >= 99.95 * size else 1}f}{unit}"
    return f"{number:.0f}"
