"""Says at what kind of point a run stands: python scripts/spectrum.py --workdir=runs/digits [--split=train].

Prints the verdict (minimum, maximum, saddle, degenerate, not critical, undecided) with its evidence, and writes
spectrum.json, spectrum.png and surface.png into the run directory.
"""

import os
import signal
import sys
from pathlib import Path

# Before the imports, which take seconds; and an exception must not meet XLA's threads in the middle of their work.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: os._exit(130))
sys.path.insert(0, str(Path(__file__).parents[1]))

from absl import flags

from tricks import paths
from tricks.cli.command import run
from tricks.cli.json_files import write_json
from tricks.cli.screen import say
from tricks.diagnosis import finished_run, spectrum
from tricks.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", "", "The run directory.")
_SPLIT = flags.DEFINE_string("split", "train", "Whose loss is looked at: train, validation or test.")
_EXAMPLES = flags.DEFINE_integer(
    "examples",
    2000,
    "Take a sample of so many, half of all at most, and check it on as many others; 0 takes all.",
    lower_bound=0,
)
_WEIGHTS = flags.DEFINE_string("weights", "last", "Which: last, or best for those of the best validation.")
_STATISTICS = flags.DEFINE_string("statistics", "running", "Of batch normalization: running, or batch as in training.")
_TOLERANCE = flags.DEFINE_float("tolerance", None, "Share of the largest |eigenvalue| that counts as zero.")
_GRADIENT_TOLERANCE = flags.DEFINE_float(
    "gradient_tolerance", None, "Gradient norm up to which the point counts as critical.", lower_bound=0.0
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the sample and of the random vectors.", 0, 2**31 - 1)


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; give --workdir=DIR")
    if not _WORKDIR.value:
        raise UserError("--workdir is missing; give the directory of a run, such as --workdir=runs/digits")
    workdir = paths.local("--workdir", _WORKDIR.value)
    subject = spectrum.subject_of(
        finished_run.load(workdir, _WEIGHTS.value),
        split=_SPLIT.value,
        examples=_EXAMPLES.value,
        statistics=_STATISTICS.value,
        seed=_SEED.value,
    )
    point = spectrum.analyse(
        subject, tolerance=_TOLERANCE.value, gradient_tolerance=_GRADIENT_TOLERANCE.value, seed=_SEED.value
    )
    say(spectrum.table(subject, point))
    try:
        write_json(workdir / "spectrum.json", spectrum.as_json(subject, point))
        spectrum.draw(subject, point, workdir)
    except OSError as error:
        raise UserError(f"--workdir {workdir} cannot be written to ({error})") from error
    say(f"written: {workdir}/spectrum.json, spectrum.png, surface.png")


if __name__ == "__main__":
    run(main)
