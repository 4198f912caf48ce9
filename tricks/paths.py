"""Paths that a person has typed, and the user's cache."""

import os
from pathlib import Path

from tricks.errors import UserError

__all__ = ["local", "user_cache"]


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


def user_cache(name: str) -> Path:
    """A folder of this user's for what can be made again, made where it is missing.

    Args:
        name: of the folder within that of tricks.

    Returns:
        `$XDG_CACHE_HOME/tricks/NAME`, or that in `~/.cache`.

    Raises:
        OSError: it cannot be made, or there is no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            # A home that does not exist must not come into being for a cache.
            base = Path.home().resolve(strict=True) / ".cache"
        except RuntimeError as error:
            raise FileNotFoundError(str(error)) from error
    folder = base / "tricks" / name
    # What lies there is taken for what tricks has written.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
