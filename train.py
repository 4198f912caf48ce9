"""Trains a network: python train.py --config=configs/digits.py [--workdir=DIR] [--config.FIELD=VALUE ...].

The same command on the same workdir goes on where it was interrupted. Fields of the config: tricks/config.py.
Exit status: 0 done, 2 a mistake in what was asked for, 3 training diverged, 130 interrupted, with a checkpoint saved
from the first step on.
"""

import gc
import os
import signal
from pathlib import Path

# Before the imports, which take seconds and must not be left in the middle by an exception.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: os._exit(130))

# What is imported stays: to look through it again and again for garbage takes a sixth of the time.
gc.disable()

from absl import flags
from ml_collections import config_flags

from tricks.cli import command
from tricks.training import experiment

gc.freeze()
gc.enable()

_DEFAULT = Path(__file__).parent / "configs" / "digits.py"


def define() -> None:
    config_flags.DEFINE_config_file("config", help_string="The experiment; default configs/digits.py.")
    flags.DEFINE_string("workdir", None, "The run directory; default runs/NAME-OF-THE-CONFIG and its overrides.")


def main(arguments: list[str]) -> int:
    if arguments:
        raise command.UserError(f"unexpected argument {arguments[0]!r}; fields are given as --config.FIELD=VALUE")
    config, workdir = command.experiment_flags()
    status = experiment.run(config, workdir)
    return command.INTERRUPTED if status == experiment.INTERRUPTED else command.DONE


if __name__ == "__main__":
    command.run(main, define, default_config=_DEFAULT)
