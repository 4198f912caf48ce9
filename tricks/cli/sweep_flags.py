"""Flags of a sweep: --sweep.optimizer.learning_rate=1e-4:1:log:16, for any field of the config."""

import re

from tricks.errors import UserError

_FLAG = re.compile(r"--?sweep\.([^=]*)(?:=(.*))?", re.S)


def taken_from(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Divides a command line into what is swept and the rest.

    Args:
        argv: as `sys.argv`.

    Returns:
        The rest, and the text of each range by its dotted field.

    Raises:
        UserError: a range is missing, or there are two for one field.

    >>> taken_from(["sweep.py", "--sweep.model.dropout=0,0.5", "--seeds=4", "--sweep.train.epochs", "1,2"])
    (['sweep.py', '--seeds=4'], {'model.dropout': '0,0.5', 'train.epochs': '1,2'})
    """
    rest: list[str] = []
    ranges: dict[str, str] = {}
    waiting = ""
    for argument in argv:
        found = _FLAG.fullmatch(argument)
        if waiting and not argument.startswith("--"):
            _add(ranges, waiting, argument)
            waiting = ""
            continue
        if waiting or (found and not found[1]):
            raise UserError(f"--sweep.{waiting} has no values; give --sweep.{waiting or 'FIELD'}=RANGE")
        if not found:
            rest.append(argument)
        elif found[2] is None:
            waiting = found[1]
        else:
            _add(ranges, found[1], found[2])
    if waiting:
        raise UserError(f"--sweep.{waiting} has no values; give --sweep.{waiting}=RANGE")
    return rest, ranges


def _add(ranges: dict[str, str], field: str, text: str) -> None:
    field = field.removeprefix("config.")
    if field in ranges:
        raise UserError(f"--sweep.{field} is given twice; give all its values in one, such as 0,0.2,0.5")
    ranges[field] = text
