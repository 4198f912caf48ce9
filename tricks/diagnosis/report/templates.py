"""How pages are made of templates: nothing that is put in is taken for markup, and nothing may be missing."""

from pathlib import Path
from typing import Any


def environment(folder: Path) -> Any:
    """An environment of Jinja for the templates of a folder.

    Args:
        folder: where they are.

    Returns:
        The environment, for filters and templates.

    >>> environment(Path(__file__).parent).from_string("{{ text }}").render(text="<b>")
    '&lt;b&gt;'
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
