"""Prepares a data set of TensorFlow Datasets, once: tricks prepare NAME [--manual_dir=DIR].

Original files that lie in the folder given by --manual_dir are not downloaded.
"""

import signal
import sys

from absl import flags

from tricks.cli import command, invocation
from tricks.data import prepared
from tricks.errors import UserError


def run() -> None:
    """Runs the command, and ends the process."""
    # TensorFlow Datasets clears away what it has begun, if it is left by an exception.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    command.run(_main, _define)


def _define() -> None:
    flags.DEFINE_string("data_dir", "", "Where to prepare it; default $TFDS_DATA_DIR or ~/tensorflow_datasets.")
    flags.DEFINE_string("manual_dir", "", "Folder with the set's original files.")


def _main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(f"give the name of one data set: {invocation.command('prepare')} mnist")
    path = prepared.prepare(
        arguments[0],
        directory=flags.FLAGS.data_dir,
        manual_directory=flags.FLAGS.manual_dir,
        # Bars are for a screen, not for a file of log lines.
        progress=sys.stderr is not None and sys.stderr.isatty(),
    )
    print(f"prepared {arguments[0]} in {path}")
