"""What a person sees of a diagnosis while it is made."""

import sys
from typing import Any

from tqdm import tqdm


class Bar:
    """A line that says what is measured, with a bar while networks are trained; plain lines where nobody watches."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what, self._told = "", -1

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def say(self, what: str) -> None:
        """Says what is done next.

        Args:
            what: a word or two.
        """
        self._close()
        self._what, self._told = what, -1
        if sys.stderr.isatty():
            self._bar = tqdm(total=0, desc=what, bar_format="{desc} {elapsed}", leave=False)
        else:
            print(what, file=sys.stderr, flush=True)

    def show(self, done: int, total: int) -> None:
        """Shows how far comparison runs are.

        Args:
            done: steps of all of them.
            total: of them.
        """
        if self._bar is None:
            if 5 * done // max(total, 1) > self._told:
                self._told = 5 * done // max(total, 1)
                print(f"{self._what}: {done / max(total, 1):.0%}", file=sys.stderr, flush=True)
            return
        if self._bar.total != total:
            self._close()
            form = "{percentage:3.0f}%|{bar:20}| {desc} {remaining}"
            self._bar = tqdm(total=total, desc=self._what, bar_format=form, leave=False)
        self._bar.n = done
        self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
