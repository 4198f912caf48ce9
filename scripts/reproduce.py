"""Puts the lectures' claims to the test: python scripts/reproduce.py all; as `tricks reproduce`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tricks.commands import dispatch

if __name__ == "__main__":
    dispatch.run("reproduce")
