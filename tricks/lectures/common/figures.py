"""Figures for slides: colours that a colour-blind person can tell apart, markers and lines that print in grey."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito, 2008; black last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
_FONT = 14


def new(columns: int = 1, rows: int = 1, *, width: float = 12.0, height: float = 6.2, **options: Any) -> Any:
    """A figure of a slide's proportions and its axes.

    Args:
        columns: of panels.
        rows: of panels.
        width: in inches.
        height: in inches.
        options: of `Figure.subplots`, such as `sharey=True`.

    Returns:
        The figure, and an array of rows times columns of axes, flattened.
    """
    # pyplot is left out: it keeps global state and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for axis in axes:
        axis.locator_params(nbins=6)
    return figure, axes


def seeds(axis: Any, x: float, values: Sequence[float], kind: int = 0, label: str | None = None) -> None:
    """A point for each seed at x, with their mean as a bar.

    Args:
        axis: of the panel.
        x: where.
        values: one for each seed.
        kind: number of the colour and the marker.
        label: in the legend.
    """
    spread = np.linspace(-0.08, 0.08, len(values)) if len(values) > 1 else np.zeros(1)
    axis.plot(
        x + spread, values, MARKERS[kind], color=COLOURS[kind], markerfacecolor="none", markeredgewidth=1.8, label=label
    )
    axis.plot([x - 0.2, x + 0.2], [np.mean(values)] * 2, "-", color=COLOURS[kind], linewidth=3)


def band(
    axis: Any, x: Sequence[float], runs: Sequence[Sequence[float]], kind: int = 0, label: str | None = None
) -> None:
    """The median over seeds as a line, with all of them between the lowest and the highest.

    Args:
        axis: of the panel.
        x: (points,).
        runs: (seeds, points).
        kind: number of the colour, the marker and the line.
        label: in the legend.
    """
    values = np.asarray(runs, np.float64)
    places = np.asarray(x, np.float64)
    axis.fill_between(places, values.min(0), values.max(0), color=COLOURS[kind], alpha=0.2, linewidth=0)
    every = max(len(x) // 10, 1)
    looks = {"color": COLOURS[kind], "linestyle": LINES[kind], "marker": MARKERS[kind], "markevery": every}
    axis.plot(places, np.median(values, 0), label=label, **looks)


def save(draw: Callable[[Any], Any], data: Any, stem: Path) -> None:
    """Draws in the style of slides, and writes PNG and SVG; the same data give the same files.

    Args:
        draw: `draw(data) -> figure`.
        data: what is drawn.
        stem: path without its ending.
    """
    import matplotlib

    style: Any = {
        "font.size": _FONT,
        "axes.titlesize": _FONT,
        "legend.fontsize": _FONT - 1,
        "legend.framealpha": 0.9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "lines.linewidth": 2.4,
        "lines.markersize": 8,
        # Text stays text.
        "svg.fonttype": "none",
        "svg.hashsalt": "tricks",
    }
    with matplotlib.rc_context(style):
        figure = draw(data)
        figure.savefig(stem.with_suffix(".png"), dpi=110)
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
