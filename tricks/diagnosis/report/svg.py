"""Figures of matplotlib as SVG that a page can hold: its colors are the page's, its text is text, its ids its own."""

import contextlib
import io
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

# Colors that matplotlib draws with, and the variables of page.css that take their place: light and dark differ there.
_VARIABLES = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "train": "#040404",
    "validation": "#050505",
    "bad": "#060606",
    "good": "#070707",
    "panel": "#080808",
}
INK, MUTED, GRID, TRAIN, VALIDATION, BAD, GOOD, PANEL = _VARIABLES.values()
WIDTH = 400
"""Of every picture, in its own units; a phone shows 0.8 of them as a pixel, so that text of 14 stays legible."""
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    # A dollar in somebody's name of a column is a dollar.
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 15,
    "axes.labelsize": 15,
    "xtick.labelsize": 14,
    "ytick.labelsize": 14,
    "legend.fontsize": 14,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "path.simplify_threshold": 0.5,
    "hatch.color": MUTED,
}
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """A context in which figures are made and rendered."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The page's reader may well have the fonts for a name that this machine has not.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def figure(height: float, **options: Any) -> tuple[Any, Any]:
    """A figure of `WIDTH` with one axis.

    Args:
        height: in the units of `WIDTH`.
        options: for `Figure.subplots`.

    Returns:
        Figure and axis.
    """
    # pyplot is left out: it keeps global state and asks for a display.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained", facecolor="none")
    FigureCanvasSVG(drawn)
    return drawn, drawn.subplots(**options)


def rendered(figure: Any, *, name: str, label: str) -> str:
    """A figure as one `<svg>` element.

    Args:
        figure: as `figure` makes it, within `settings`.
        name: what its ids begin with; no two pictures of a page have the same.
        label: what the picture shows, in words, for those who do not see it.

    Returns:
        Well-formed XML without a namespace, as HTML takes it.
    """
    file = io.BytesIO()
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            # The style sheet in it would be that of the whole page.
            if child.tag.removeprefix(_SVG) in ("metadata", "style"):
                parent.remove(child)
    referenced = _references(root)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        _adapt(element, name, referenced)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "class": "picture"}
    return ElementTree.tostring(root, encoding="unicode")


def _references(root: ElementTree.Element) -> set[str]:
    found = set()
    for element in root.iter():
        for value in element.attrib.values():
            if value.startswith("#"):
                found.add(value[1:])
            elif "url(#" in value:
                found.add(value.split("url(#")[1].split(")")[0])
    return found


def _adapt(element: ElementTree.Element, name: str, referenced: set[str]) -> None:
    linked = element.attrib.pop(_LINK, None)
    if linked is not None:
        element.set("href", f"#{name}-{linked[1:]}" if linked.startswith("#") else linked)
    own = element.attrib.pop("id", None)
    if own in referenced:
        element.set("id", f"{name}-{own}")
    for key, value in list(element.attrib.items()):
        if "url(#" in value:
            value = value.replace("url(#", f"url(#{name}-")
        if key in ("style", "fill", "stroke"):
            # The page's own font, which is seldom as wide as the one that room was made for.
            value = value.replace("font-family: 'DejaVu Sans', sans-serif; ", "")
            for variable, color in _VARIABLES.items():
                value = value.replace(color, f"var(--{variable})")
        element.set(key, value)
