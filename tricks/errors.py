"""The two failures that a person, not a programmer, has to act on."""

__all__ = ["DivergedError", "UserError", "told_of"]


import contextlib
from collections.abc import Iterator


class UserError(ValueError):
    """A mistake in what was asked for; its message is one line that says what to do. Exit status 2."""


class DivergedError(RuntimeError):
    """Training produced a value that is not finite; its message names the step. Exit status 3."""


@contextlib.contextmanager
def told_of(what: str) -> Iterator[None]:
    """Makes the mistakes that pure functions find into those of a user, and says first what they are about.

    Args:
        what: comes before the message, such as `optimizer.`, which makes the name of an argument that of a field.

    Raises:
        UserError: for a `ValueError`.

    >>> with told_of("model."):
    ...     raise ValueError("dropout is 2; allowed: less than 1")
    Traceback (most recent call last):
    ...
    tricks.errors.UserError: model.dropout is 2; allowed: less than 1
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{what}{error}") from error
