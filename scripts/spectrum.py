"""Says at what kind of point a run stands: python scripts/spectrum.py --workdir=runs/digits [--split=train].

The same as `tricks spectrum` where the package is installed; tricks/commands/spectrum.py says more.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tricks.commands import dispatch

if __name__ == "__main__":
    dispatch.run("spectrum")
