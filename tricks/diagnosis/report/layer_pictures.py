"""Pictures of a network layer by layer: the norm of its gradient, and units that learn nothing."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tricks.diagnosis.report import axes, svg
from tricks.diagnosis.report.picture import Picture, told_apart
from tricks.diagnosis.report.reading import part
from tricks.diagnosis.report.words import number, sentence

_LAYERS = 20
_EPOCHS = 24


def gradients(report: Mapping[str, Any]) -> Picture | None:
    """The norm of the gradient by layer and epoch, as a map of its decades.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        The picture; None without a positive norm.
    """
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    history = [row for row in part(report, "measurements", "layers").get("history", []) if row.get("gradient_norms")]
    history = axes.thinned(history, _EPOCHS)
    layers = axes.thinned(list(dict.fromkeys(name for row in history for name in row["gradient_norms"])), _LAYERS)
    norms = axes.drawable([[row["gradient_norms"].get(name) for row in history] for name in layers])
    positive = norms[np.isfinite(norms) & (norms > 0)]
    if not len(positive):
        return None
    low, high = math.floor(np.log10(positive.min())), math.ceil(np.log10(positive.max()))
    high = max(high, low + 1)
    # A dozen tones can be told apart.
    step = 0.5 if high - low <= 6 else math.ceil((high - low) / 12)
    bounds = 10.0 ** np.arange(low, high + step, step)
    figure, axis = svg.figure(150 + 24 * max(len(layers), 3))
    tones = colormaps["viridis"]
    cells = axis.pcolormesh(
        np.ma.masked_where(~(norms > 0), norms), cmap=tones, norm=BoundaryNorm(bounds, tones.N), edgecolors=svg.PANEL
    )
    for row, cell in zip(*np.nonzero(~(norms > 0)), strict=True):
        axis.text(cell + 0.5, row + 0.5, "0" if norms[row, cell] == 0 else "✗", ha="center", va="center", color=svg.BAD)
    axis.invert_yaxis()
    axis.set_yticks(np.arange(len(layers)) + 0.5, told_apart(layers, 16))
    shown = np.unique(np.linspace(0, len(history) - 1, min(len(history), 7)).round().astype(int))
    axis.set_xticks(shown + 0.5, [number(history[i].get("epoch", i)) for i in shown])
    axis.set_xlabel("epoch")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(cells, ax=axis, orientation="horizontal", fraction=0.1, aspect=30)
    decades = bounds[:: 2 if step < 1 else 1]
    marked = decades[:: math.ceil(len(decades) / 5)]
    bar.set_ticks(marked, labels=[axes.power(decade) for decade in marked])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    last = {name: norm for name, norm in zip(layers, norms[:, -1], strict=True) if math.isfinite(norm)}
    text = "The last one is not finite."
    if last:
        ends = [min(last, key=last.__getitem__), max(last, key=last.__getitem__)]
        epoch = number(history[-1].get("epoch", len(history)))
        text = f"In epoch {epoch} from {' to '.join(f'{last[name]:.2g} ({name})' for name in ends)}."
    if (norms == 0).any():
        text += " 0: no gradient at all."
    if np.isnan(norms).any():
        text += " ✗: not finite."
    return Picture("gradients", "Norm of the gradient by layer and epoch", text, figure)


def units(report: Mapping[str, Any]) -> Picture | None:
    """The shares of dead and of saturated units in each layer, first and last.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        The picture; None where neither was measured.
    """
    layers = part(report, "measurements", "layers")
    last = {row.get("name", ""): row for row in layers.get("last", {}).get("activations", [])}
    first = {row.get("name", ""): row for row in layers.get("initial", {}).get("activations", [])}
    names = axes.thinned(list(dict.fromkeys([*first, *last])), _LAYERS)
    kinds = [kind for kind in ("dead_units", "saturated") if any(kind in {**first, **last}[name] for name in names)]
    if not kinds:
        return None
    figure, axis = svg.figure(120 + 34 * max(len(names), 2))
    looks = {"dead_units": (svg.BAD, "o", "dead"), "saturated": (svg.VALIDATION, "D", "saturated")}
    said = []
    for place, kind in enumerate(kinds):
        color, marker, word = looks[kind]
        y = np.arange(len(names)) + 0.26 * (place - (len(kinds) - 1) / 2)
        start, end = ([_share(rows.get(name, {}), kind) for name in names] for rows in (first, last))
        axis.hlines(y, start, end, color=color, linewidth=2)
        style = {"color": color, "linestyle": "", "markersize": 9, "clip_on": False, "markeredgewidth": 2}
        axis.plot(start, y, marker=marker, markerfacecolor="none", label=f"{word} at the start", **style)
        axis.plot(end, y, marker=marker, label=f"{word} at the end", **style)
        shares = {name: share for name, share in zip(names, end, strict=True) if math.isfinite(share)}
        if shares:
            most = max(shares, key=shares.__getitem__)
            share = f"at most {shares[most]:.3g} % of a layer ({most})" if shares[most] else "none"
            said.append(f"{word} at the end: {share}")
    axis.set_yticks(range(len(names)), told_apart(names, 16))
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(-2, 102)
    axis.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    axis.grid(axis="x", linewidth=0.8)
    axis.tick_params(axis="y", length=0)
    axes.legend(figure, axis)
    return Picture(
        "units",
        "Dead and saturated units",
        sentence(said) if said else "At the start only.",
        figure,
    )


def _share(row: Mapping[str, Any], kind: str) -> float:
    """In percent; a whole number counts units."""
    value = row.get(kind, math.nan)
    return 100 * value / row.get("units", 1) if isinstance(value, int) else 100 * value
