"""What commands print."""

import os
import sys


def say(text: str) -> None:
    """Prints a line at once; where nobody reads any more (`train.py | head`), the run goes on in silence.

    Args:
        text: the line.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
