"""Paths that a person has typed."""

from pathlib import Path

from tricks.errors import UserError

__all__ = ["local"]


def local(name: str, path: str) -> Path:
    """A path of this machine, with ~ and ~user replaced, where the shell has left them.

    Args:
        name: of the flag or field, for the message.
        path: as it was typed.

    Returns:
        The path.

    Raises:
        UserError: it can be none.

    >>> local("--workdir", "runs/digits").as_posix()
    'runs/digits'
    >>> local("--workdir", "gs://bucket/run")
    Traceback (most recent call last):
    ...
    tricks.errors.UserError: --workdir is 'gs://bucket/run'; allowed: a path of this machine, no address
    """
    if "://" in path:
        raise UserError(f"{name} is {path!r}; allowed: a path of this machine, no address")
    try:
        # TensorStore takes nothing else.
        str(Path(path).absolute()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{name} is {path!r}; allowed: a path that is UTF-8") from error
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} is {path!r}; there is no such home directory: write the path out") from error
