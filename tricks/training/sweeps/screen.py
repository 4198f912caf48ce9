"""What a person sees of a sweep while it goes on."""

import sys
from collections.abc import Callable

from tqdm import tqdm

from tricks.cli import job
from tricks.cli.screen import say

_LINES = 20
# Of at most 79 columns with the text that is shown.
_FORMAT = "{percentage:3.0f}%|{bar:20}| {desc} {remaining}"


class Bar:
    """A bar over lanes times steps on a terminal; where the output goes elsewhere, about twenty plain lines."""

    def __init__(self, total_steps: int, first_step: int, best: str) -> None:
        self._total, self._done, self._told = total_steps, first_step, first_step * _LINES // max(total_steps, 1)
        self._bar = (
            tqdm(total=total_steps, initial=first_step, bar_format=_FORMAT, leave=False, desc=best)
            if sys.stderr.isatty() and sys.stdout.isatty() and job.is_first()
            else None
        )

    def show(self, steps: int, best: Callable[[], str]) -> None:
        """Takes steps of a lane into account, and the best lane so far in words, which are asked for when shown."""
        self._done = min(self._done + steps, self._total)
        if self._bar is not None:
            self._bar.set_description_str(best(), refresh=False)
            self._bar.update(self._done - self._bar.n)
            return
        reached = self._done * _LINES // max(self._total, 1)
        if reached > self._told:
            self._told = reached
            say(f"{self._done / self._total:4.0%} of all steps  {best()}".rstrip())

    def say(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        if self._bar is None:
            say(text)
        else:
            self._bar.write(text)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
