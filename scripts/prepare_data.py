"""Prepares a data set of TensorFlow Datasets, once: python scripts/prepare_data.py NAME [--manual_dir=DIR].

Original files that lie in the folder given by --manual_dir are not downloaded.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from absl import flags

from tricks.cli.command import run
from tricks.data import prepared
from tricks.errors import UserError

_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where to prepare it; default $TFDS_DATA_DIR or ~/tensorflow_datasets.")
_MANUAL_DIR = flags.DEFINE_string("manual_dir", "", "Folder with the set's original files.")


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError("give the name of one data set: python scripts/prepare_data.py mnist")
    path = prepared.prepare(
        arguments[0],
        directory=_DATA_DIR.value,
        manual_directory=_MANUAL_DIR.value,
        # Bars are for a screen, not for a file of log lines.
        progress=sys.stderr is not None and sys.stderr.isatty(),
    )
    print(f"prepared {arguments[0]} in {path}")


if __name__ == "__main__":
    run(main)
