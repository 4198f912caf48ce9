"""The configs that come with the package, by their names."""

import difflib
import re
from pathlib import Path

from tricks.errors import UserError

_PACKAGE = Path(__file__).parents[1]


def names() -> list[str]:
    """What `--config` takes beside files.

    Returns:
        The names, in alphabetical order.

    >>> "digits" in names()
    True
    """
    return sorted(path.stem for path in _folder().glob("[!_]*.py"))


def in_flags(argv: list[str]) -> list[str]:
    """A command line with the file of a shipped config wherever `--config` names one.

    Args:
        argv: the command and its arguments.

    Returns:
        As many.

    Raises:
        UserError: there is no shipped config of a name that is given.

    >>> in_flags(["train.py", "--config=./mine.py", "--config.seed=1"])
    ['train.py', '--config=./mine.py', '--config.seed=1']
    """
    found = list(argv)
    for index, argument in enumerate(argv[1:], start=1):
        flag, equals, value = argument.partition("=")
        if equals and re.fullmatch("--?config", flag):
            found[index] = f"{flag}={find(value)}"
        elif re.fullmatch("--?config", argv[index - 1]):
            found[index] = find(argument)
    return found


def find(config: str) -> str:
    """The file of a config.

    Args:
        config: the name of one that is shipped; with a separator or the ending .py the path of a file. What follows a
            colon is an argument of its `get_config`.

    Returns:
        The path and what follows; the file of a person need not exist.

    Raises:
        UserError: there is no shipped config of that name.

    >>> find("digits").endswith("configs/digits.py")
    True
    >>> find("./digits.py")
    './digits.py'
    """
    name, colon, argument = config.partition(":")
    path = Path(name)
    if path.name != name or path.suffix == ".py" or not name:
        return config
    shipped = names()
    if name not in shipped:
        close = difflib.get_close_matches(name, shipped, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise UserError(
            f"--config is {name!r}; {meant}shipped: {', '.join(shipped)}; a file of your own is given with its "
            "ending, such as --config=mine.py"
        )
    return f"{_folder() / name}.py{colon}{argument}"


def _folder() -> Path:
    # Installed it is a part of the package; in a checkout, installed as editable or not, it lies beside.
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"
