"""The two failures that a person, not a programmer, has to act on."""

__all__ = ["DivergedError", "UserError"]


class UserError(ValueError):
    """A mistake in what was asked for; its message is one line that says what to do. Exit status 2."""


class DivergedError(RuntimeError):
    """Training produced a value that is not finite; its message names the step. Exit status 3."""
