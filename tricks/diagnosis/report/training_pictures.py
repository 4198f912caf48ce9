"""Pictures of a training: its curves, its gradients and units layer by layer, and the runs it was compared with."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tricks.diagnosis.report import svg
from tricks.diagnosis.report.picture import Picture, shortened
from tricks.diagnosis.report.reading import column, part
from tricks.diagnosis.report.words import number

_LAYERS = 20
_EPOCHS = 24
_RUNS = 16


def curves(report: Mapping[str, Any], measure: str) -> Picture | None:
    """A measure of training and validation by epoch, with what chance gives.

    Args:
        report: as `reading.cleaned` gives it.
        measure: `loss` or `accuracy`.

    Returns:
        The picture; None without two epochs of it.
    """
    epochs = [row for row in part(report, "measurements", "curves").get("epochs", []) if "epoch" in row]
    lines = {split: np.array(column(epochs, f"{split}_{measure}"), float) for split in ("train", "validation")}
    lines = {split: values for split, values in lines.items() if np.isfinite(values).sum() > 1}
    if not lines:
        return None
    x = np.array(column(epochs, "epoch"))
    chance = part(report, "measurements", "task").get(f"chance_{measure}")
    figure, axis = svg.figure(330)
    looks = {"train": (svg.TRAIN, "-", "o"), "validation": (svg.VALIDATION, "--", "s")}
    for split, values in lines.items():
        color, line, marker = looks[split]
        label = "training" if split == "train" else split
        every = max(1, len(x) // 12)
        axis.plot(
            x, values, line, color=color, marker=marker, markersize=5, markevery=every, linewidth=2.2, label=label
        )
    if chance is not None:
        axis.axhline(chance, color=svg.MUTED, linestyle=":", linewidth=2, label="chance")
    drawn = np.concatenate([*lines.values(), [chance] if chance else []])
    if measure == "loss" and _spans_decades(drawn):
        _logarithmic(axis.yaxis, *_ends(drawn))
    origin = part(report, "measurements", "origin").get("epoch")
    if origin is not None and measure == "loss":
        axis.axvline(origin, color=svg.BAD, linewidth=2, linestyle="-.", label="not finite")
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(linewidth=0.8)
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=4, columnspacing=1.2, handlelength=2.4
    )
    said = [
        f"{'training' if split == 'train' else split} {measure} goes from {number(float(found[0]))} to "
        f"{number(float(found[-1]))}" + (f" and is lowest at {number(float(found.min()))}" if measure == "loss" else "")
        for split, values in lines.items()
        for found in [values[np.isfinite(values)]]
    ]
    if chance is not None:
        said.append(f"chance gives {number(chance)}")
    return Picture(measure, measure.capitalize(), f"{'; '.join(said)}.".capitalize(), figure)


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
    history = _thinned(history, _EPOCHS)
    layers = _thinned(list(dict.fromkeys(name for row in history for name in row["gradient_norms"])), _LAYERS)
    norms = np.array([[row["gradient_norms"].get(name, math.nan) for row in history] for name in layers], float)
    positive = norms[np.isfinite(norms) & (norms > 0)]
    if not len(positive):
        return None
    low, high = math.floor(np.log10(positive.min())), math.ceil(np.log10(positive.max()))
    # A dozen tones can be told apart.
    step = max(0.5, math.ceil((high - low) / 12)) if high - low > 6 else 0.5
    bounds = 10.0 ** np.arange(low, max(high, low + 1) + step, step)
    figure, axis = svg.figure(150 + 24 * max(len(layers), 3))
    tones = colormaps["viridis"]
    cells = axis.pcolormesh(
        np.ma.masked_where(~(norms > 0), norms), cmap=tones, norm=BoundaryNorm(bounds, tones.N), edgecolors=svg.PANEL
    )
    for row, cell in zip(*np.nonzero(~(norms > 0)), strict=True):
        axis.text(cell + 0.5, row + 0.5, "0" if norms[row, cell] == 0 else "✗", ha="center", va="center", color=svg.BAD)
    axis.invert_yaxis()
    axis.set_yticks(np.arange(len(layers)) + 0.5, [shortened(name, 16) for name in layers])
    shown = np.unique(np.linspace(0, len(history) - 1, min(len(history), 7)).round().astype(int))
    axis.set_xticks(shown + 0.5, [number(history[i].get("epoch", i)) for i in shown])
    axis.set_xlabel("epoch")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(cells, ax=axis, orientation="horizontal", fraction=0.1, aspect=30)
    bar.set_ticks(bounds[:: max(1, math.ceil(len(bounds) / 5))])
    bar.ax.xaxis.set_major_formatter(_power)
    bar.minorticks_off()
    bar.outline.set_visible(False)
    last = {name: norm for name, norm in zip(layers, norms[:, -1], strict=True) if math.isfinite(norm)}
    text = "The last one is not finite."
    if last:
        ends = [min(last, key=last.__getitem__), max(last, key=last.__getitem__)]
        epoch = number(history[-1].get("epoch", len(history)))
        text = f"In epoch {epoch} from {' to '.join(f'{last[name]:.2g} ({name})' for name in ends)}."
    text += " 0: no gradient at all; ✗: not finite."
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
    names = _thinned(list(dict.fromkeys([*first, *last])), _LAYERS)
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
        said += [f"{name} {share:.0f} % {word}" for name, share in zip(names, end, strict=True) if share == share]
    axis.set_yticks(range(len(names)), [shortened(name, 16) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(-2, 102)
    axis.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    axis.grid(axis="x", linewidth=0.8)
    axis.tick_params(axis="y", length=0)
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=2, columnspacing=1.2, handletextpad=0.3
    )
    return Picture(
        "units", "Dead and saturated units", f"At the end: {', '.join(said)}." if said else "At the start only.", figure
    )


def comparisons(report: Mapping[str, Any]) -> Picture | None:
    """Training and validation loss of every comparison run beside those of the run itself.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        The picture; None without comparison runs.
    """
    found = report.get("measurements", {}).get("comparisons", [])
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in found:
        groups.setdefault(run.get("name", ""), []).append(run)
    if not groups:
        return None
    gaps = part(report, "measurements", "gaps")
    own = {
        "name": "this run",
        **{f"{split}_loss": gaps[split]["loss"] for split in ("train", "validation") if "loss" in gaps.get(split, {})},
    }
    rows = [[own], *list(groups.values())[:_RUNS]]
    figure, axis = svg.figure(110 + 30 * len(rows))
    looks = {"train": (svg.TRAIN, "o", "training loss"), "validation": (svg.VALIDATION, "s", "validation loss")}
    everything = np.array([value for runs in rows for split in looks for value in column(runs, f"{split}_loss")], float)
    for place, (split, (color, marker, label)) in enumerate(looks.items()):
        y = np.arange(len(rows)) + 0.24 * (place - 0.5)
        values = [np.array(column(runs, f"{split}_loss"), float) for runs in rows]
        values = [seeds[np.isfinite(seeds)] for seeds in values]
        low, middle, high = (
            [f(seeds) if len(seeds) else math.nan for seeds in values] for f in (np.min, np.median, np.max)
        )
        axis.hlines(y, low, high, color=color, linewidth=2)
        axis.plot(
            middle,
            y,
            marker,
            color=color,
            markersize=8,
            label=label,
            markerfacecolor=color if split == "train" else "none",
            markeredgewidth=2,
        )
        if middle[0] == middle[0]:
            axis.axvline(middle[0], color=color, linewidth=1.3, linestyle=":")
    if np.isfinite(everything).any() and _spans_decades(everything):
        _logarithmic(axis.xaxis, *_ends(everything))
    for row, runs in enumerate(rows):
        if not np.isfinite(column(runs, "train_loss") + column(runs, "validation_loss")).any():
            axis.text(
                0.02,
                row,
                runs[0].get("status", "no loss"),
                transform=axis.get_yaxis_transform(),
                va="center",
                color=svg.BAD,
                fontsize=13,
            )
    axis.set_yticks(range(len(rows)), [shortened(runs[0]["name"], 20) for runs in rows])
    axis.get_yticklabels()[0].set_fontweight("bold")
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("loss")
    axis.grid(axis="x", linewidth=0.8)
    axis.tick_params(axis="y", length=0)
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=2, columnspacing=1.2, handletextpad=0.3
    )
    said = (
        "The symbol is the median over seeds, the line goes from the least to the largest, dotted lines are this run."
    )
    return Picture("comparisons", "Comparison runs", said, figure)


def _share(row: Mapping[str, Any], kind: str) -> float:
    """In percent; a whole number counts units."""
    value = row.get(kind, math.nan)
    return 100 * value / row.get("units", 1) if isinstance(value, int) else 100 * value


def _thinned(rows: list[Any], most: int) -> list[Any]:
    chosen = np.unique(np.linspace(0, max(len(rows) - 1, 0), min(len(rows), most)).round().astype(int))
    return [rows[i] for i in chosen]


def _ends(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return float(finite.min()), float(finite.max())


def _spans_decades(values: np.ndarray) -> bool:
    low, high = _ends(values)
    return low > 0 and high / low > 10


def _logarithmic(axis: Any, low: float, high: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    few = high / low < 1e3
    axis.set_major_locator(LogLocator(subs=(1, 3) if few else (1,), numticks=7))
    axis.set_major_formatter(_plain if high < 1e5 and low > 1e-4 else _power)
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: int) -> str:
    return f"{value:g}"


def _power(value: float, _: int | None = None) -> str:
    """Such as 3·10⁻².

    >>> _power(1e-9), _power(0.0316), _power(1.0), _power(30.0)
    ('10⁻⁹', '0.03', '1', '30')
    """
    if value <= 0:
        return ""
    exponent = math.log10(value)
    if abs(exponent) < 3:
        return f"{value:.1g}" if value < 1 else f"{float(f'{value:.1g}'):g}"
    return "10" + str(round(exponent, 1)).removesuffix(".0").translate(str.maketrans("-0123456789.", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹·"))
