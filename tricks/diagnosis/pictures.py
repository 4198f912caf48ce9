"""Pictures of curvature: the spectrum, and the loss around a point."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from tricks.curvature import CriticalPoint, Surface

_POINTS = 600


def draw_spectrum(point: CriticalPoint, path: Path, *, title: str) -> None:
    """Draws the density of the eigenvalues on a logarithmic axis, with both ends and zero marked.

    Args:
        point: with its spectrum.
        path: of the PNG to write.
        title: above the picture.
    """
    figure, axis = _figure((9, 5))
    span = max(point.largest - point.smallest, 1e-12)
    width = span / 150
    grid = np.linspace(point.smallest - 0.06 * span, point.largest + 0.06 * span, _POINTS)
    assert point.spectrum is not None, "the whole picture was not asked for"
    nodes, weights, _ = (np.asarray(part, np.float64) for part in point.spectrum)
    density = smoothed(nodes, weights, grid, width)
    floor = max(density.max() * 1e-6, 1e-300)
    axis.fill_between(grid, floor, np.maximum(density, floor), color="tab:blue", alpha=0.35, linewidth=0)
    axis.plot(grid, np.maximum(density, floor), color="tab:blue", linewidth=1.5)
    axis.axvline(0, color="black", linestyle="--", linewidth=1.2, label="zero")
    for value, color, name in ((point.smallest, "tab:red", "smallest"), (point.largest, "tab:green", "largest")):
        axis.axvline(value, color=color, linewidth=2, label=f"{name}: {value:.3g}")
    axis.set_yscale("log")
    axis.set_ylim(floor, density.max() * 3)
    axis.set_xlim(grid[0], grid[-1])
    axis.set_xlabel("eigenvalue of the Hessian", fontsize=13)
    axis.set_ylabel("density", fontsize=13)
    axis.set_title(title, fontsize=14)
    axis.tick_params(labelsize=12)
    axis.legend(fontsize=12, loc="upper center")
    figure.savefig(path, dpi=120)


def draw_surface(
    surface: Surface,
    path: Path,
    *,
    title: str,
    names: Sequence[str],
    lengths: Sequence[float],
    lower: str = "the way out",
) -> None:
    """Draws the loss on a plane, as contours and in three dimensions, with the point and where it falls along u marked.

    Args:
        surface: as `tricks.curvature.error_surface` gives it.
        path: of the PNG to write.
        title: above the picture.
        names: of the two directions.
        lengths: of the two directions, in units of the parameters.
        lower: what the lowest place along the first direction is called.
    """
    from matplotlib import colormaps

    figure, _ = _figure((12, 5.2), axes=False)
    figure.suptitle(title, fontsize=14)
    first, second = (np.asarray(side) * length for side, length in zip(surface[:2], lengths, strict=True))
    losses = np.ma.masked_invalid(np.asarray(surface.losses))
    a, b = np.meshgrid(first, second)
    middle = (len(second) // 2, len(first) // 2)
    out = (middle[0], int(np.argmin(losses[middle[0]])))
    falls = losses[out] < losses[middle]

    flat = figure.add_subplot(1, 2, 1)
    # Levels that each hold as much of the square: the loss often rises by orders of magnitude in one corner.
    levels = np.unique(np.quantile(losses.compressed(), np.linspace(0.02, 0.98, 14)))
    lines = flat.contour(a, b, losses, levels=levels, colors=colormaps["viridis"](np.linspace(0, 0.9, len(levels))))
    flat.clabel(lines, fontsize=9, fmt="%.3g")
    flat.plot(0, 0, "o", color="tab:red", markersize=9, label=f"the point: {losses[middle]:.4g}")
    if falls:
        end = (first[out[1]], second[out[0]])
        flat.annotate("", end, (0, 0), arrowprops={"arrowstyle": "->", "color": "tab:red", "linewidth": 2.5})
        flat.plot(*end, "*", color="tab:red", markersize=14, label=f"{lower}: {losses[out]:.4g}")
    # Below the square: inside it would hide contours.
    flat.legend(fontsize=11, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)

    solid = figure.add_subplot(1, 2, 2, projection="3d")
    # The highest twentieth would press all the rest flat.
    solid.plot_surface(
        a,
        b,
        np.minimum(losses, np.quantile(losses.compressed(), 0.95)),
        cmap=colormaps["viridis"],
        alpha=0.75,
        linewidth=0,
    )
    solid.plot([0], [0], [losses[middle]], "o", color="tab:red", markersize=8, zorder=10)
    if falls:
        rows, columns = (np.linspace(start, stop, 50) for start, stop in zip(middle, out, strict=True))
        heights = map_coordinates(losses.filled(np.nan), [rows, columns], order=1)
        way = np.linspace(0, end[0], 50), np.linspace(0, end[1], 50), heights
        solid.plot(*way, color="tab:red", linewidth=3, zorder=11)
    solid.set_zlabel("loss", fontsize=12, labelpad=8)
    for axis in (flat, solid):
        axis.set_xlabel(names[0], fontsize=12, labelpad=8)
        axis.set_ylabel(names[1], fontsize=12, labelpad=8)
        axis.tick_params(labelsize=10)
    figure.savefig(path, dpi=120)


def _figure(size: tuple[float, float], axes: bool = True) -> tuple[Any, Any]:
    # pyplot is left out: it keeps global state and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots() if axes else None


def smoothed(nodes: np.ndarray, weights: np.ndarray, grid: np.ndarray, width: float) -> np.ndarray:
    """The density of eigenvalues from Lanczos quadratures, each node smoothed by a normal distribution.

    Args:
        nodes: [quadratures, nodes].
        weights: likewise; those of a quadrature sum to 1.
        grid: [points] where the density is wanted.
        width: standard deviation.

    Returns:
        [points], with an area of 1.

    >>> float(smoothed(np.zeros([1, 1]), np.ones([1, 1]), np.zeros(1), 2.0)[0])
    0.19947114020071635
    """
    away = (grid[:, None] - nodes.ravel()[None]) / width
    return np.exp(-(away**2) / 2) @ weights.ravel() / (len(nodes) * width * (2 * np.pi) ** 0.5)
