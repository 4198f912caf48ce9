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


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters: both ends of it, which tell names apart.

    >>> shortened("encoder/block_3/Dense_0", 16)
    'encoder/…Dense_0'
    """
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"
