"""Flags of fields whose names only a person's own function knows: --config.model.options.width=64."""

import ast
import re
from typing import Any

from tricks import config
from tricks.errors import UserError

_FLAG = re.compile(rf"--?(no)?config\.((?:{'|'.join(map(re.escape, config.OPTIONS))})[^=]*)(?:=(.*))?", re.S)
_WORDS = {"true": True, "false": False, "none": None}


def taken_from(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Divides a command line into options of a person's own functions and the rest.

    Args:
        argv: as `sys.argv`.

    Returns:
        The rest, and the value of each option by its dotted field; the last one where it is given twice.

    Raises:
        UserError: an option has no name, or a value where it is negated.

    >>> taken_from(["train.py", "--config.model.options.width=64", "--workdir=run", "--config.loss.options.kind", "l1"])
    (['train.py', '--workdir=run'], {'model.options.width': 64, 'loss.options.kind': 'l1'})
    """
    rest, options, waiting = [], {}, ""
    for argument in argv:
        found = _FLAG.fullmatch(argument)
        if waiting and not argument.startswith("--"):
            options[waiting], waiting = value_of(argument), ""
            continue
        if waiting:
            options[waiting], waiting = True, ""
        if not found:
            rest.append(argument)
            continue
        negated, field, text = found.groups()
        if not field.rpartition(".")[2].isidentifier():
            raise UserError(f"{argument} names no option; give --config.{field.rpartition('.')[0]}.NAME=VALUE")
        if negated and text is not None:
            alone = argument.partition("=")[0]
            raise UserError(f"{argument} has a value; allowed: {alone} without one, or --config.{field}=VALUE")
        if negated:
            options[field] = False
        elif text is None:
            waiting = field
        else:
            options[field] = value_of(text)
    if waiting:
        options[waiting] = True
    return rest, options


def value_of(text: str) -> Any:
    """What a person has typed, as the value of Python that it looks like.

    Args:
        text: of the command line.

    Returns:
        A bool, number, text, tuple of those, or None.

    >>> [value_of(text) for text in ("64", "1e-3", "true", "gelu", "64,32", "none", "'1'")]
    [64, 0.001, True, 'gelu', (64, 32), None, '1']
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    if isinstance(value, list):
        value = tuple(value)
    return value if isinstance(value, bool | int | float | str | tuple | None) else text
