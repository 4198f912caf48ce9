"""Options of a function, as the fields of a config that its parameters are."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tricks.errors import UserError

__all__ = ["complete"]


def complete(
    function: Callable[..., Any], field: str, given: Mapping[str, Any], *, positional: int = 0
) -> dict[str, Any]:
    """Options with the defaults of the function's own for those that were not given.

    Args:
        function: whose parameters after the first few are its options.
        field: of the config, that holds them.
        given: by name.
        positional: how many parameters come before the options.

    Returns:
        All options of the function.

    Raises:
        UserError: an option that the function does not have, one that is missing, or one of another type than the
            function's default.

    >>> def build(example, outputs, width=32): ...
    >>> complete(build, "model.options", {"width": 64}, positional=2)
    {'width': 64}
    >>> complete(build, "model.options", {"widht": 64}, positional=2)
    Traceback (most recent call last):
    ...
    tricks.errors.UserError: model.options.widht is no option of build; did you mean width? options: width
    """
    shown = getattr(function, "name", None) or getattr(function, "__name__", repr(function))
    parameters = _parameters(function)
    options = {p.name: p for p in parameters[positional:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    for name in given:
        if name not in options and not takes_any:
            close = difflib.get_close_matches(name, options, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise UserError(f"{field}.{name} is no option of {shown}; {meant}options: {', '.join(options) or 'none'}")
    completed = dict(given)
    for name, parameter in options.items():
        if name in given:
            completed[name] = _like(given[name], parameter.default, f"{field}.{name}")
        elif parameter.default is parameter.empty:
            raise UserError(f"{field}.{name} is missing; {shown} has no default for it: give --config.{field}.{name}=…")
        else:
            completed[name] = parameter.default
    return completed


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(function, "function", function)).parameters.values())


def _like(value: Any, default: Any, field: str) -> Any:
    kind = type(default)
    if kind not in (bool, int, float, str, tuple):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if kind is str and type(value) in (int, float, bool):
        return str(value)
    if kind is tuple and type(value) in (bool, int, float, str):
        value = (value,)
    if kind is tuple and type(value) is tuple and len({type(element) for element in default}) == 1:
        return tuple(_like(element, default[0], f"{field}[{place}]") for place, element in enumerate(value))
    if type(value) is not kind:
        raise UserError(f"{field} is {value!r}; it must be of type {kind.__name__}, as its default {default!r} is")
    return value
