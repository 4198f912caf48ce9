"""Says why a training does not behave, and what to do: tricks diagnose --workdir=runs/digits [--fast] [--try].

Measures the run, trains comparison runs beside it, and writes report.json and report.html into its directory. --fast
leaves out the comparison runs; --try trains with the first prescriptions, two seeds each, and withdraws those that do
not help. --watch measures a run that goes on, over and over. Exit status: 0 done, 2 a mistake, 130 interrupted.
"""

from typing import Any

from absl import flags

from tricks import paths
from tricks.cli import command, cores
from tricks.cli.screen import say
from tricks.errors import UserError


def run() -> None:
    """Runs the command, and ends the process."""
    command.run(_main, _define)


def _define() -> None:
    flags.DEFINE_string("workdir", "", "The run directory.")
    flags.DEFINE_bool("fast", False, "Leave out the comparison runs.")
    flags.DEFINE_bool("try", False, "Train with the first prescriptions, two seeds each.")
    flags.DEFINE_bool("watch", False, "Look at a run that goes on, after every epoch, until it ends.")


def _main(arguments: list[str]) -> None:
    given: Any = flags.FLAGS
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; give --workdir=DIR")
    if not given.workdir:
        raise UserError("--workdir is missing; give the directory of a run, such as --workdir=runs/digits")
    if given.watch and (given.fast or given["try"].value):
        raise UserError("--watch takes neither --fast nor --try: it measures what goes on")
    workdir = paths.local("--workdir", given.workdir)
    cores.use_all()
    # They bring all of training, and are not needed to refuse a mistake.
    from tricks.diagnosis import subject, watch
    from tricks.diagnosis.report import files
    from tricks.diagnosis.report.terminal import terminal
    from tricks.diagnosis.run_diagnosis import made, write
    from tricks.diagnosis.screen import Bar

    if given.watch:
        watch.follow(workdir)
        return
    run = subject.read(workdir)
    with Bar() as bar:
        report = made(run, fast=given.fast, attempt=given["try"].value, told=bar.say, note=bar.show)
    # Also where it cannot be written any more.
    say(terminal(report))
    write(report, run)
    say(f"written: {workdir}/{files.REPORT}, {files.PAGE}")
