"""Pictures of where a training stands: the spectrum of the Hessian, and the loss around the weights."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tricks.diagnosis.pictures import smoothed
from tricks.diagnosis.report import axes, svg
from tricks.diagnosis.report.picture import Picture, shortened
from tricks.diagnosis.report.reading import array, part
from tricks.diagnosis.report.words import number

_POINTS = 240
_LEVELS = 10


def spectrum(report: Mapping[str, Any]) -> Picture | None:
    """The density of the eigenvalues, with zero, both ends, and the largest that this learning rate bears.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        The picture; None where the density or an end is missing.
    """
    curvature = part(report, "measurements", "curvature")
    nodes, weights = (array(curvature.get("spectrum", {}).get(name, [])) for name in ("nodes", "weights"))
    if not nodes.size or nodes.shape != weights.shape or not {"smallest", "largest"} <= set(curvature):
        return None
    # A quadrature that ended early has None for the rest.
    nodes, weights = np.nan_to_num(nodes), np.where(np.isfinite(nodes), np.nan_to_num(weights), 0.0)
    low, high = curvature["smallest"], curvature["largest"]
    found = nodes[weights > 0]
    if not len(found):
        return None
    ends = min(low, found.min()), max(high, found.max())
    span = max(ends[1] - ends[0], 1e-6 * abs(ends[1]), 1e-12)
    grid = np.linspace(ends[0] - 0.06 * span, ends[1] + 0.06 * span, _POINTS)
    density = smoothed(nodes, weights, grid, span / 100)
    floor = max(density.max() * 1e-6, 1e-300)
    figure, axis = svg.figure(330)
    axis.fill_between(grid, floor, np.maximum(density, floor), color=svg.TRAIN, alpha=0.3, linewidth=0)
    axis.plot(grid, np.maximum(density, floor), color=svg.TRAIN, linewidth=2)
    marks = [
        (0.0, svg.MUTED, "--", "zero"),
        (low, svg.BAD, "-", f"smallest {number(float(low))}"),
        (high, svg.GOOD, "-.", f"largest {number(float(high))}"),
    ]
    limit = _largest_borne(curvature)
    caption = f"The eigenvalues go from {number(float(low))} to {number(float(high))}."
    if limit is not None:
        caption += f" Steps of this size are stable up to {number(limit)}."
        if limit < 3 * high:
            marks.append((limit, svg.VALIDATION, ":", f"stable up to {number(limit)}"))
    for value, color, line, label in marks:
        axis.axvline(value, color=color, linestyle=line, linewidth=2.2, label=label)
    axis.set_yscale("log")
    axis.set_ylim(floor, density.max() * 3)
    axis.set_yticks([])
    axis.set_ylabel("density (log)")
    axis.set_xlabel("eigenvalue of the Hessian")
    axis.locator_params(axis="x", nbins=5)
    axis.minorticks_off()
    axes.legend(figure, axis)
    return Picture("spectrum", "Spectrum of the Hessian", caption, figure)


def surface(report: Mapping[str, Any]) -> Picture | None:
    """The loss on the plane of the two outermost eigenvectors, with the weights and the lowest place marked.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        The picture; None where it is missing or nowhere finite.
    """
    from matplotlib import colormaps

    found = part(report, "measurements", "curvature", "surface")
    first, second, losses = (array(found.get(name, [])) for name in ("first", "second", "losses"))
    if losses.shape != (len(second), len(first)) or min(losses.shape) < 3 or np.isfinite(losses).sum() < 9:
        return None
    kept = np.ma.masked_invalid(losses)
    # Levels that each hold as much of the square: the loss often rises by orders of magnitude in one corner.
    levels = np.unique(np.quantile(kept.compressed(), np.linspace(0, 1, _LEVELS + 1)))
    if len(levels) < 3:
        return None
    tones = colormaps["viridis"](np.linspace(0, 1, len(levels) - 1))
    figure, axis = svg.figure(420)
    filled = axis.contourf(first, second, kept, levels=levels, colors=tones)
    axis.contour(first, second, kept, levels=levels[1:-1], colors="white", linewidths=0.6, alpha=0.5)
    bar = figure.colorbar(filled, ax=axis, orientation="horizontal", fraction=0.06, aspect=30, spacing="uniform")
    bar.set_ticks(
        levels[:: math.ceil(len(levels) / 5)],
        labels=[f"{level:.3g}" for level in levels[:: math.ceil(len(levels) / 5)]],
    )
    bar.outline.set_visible(False)
    bar.set_label("loss")
    here = _nearest(second, 0), _nearest(first, 0)
    lowest = np.unravel_index(np.ma.argmin(kept), kept.shape)
    for (row, place), marker, size, name in ((lowest, "*", 17, "lowest"), (here, "o", 10, "the weights")):
        label = f"{name}: {number(float(losses[row, place]))}"
        axis.plot(
            first[place],
            second[row],
            marker,
            color="white",
            markeredgecolor="black",
            markersize=size,
            markeredgewidth=1.5,
            clip_on=False,
            label=label,
        )
    names = [*found.get("names", []), "", ""]
    axis.set_xlabel(shortened(names[0] or "first direction", 40))
    axis.set_ylabel(shortened(names[1] or "second direction", 30))
    axis.locator_params(nbins=5)
    axes.legend(figure, axis)
    values = [number(float(losses[place])) for place in (here, lowest)]
    return Picture(
        "surface",
        "Loss around the weights",
        f"The loss at the weights is {values[0]}, the lowest on this plane {values[1]}.",
        figure,
    )


def _largest_borne(curvature: Mapping[str, Any]) -> float | None:
    """The largest eigenvalue at which steps do not grow: where the stability would be at its limit."""
    stability, limit = curvature.get("stability"), curvature.get("stability_limit")
    if not stability or limit is None or stability < 0:
        return None
    return float(curvature["largest"] * limit / stability)


def _nearest(values: np.ndarray, value: float) -> int:
    return int(np.argmin(abs(values - value)))
