"""Says at what kind of point a run stands: tricks spectrum --workdir=runs/digits [--split=train].

Prints the verdict (minimum, maximum, saddle, degenerate, not critical, undecided) with its evidence, and writes
spectrum.json, spectrum.png and surface.png into the run directory.
"""

from absl import flags

from tricks import paths
from tricks.cli import command
from tricks.cli.json_files import write_json
from tricks.cli.screen import say
from tricks.diagnosis import finished_run, spectrum
from tricks.errors import UserError


def run() -> None:
    """Runs the command, and ends the process."""
    command.run(_main, _define)


def _define() -> None:
    flags.DEFINE_string("workdir", "", "The run directory.")
    flags.DEFINE_string("split", "train", "Whose loss is looked at: train, validation or test.")
    flags.DEFINE_integer(
        "examples",
        2000,
        "Take a sample of so many, half of all at most, and check it on as many others; 0 takes all.",
        lower_bound=0,
    )
    flags.DEFINE_string("weights", "last", "Which: last, or best for those of the best validation.")
    flags.DEFINE_string("statistics", "running", "Of batch normalization: running, or batch as in training.")
    flags.DEFINE_float("tolerance", None, "Share of the largest |eigenvalue| that counts as zero.")
    flags.DEFINE_float(
        "gradient_tolerance", None, "Gradient norm up to which the point counts as critical.", lower_bound=0.0
    )
    flags.DEFINE_integer("seed", 0, "Of the sample and of the random vectors.", 0, 2**31 - 1)


def _main(arguments: list[str]) -> None:
    given = flags.FLAGS
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; give --workdir=DIR")
    if not given.workdir:
        raise UserError("--workdir is missing; give the directory of a run, such as --workdir=runs/digits")
    workdir = paths.local("--workdir", given.workdir)
    subject = spectrum.subject_of(
        finished_run.load(workdir, given.weights, divided=True),
        split=given.split,
        examples=given.examples,
        statistics=given.statistics,
        seed=given.seed,
    )
    point = spectrum.analyse(
        subject, tolerance=given.tolerance, gradient_tolerance=given.gradient_tolerance, seed=given.seed
    )
    say(spectrum.table(subject, point))
    try:
        write_json(workdir / "spectrum.json", spectrum.as_json(subject, point))
        spectrum.draw(subject, point, workdir)
    except OSError as error:
        raise UserError(f"--workdir {workdir} cannot be written to ({error})") from error
    say(f"written: {workdir}/spectrum.json, spectrum.png, surface.png")
