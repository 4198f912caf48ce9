"""What each named column of a table, or array of a file, is for."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from tricks.errors import UserError

_LISTED = 20


class Roles(NamedTuple):
    """Names by their use; empty where there is none."""

    targets: tuple[str, ...]
    features: tuple[str, ...]
    split: str
    group: str


def assign(
    names: Sequence[str], *, target: str, split_column: str = "", group_column: str = "", ignore: str = "", of: str
) -> Roles:
    """Gives each name its use: what is not named for another one is a feature.

    Args:
        names: all there are.
        target: one, or several with commas between.
        split_column: one that tells the part of each example.
        group_column: one whose examples of the same value stay together.
        ignore: those left out, with commas between.
        of: what they name, `columns` or `arrays`.

    Returns:
        The names by their use.

    Raises:
        UserError: a name is not there, or has two uses.

    >>> assign(["size", "price", "id"], target="price", ignore="id", of="columns").features
    ('size',)
    """
    targets = chosen(names, "data.target", target, of)
    ignored = chosen(names, "data.ignore", ignore, of)
    split = chosen(names, "data.split_column", split_column, of)
    group = chosen(names, "data.group_column", group_column, of)
    uses = {"data.target": targets, "data.ignore": ignored, "data.split_column": split, "data.group_column": group}
    for one, other in (
        ("data.target", "data.ignore"),
        ("data.target", "data.split_column"),
        ("data.target", "data.group_column"),
        ("data.split_column", "data.ignore"),
        ("data.split_column", "data.group_column"),
        ("data.group_column", "data.ignore"),
    ):
        for name in uses[one]:
            if name in uses[other]:
                raise UserError(f"{other} is {name!r}, which {one} names too; name it in one of them")
    for field, given in (("data.split_column", split), ("data.group_column", group)):
        if len(given) > 1:
            raise UserError(f"{field} is {','.join(given)!r}; allowed: the name of one")
    used = {*targets, *ignored, *split, *group}
    return Roles(targets, tuple(name for name in names if name not in used), "".join(split), "".join(group))


def chosen(names: Sequence[str], field: str, given: str, of: str) -> tuple[str, ...]:
    """The names that a field gives with commas between; a whole that is a name itself is one.

    Args:
        names: all there are.
        field: of the config, for messages.
        given: its value.
        of: what they name.

    Returns:
        Those given.

    Raises:
        UserError: one is not there, or is given twice.

    >>> chosen(["size", "price", "last, first"], "data.ignore", "price, size", "columns")
    ('price', 'size')
    >>> chosen(["size", "price", "last, first"], "data.ignore", "last, first", "columns")
    ('last, first',)
    """
    if not given:
        return ()
    there = {*names}
    split = (given,) if given in there else tuple(given.split(","))
    parts = tuple(part if part in there else part.strip() for part in split)
    for part in parts:
        if part not in there:
            raise UserError(f"{field} is {given!r}; {missing(names, part, of)}")
    if len({*parts}) < len(parts):
        raise UserError(f"{field} is {given!r}; it names one twice")
    return parts


def missing(names: Sequence[str], name: str, of: str) -> str:
    """What is allowed in place of a name that is not there, and what may have been meant.

    >>> missing(["size", "price"], "prize", "columns")
    'did you mean price? allowed: the columns size, price'
    >>> missing([" y "], "y", "columns")
    "did you mean ' y '? allowed: the columns  y "
    """
    close = [known for known in names if known.strip() == name.strip()] or difflib.get_close_matches(name, names, n=1)
    # Spaces around a name are seen only between quotes.
    meant = f"did you mean {close[0] if close[0] == close[0].strip() else repr(close[0])}? " if close else ""
    return f"{meant}allowed: the {of} {listed(names)}"


def listed(names: Sequence[str]) -> str:
    """Names with commas between, of many the first.

    >>> listed(["size", "price"])
    'size, price'
    """
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
