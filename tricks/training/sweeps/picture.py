"""The picture of a sweep: a curve over one factor, a map of two, parallel axes of more."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from tricks.cli.json_files import unfinished
from tricks.training.sweeps import results as of_sweep
from tricks.training.sweeps.results import Results, Summary
from tricks.training.sweeps.settings import shown
from tricks.training.sweeps.table import short

FILE = "sweep.png"
_LARGE, _SMALL = 15, 12
_TICKS = 12
_WIDE = 8  # Columns with room for words.
_LONGEST = 16
_HEIGHTS = 6
_APART = 0.03
_PAPER = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
_MOST_NUMBERS = 150  # That are legible in a map.


def draw(workdir: Path, results: Results, title: str) -> None:
    """Draws `sweep.png`.

    Args:
        workdir: of the sweep.
        results: of the sweep.
        title: above the picture.
    """
    # pyplot is left out: it keeps global state and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = [one for one in of_sweep.summaries(results) if one.lanes]
    varied = [field for field in results.fields if len({_key(one.chosen[field]) for one in settings}) > 1]
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    lost = sum(not one.validation.finite for one in settings)
    note = f" ({lost} of {len(settings)} settings diverged)" if lost else ""
    figure.suptitle(title + note, fontsize=_LARGE)
    if not any(one.validation.finite for one in settings):
        figure.text(0.5, 0.5, "all lanes diverged", ha="center", va="center", fontsize=_LARGE)
    elif len(varied) == 2 and len(settings) > 2:
        _map(figure, settings, varied, results)
    elif len(varied) > 2:
        _parallel(figure, settings, varied, results)
    else:
        _curve(figure, settings, varied, results)
    temporary = unfinished(workdir / FILE)
    figure.savefig(temporary, dpi=150, format="png")
    temporary.replace(workdir / FILE)


def _curve(figure: Any, settings: list[Summary], varied: list[str], results: Results) -> None:
    axis = figure.subplots()
    field = varied[0] if varied else None
    places, labels, log = _axis([one.chosen[field] if field else "all" for one in settings])
    order = np.argsort(places)
    for split, color, marker in (("validation", "tab:orange", "o"), ("test", "tab:blue", "s")):
        values = [getattr(settings[i], split) for i in order]
        heights = [value.mean for value in values]
        spread = np.array([value.half_width if math.isfinite(value.half_width) else 0.0 for value in values])
        at = np.array(places, float)[order]
        axis.errorbar(at, heights, spread, color=color, marker=marker, linewidth=2, capsize=4, label=split)
    _label(axis.xaxis, axis.set_xscale, places, labels, log)
    axis.set_xlim(*_limits(places, log))  # Of those that diverged too.
    axis.set_xlabel(field or "", fontsize=_SMALL)
    for i in order:
        if settings[i].diverged:
            text = f"{settings[i].diverged} of {settings[i].lanes} diverged"
            axis.annotate(
                text, (places[i], 0.03), xycoords=("data", "axes fraction"), rotation=90, ha="center", color="tab:red"
            ).set_in_layout(False)
    axis.set_ylabel(f"{results.metric} at the best epoch", fontsize=_SMALL)
    means = [one.validation.mean for one in settings if one.validation.finite]
    if means and min(means) > 0 and max(means) > 20 * min(means):
        axis.set_yscale("log")
    several = any(one.lanes > 1 for one in settings)
    axis.legend(fontsize=_SMALL, title="mean, 95 % over seeds" if several else None)
    axis.grid(alpha=0.3)


def _map(figure: Any, settings: list[Summary], varied: list[str], results: Results) -> None:
    axis = figure.subplots()
    across, up = sorted(varied, key=lambda f: len({_key(one.chosen[f]) for one in settings}), reverse=True)
    columns, rows = ([*_sorted([one.chosen[f] for one in settings])] for f in (across, up))
    means = np.full((len(rows), len(columns)), np.nan)
    tried = np.zeros(means.shape, bool)
    for one in settings:
        place = rows.index(one.chosen[up]), columns.index(one.chosen[across])
        tried[place] = True
        if one.validation.finite:
            means[place] = one.validation.mean
    if len(settings) < 0.5 * means.size:
        return _scatter(figure, axis, settings, (across, up), results)
    norm, colors = _shades(means[np.isfinite(means)]), _colors(results)
    image = axis.imshow(means, cmap=colors, norm=norm, aspect="auto", origin="lower", interpolation="nearest")
    digits = ".1%" if "accuracy" in results.metric else ".3g"
    if means.size <= _MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(means):
            dark = np.isfinite(value) and (norm(value) > 0.5) == results.falls
            lost = ("diverged" if len(columns) <= _WIDE else "div.") if tried[i, j] else ""
            text = format(value, digits) if np.isfinite(value) else lost
            size = _SMALL if len(columns) <= _WIDE else 8
            axis.text(j, i, text, ha="center", va="center", color="white" if dark else "black", fontsize=size)
    for labels, set_ticks in ((columns, axis.set_xticks), (rows, axis.set_yticks)):
        every = max(1, math.ceil(len(labels) / _TICKS))
        places = range(0, len(labels), every)
        set_ticks(places, [_cut(shown(labels[i])) for i in places], fontsize=_SMALL)
    axis.set_xlabel(across, fontsize=_SMALL)
    axis.set_ylabel(up, fontsize=_SMALL)
    _bar(figure, image, axis, results)
    return None


def _scatter(figure: Any, axis: Any, settings: list[Summary], fields: tuple[str, str], results: Results) -> None:
    """Two factors that were drawn: a point for each setting."""
    kept = [one for one in settings if one.validation.finite]
    sides = []
    for field, which, scale in ((fields[0], axis.xaxis, axis.set_xscale), (fields[1], axis.yaxis, axis.set_yscale)):
        places, labels, log = _axis([one.chosen[field] for one in kept])
        _label(which, scale, places, labels, log)
        sides.append(places)
    means = np.array([one.validation.mean for one in kept])
    points = axis.scatter(*sides, c=means, norm=_shades(means), cmap=_colors(results), s=90, edgecolor="k")
    axis.set_xlabel(fields[0], fontsize=_SMALL)
    axis.set_ylabel(fields[1], fontsize=_SMALL)
    _bar(figure, points, axis, results)


def _parallel(figure: Any, settings: list[Summary], varied: list[str], results: Results) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable

    axis = figure.subplots()
    kept = [one for one in settings if one.validation.finite][::-1]  # The best are drawn last, above the others.
    means = np.array([one.validation.mean for one in kept])
    names, shades = short(varied), _shades(means)
    columns = []
    for place, field in enumerate(varied):
        at, labels, log = _axis([one.chosen[field] for one in kept])
        heights = np.log(at) if log else np.array(at, float)
        low, high = heights.min(), heights.max()
        columns.append((heights - low) / (high - low) if high > low else np.full(len(heights), 0.5))
        ticks = dict(zip(map(float, columns[-1]), labels, strict=True))
        if len(ticks) > _HEIGHTS and _are_numbers([one.chosen[field] for one in kept]):
            marks = np.linspace(0, 1, _HEIGHTS)
            values = low + marks * (high - low)
            ticks = {float(y): f"{v:.2g}" for y, v in zip(marks, np.exp(values) if log else values, strict=True)}
        for y, text in ticks.items():
            axis.annotate(
                text,
                (place, y),
                xytext=(6, 0),
                textcoords="offset points",
                fontsize=10,
                va="center",
                bbox=_PAPER,
                zorder=5,
            )
        axis.axvline(place, color="0.6", linewidth=1)
    # Beside each other, where several have one value; the last axis is the result.
    apart = np.linspace(-_APART, _APART, len(means)) if len(means) > 1 else np.zeros(1)
    columns = [column + apart for column in columns] + [np.array(shades(means), float)]
    axis.axvline(len(varied), color="0.6", linewidth=1)
    colors = colormaps[_colors(results)]
    for i, value in enumerate(means):
        axis.plot(range(len(columns)), [c[i] for c in columns], color=colors(shades(value)), linewidth=1.6, alpha=0.8)
    labels = [*(names[field] for field in varied), f"validation {results.metric}"]
    axis.set_xticks(range(len(labels)), labels, fontsize=_SMALL)
    axis.set_yticks([])
    axis.set_xlim(-0.35, len(varied) + 0.1)
    axis.set_ylim(-0.05, 1.08)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    _bar(figure, ScalarMappable(shades, colors), axis, results)


def _shades(means: np.ndarray) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    if means.size == 0:
        return Normalize(0, 1)
    low, high = float(means.min()), float(means.max())
    if low > 0 and high > 20 * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _colors(results: Results) -> str:
    return "viridis_r" if results.falls else "viridis"


def _bar(figure: Any, shaded: Any, axis: Any, results: Results) -> None:
    figure.colorbar(shaded, ax=axis).set_label(f"validation {results.metric}, mean over seeds", fontsize=_SMALL)


def _axis(values: list[Any]) -> tuple[list[float], list[str], bool]:
    """Where values stand on an axis, what they are called there, and whether it is logarithmic."""
    if _are_numbers(values):
        numbers = [float(value) for value in values]
        positive = [number for number in numbers if number > 0]
        wide = bool(positive) and max(positive) >= 20 * min(positive)
        if min(numbers) > 0 or not wide or min(numbers) < 0:
            return numbers, [shown(value) for value in values], wide and min(numbers) > 0
    # Words, and 0 beside numbers of several decades, which no scale has room for.
    different = _sorted(values)
    return [float(different.index(value)) for value in values], [_cut(shown(value)) for value in values], False


def _limits(places: list[float], log: bool) -> tuple[float, float]:
    low, high = min(places), max(places)
    if log:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _cut(label: str) -> str:
    """The end of a long label, where paths differ.

    >>> _cut("relu"), _cut("examples/own/networks/cnn.py:build")
    ('relu', '…ks/cnn.py:build')
    """
    return label if len(label) <= _LONGEST else f"…{label[1 - _LONGEST :]}"


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _label(axis: Any, set_scale: Any, places: list[float], labels: list[str], log: bool) -> None:
    if log:
        set_scale("log")
    named = dict(sorted(zip(places, labels, strict=True)))
    if len(named) <= _TICKS and not log:
        axis.set_ticks([*named], [*named.values()], fontsize=_SMALL)


def _sorted(values: list[Any]) -> list[Any]:
    different = list({_key(value): value for value in values}.values())
    try:
        return sorted(different)
    except TypeError:
        return different


def _key(value: Any) -> str:
    return repr(value)
