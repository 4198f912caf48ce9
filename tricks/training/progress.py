"""What a person sees while a run goes on and when it ends."""

import math
import sys

from tabulate import tabulate
from tqdm import tqdm

from tricks.training.records import Record

_LINES = 20


class Progress:
    """A bar on the terminal (stderr); where there is none, about twenty plain lines (stdout)."""

    def __init__(self, *, steps_per_epoch: int, total_steps: int, first_step: int) -> None:
        self._epochs = total_steps // steps_per_epoch
        self._training: Record | None = None
        self._validation: Record | None = None
        self._bar = (
            tqdm(total=total_steps, initial=first_step, bar_format=_FORMAT, leave=False)
            if sys.stderr.isatty()
            else None
        )

    def show(self, record: Record) -> None:
        """Takes one more record into account."""
        if record.split == "train":
            self._training = record
        elif record.split == "validation":
            self._validation = record
        if self._bar is not None:
            self._bar.set_postfix_str(self._text(), refresh=False)
            self._bar.update(record.step - self._bar.n)
        elif record.split == "validation" and self._is_due(record.epoch):
            width = len(str(self._epochs))
            print(f"epoch {record.epoch:{width}d}/{self._epochs}  {self._text()}", flush=True)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _is_due(self, epoch: int) -> bool:
        every = math.ceil(self._epochs / _LINES)
        return epoch % every == 0 or epoch == self._epochs

    def _text(self) -> str:
        parts = []
        if self._training is not None:
            r = self._training
            parts.append(f"loss {r.loss:.4f}{_percent(r.accuracy)}")
        if self._validation is not None:
            r = self._validation
            parts.append(f"val {r.loss:.4f}{_percent(r.accuracy)}")
        if self._training is not None:
            r = self._training
            parts.append(f"rate {r.learning_rate:.1e}")
            parts.append(f"{_short(r.examples_per_second or 0)} ex/s")
        return "  ".join(parts)


_FORMAT = "{percentage:3.0f}%|{bar:8}| {postfix}  {remaining} left"


def result_table(rows: list[Record]) -> str:
    """The closing table: a row for each split.

    Args:
        rows: one record for each split, at the best step.

    Returns:
        Text of less than 80 columns.

    >>> print(result_table([Record(44, 1, "test", 0.25, 0.9)]))
    split      loss  accuracy      step    epoch
    -------  ------  ----------  ------  -------
    test     0.2500  90.00 %         44        1
    """
    table = [(r.split, f"{r.loss:.4f}", _percent(r.accuracy).strip() or "-", r.step, r.epoch) for r in rows]
    headers = ("split", "loss", "accuracy", "step", "epoch")
    return tabulate(table, headers=headers, colalign=("left", "right", "left", "right", "right"), disable_numparse=True)


def _percent(accuracy: float) -> str:
    return f" {accuracy:.2%}".replace("%", " %") if math.isfinite(accuracy) else ""


def _short(number: float) -> str:
    """
    >>> _short(123456.0), _short(950.0)
    ('123k', '950')
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
