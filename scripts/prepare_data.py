"""Prepares a data set of TensorFlow Datasets, once: python scripts/prepare_data.py NAME [--manual_dir=DIR].

The same as `tricks prepare` where the package is installed; tricks/commands/prepare.py says more.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tricks.commands import dispatch

if __name__ == "__main__":
    dispatch.run("prepare")
