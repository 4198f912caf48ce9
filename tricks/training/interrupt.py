"""Ctrl-C and SIGTERM as a question that the loop asks between dispatches."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def catch_interrupts() -> Iterator[Callable[[], bool]]:
    """Within the block the first SIGINT or SIGTERM only sets a flag; a second one ends the process.

    Yields:
        A function that tells whether a signal has come.

    >>> with catch_interrupts() as interrupted:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interrupted()
    True
    """
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            # At once, because threads that are writing a checkpoint would go on and print their failures.
            os._exit(130)
        caught.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
