"""Puts the lectures' claims to the test: tricks reproduce NAME [--quick], … all, … --list.

Each claim is an experiment that trains, measures over seeds, and says whether the claim is supported or refuted, with
the size of the effect, its interval and a picture. What is done is kept in the directory and not run again; `all`
writes one page, lectures.html. MNIST is taken where it is prepared, digits otherwise and with --quick.
Exit status: 0 done, 2 a mistake, 130 interrupted.
"""

import difflib
import sys
from typing import Any

from absl import flags

from tricks import __version__, paths
from tricks.cli import command, cores
from tricks.cli.screen import say
from tricks.errors import UserError
from tricks.lectures.common import experiment as experiments

_DEFAULT, _ALL = "runs/lectures", "all"


def run() -> None:
    """Runs the command, and ends the process."""
    command.run(_main, _define)


def _define() -> None:
    flags.DEFINE_bool("list", False, "Say which experiments there are, and what each claims.")
    flags.DEFINE_bool("quick", False, "Fewer seeds and steps, on the digits: the same code in minutes.")
    flags.DEFINE_string("workdir", "", f"Where results are kept; default {_DEFAULT}, with --quick {_DEFAULT}-quick.")


def _main(arguments: list[str]) -> None:
    given: Any = flags.FLAGS
    if given.list:
        if arguments or given.quick:
            raise UserError("--list takes no name and no --quick")
        say(_listed())
        return
    names = _chosen(arguments)
    default = f"{_DEFAULT}-quick" if given.quick else _DEFAULT
    workdir = paths.local("--workdir", given.workdir or default)
    cores.use_all()
    # They bring all of training, and are not needed to refuse a mistake.
    from tricks.lectures.common import page, results, training

    effort = experiments.Effort(given.quick, "digits" if given.quick else training.images())
    found = []
    for name in names:
        told = _Note(name)
        result = results.reproduce(experiments.load(name), effort, workdir, told, version=__version__)
        told.done()
        say(f"{name}: {result['verdict']}. {result['effect']}: {page.number(result)}; {result['seconds']:.0f} s")
        found.append(result)
        page.write(workdir)
    if arguments == [_ALL]:
        say(f"written: {workdir / page.FILE}")
    else:
        say(f"{found[0]['sentence']}\nwritten: {workdir / names[0]}/{results.RESULT}, {names[0]}.png, {names[0]}.svg")


def _chosen(arguments: list[str]) -> tuple[str, ...]:
    if len(arguments) != 1:
        counted = f"{len(arguments)} names are" if arguments else "no name is"
        raise UserError(f"{counted} given; give one of --list, or all")
    (name,) = arguments
    if name == _ALL:
        return experiments.NAMES
    if name not in experiments.NAMES:
        near = difflib.get_close_matches(name, experiments.NAMES, 1)
        raise UserError(f"there is no experiment {name!r}" + (f"; did you mean {near[0]}?" if near else "; see --list"))
    return (name,)


def _listed() -> str:
    lines = []
    for title, names in experiments.CHAPTERS.items():
        lines += [title, *(f"  {name:<22}{experiments.load(name).claim.title}" for name in names)]
    return "\n".join(lines)


class _Note:
    """How far an experiment is, on one line of a terminal; nothing elsewhere."""

    def __init__(self, name: str) -> None:
        self._name, self._shown = name, sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{self._name}: {text}"[:84], end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
