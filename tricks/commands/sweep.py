"""Trains many settings and seeds at once: tricks sweep --config=digits --sweep.FIELD=RANGE ... [--seeds=4].

RANGE is a list, 0,0.2,0.5 (of a field of several numbers 64,64;128,128), or low:high:log:count or
low:high:linear:count. Several ranges make a grid; --sweep=random:N draws N settings of them instead, and
--sweep=FILE takes a list of settings from a .csv or .json. --halving=3 keeps the better third after each rung. The
same command on the same workdir goes on where it was interrupted. --export=LANE writes the config of a lane, ready for
tricks train. Exit status: 0 done, 2 a mistake in what was asked for, 3 all lanes diverged, 130 interrupted.
"""

import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

import tricks
from tricks import paths
from tricks.cli import command, cores, joining, sweep_flags
from tricks.cli.screen import say
from tricks.config import Config
from tricks.errors import UserError
from tricks.training.sweeps import export, settings
from tricks.training.sweeps.settings import Setting

_texts: dict[str, str] = {}  # Of the ranges, by field.


def run() -> None:
    """Runs the command, and ends the process."""
    command.run(_main, _define, default_config="digits")


def _define() -> None:
    config_flags.DEFINE_config_file("config", help_string="The experiment: a shipped name or a file; default digits.")
    flags.DEFINE_string("workdir", None, "Directory of the sweep; default runs/NAME-OF-THE-CONFIG-sweep.")
    flags.DEFINE_string("sweep", "", "random:N for N settings drawn from the ranges, or a .csv or .json of settings.")
    flags.DEFINE_integer("seeds", 1, "Seeds of each setting: that of the config, and those that follow it.")
    flags.DEFINE_integer("halving", 0, "After each rung one of so many settings goes on; 0 trains all to their end.")
    flags.DEFINE_integer("export", None, "Number of a lane whose config is written; nothing is trained.")
    joining.define_flags()
    # ml_collections reads the command line once more by itself.
    rest, texts = sweep_flags.taken_from(sys.argv)
    sys.argv[:] = rest
    _texts.clear()
    _texts.update(texts)


def _main(arguments: list[str]) -> int:
    chosen = flags.FLAGS
    cores.use_all()
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; ranges are given as --sweep.FIELD=RANGE")
    if chosen.export is not None:
        if not chosen.workdir:
            raise UserError("--export needs the --workdir of the sweep")
        file = export.write(paths.local("--workdir", chosen.workdir), chosen.export)
        say(f"wrote {file}; train it by --config={file}")
        return command.DONE
    for name, given, least in (("seeds", chosen.seeds, 1), ("halving", chosen.halving, 0)):
        if given < least:
            raise UserError(f"--{name} is {given}; give {least} or more")
    if chosen.halving == 1:
        raise UserError("--halving is 1, which leaves nothing out; give 2 or more, or 0")
    config, workdir, folders = command.experiment_flags()
    if not chosen.workdir:
        workdir = workdir.with_name(f"{workdir.name}-sweep")
    told = {"version of tricks": tricks.__version__, "--workdir": str(workdir.absolute()), "--sweep": chosen.sweep}
    told |= {"--seeds": chosen.seeds, "--halving": chosen.halving, "the settings": dict(_texts)}
    joining.join_as_told(**told, **command.told(config))
    # It brings JAX's programs, and needs none of them to refuse a mistake.
    from tricks.training.sweeps.run import sweep

    found = sweep(
        config,
        _settings(config, chosen.sweep),
        workdir=workdir,
        seeds=chosen.seeds,
        halving=chosen.halving,
        folders=folders,
    )
    if found.interrupted:
        return command.INTERRUPTED
    return command.DIVERGED if all(row["status"] == "diverged" for row in found.rows) else command.DONE


def _settings(config: Config, listed: str) -> list[Setting]:
    texts = dict(_texts)
    listed = texts.pop("FILE", listed)
    if not listed and not texts:
        if flags.FLAGS.seeds > 1:
            return [{}]
        raise UserError("nothing is swept; give --sweep.FIELD=RANGE, such as --sweep.optimizer.learning_rate=1e-3,1e-2")
    if listed and not re.fullmatch("random(:.*)?", listed):
        if texts:
            raise UserError(
                f"--sweep={listed} is a list of settings; leave out --sweep.{next(iter(texts))}, or the list"
            )
        return settings.read(Path(listed).expanduser(), config)
    ranges = settings.parse_ranges(texts, config)
    if not listed:
        return settings.grid(ranges)
    count = listed.removeprefix("random").removeprefix(":")
    if not count.isdecimal() or int(count) < 1:
        raise UserError(f"--sweep is {listed!r}; give random:N with N of 1 or more")
    if not ranges:
        raise UserError(f"--sweep={listed} draws from ranges; give --sweep.FIELD=low:high:log:count, or a list")
    return settings.drawn(ranges, int(count), config)
