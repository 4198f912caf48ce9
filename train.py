"""Trains a network: python train.py --config=digits [--workdir=DIR] [--config.FIELD=VALUE ...].

The same as `tricks train` where the package is installed; tricks/commands/train.py says more.
"""

from tricks.commands import dispatch

if __name__ == "__main__":
    dispatch.run("train")
