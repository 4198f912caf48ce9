"""Random commands in random directories: python scripts/fuzz.py --runs=N --seed=S [--only=I] [--workdir=DIR].

After each, what must hold is checked: an exit status that is documented, no traceback, one line of error that names its
cause, strict JSON, and nothing of a person's deleted or changed. With --kills=N a run is
killed so often, and must end as one that was left alone. Exit status: 0 nothing found, 1 something found.
"""

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from absl import flags

from fuzzing import campaign, kills
from tricks import paths
from tricks.cli.command import run
from tricks.cli.screen import say
from tricks.errors import UserError

_RUNS = flags.DEFINE_integer("runs", 0, "Cases to run.", lower_bound=0)
_FIRST = flags.DEFINE_integer("first", 0, "The number of the first of them.", lower_bound=0)
_ONLY = flags.DEFINE_integer("only", None, "The one case to run, by its number.", lower_bound=0)
_KILLS = flags.DEFINE_integer(
    "kills", 0, "Kill -9 a run so often, and compare it with one that was left alone.", lower_bound=0
)
_SEED = flags.DEFINE_integer("seed", 0, "Of all that is drawn.", lower_bound=0)
_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Where to work, and to leave what was found; a temporary folder without it."
)
_FOUND = 1


def main(arguments: list[str]) -> int:
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; give --runs=N")
    numbers = range(_FIRST.value, _FIRST.value + _RUNS.value) if _ONLY.value is None else [_ONLY.value]
    if not numbers and not _KILLS.value:
        raise UserError("--runs is 0, and so is --kills; give one, such as --runs=100")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = paths.local("--workdir", _WORKDIR.value or temporary).absolute()
        found = 0
        for result in campaign.run(_SEED.value, numbers, folder):
            say(campaign.told(result, _SEED.value))
            found += bool(result.findings)
        if numbers:
            say(f"{len(numbers)} cases, {found} with findings")
        if _KILLS.value:
            differences = kills.differences(_KILLS.value, _SEED.value, folder)
            say("\n".join(differences) or f"{_KILLS.value} kills, and every run as one that was left alone")
            found += len(differences)
        return _FOUND if found else 0


if __name__ == "__main__":
    run(main)
