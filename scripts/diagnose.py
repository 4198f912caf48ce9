"""Says why a training does not behave: python scripts/diagnose.py --workdir=runs/digits; as `tricks diagnose`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tricks.commands import dispatch

if __name__ == "__main__":
    dispatch.run("diagnose")
