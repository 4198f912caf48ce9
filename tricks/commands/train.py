"""Trains a network: tricks train --config=digits [--workdir=DIR] [--config.FIELD=VALUE ...].

The config is one that is shipped, by its name, or a file of one's own: --config=./mine.py. The same command on the same
workdir goes on where it was interrupted. Fields of the config: python -m pydoc tricks.config. Exit status: 0 done, 2 a
mistake in what was asked for, 3 training diverged, 130 interrupted, with a checkpoint saved from the first step on.
"""

from absl import flags
from ml_collections import config_flags

import tricks
from tricks.cli import command, joining
from tricks.errors import UserError
from tricks.training import experiment


def run() -> None:
    """Runs the command, and ends the process."""
    command.run(_main, _define, default_config="digits")


def _define() -> None:
    config_flags.DEFINE_config_file("config", help_string="The experiment: a shipped name or a file; default digits.")
    flags.DEFINE_string("workdir", None, "The run directory; default runs/NAME-OF-THE-CONFIG and its overrides.")
    joining.define_flags()


def _main(arguments: list[str]) -> int:
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; fields are given as --config.FIELD=VALUE")
    config, workdir, folders = command.experiment_flags()
    told = {"version of tricks": tricks.__version__, "--workdir": str(workdir.absolute())}
    joining.join_as_told(**told, **command.told(config))
    status = experiment.run(config, workdir, folders)
    return command.INTERRUPTED if status == experiment.INTERRUPTED else command.DONE
