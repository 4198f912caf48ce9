"""Trains many settings and seeds at once: python scripts/sweep.py --config=configs/digits.py --sweep.FIELD=RANGE.

The same as `tricks sweep` where the package is installed; tricks/commands/sweep.py says more.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tricks.commands import dispatch

if __name__ == "__main__":
    dispatch.run("sweep")
