"""What a picture on a page is."""

from typing import Any, NamedTuple


class Picture(NamedTuple):
    """A figure with its words."""

    name: str
    """What its ids begin with."""
    title: str
    caption: str
    """What it shows, in words: below it, and for those who do not see it."""
    figure: Any
    """Of matplotlib."""


def told_apart(names: list[str], length: int) -> list[str]:
    """Names of layers without the path that all share, each of at most so many characters.

    >>> told_apart(["net/block_0/Dense_1/kernel", "net/block_1/Dense_1/kernel"], 16)
    ['block_0', 'block_1']
    """
    paths = [name.split("/") for name in names]
    while len(names) > 1 and len({path[0] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[1:] for path in paths]
    while len(names) > 1 and len({path[-1] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[:-1] for path in paths]
    return [shortened("/".join(path), length) for path in paths]


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters: both ends of it, which tell names apart.

    >>> shortened("encoder/block_3/Dense_0", 16)
    'encoder/…Dense_0'
    """
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"
