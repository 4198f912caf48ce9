"""Pictures of a training: its curves, and the runs it was compared with."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tricks.diagnosis.report import axes, svg
from tricks.diagnosis.report.picture import Picture, shortened
from tricks.diagnosis.report.reading import column, part
from tricks.diagnosis.report.words import number, sentence

_EPOCHS = 400
_RUNS = 16
_SPLITS = {"train": "training", "validation": "validation"}


def curves(report: Mapping[str, Any], measure: str) -> Picture | None:
    """A measure of training and validation by epoch, with what chance gives.

    Args:
        report: as `reading.cleaned` gives it.
        measure: `loss` or `accuracy`.

    Returns:
        The picture; None without two epochs of it.
    """
    epochs = [row for row in part(report, "measurements", "curves").get("epochs", []) if "epoch" in row]
    epochs = axes.thinned(epochs, _EPOCHS)
    lines = {split: axes.drawable(column(epochs, f"{split}_{measure}")) for split in ("train", "validation")}
    lines = {split: values for split, values in lines.items() if np.isfinite(values).sum() > 1}
    if not lines:
        return None
    x = np.array(column(epochs, "epoch"))
    chance = part(report, "measurements", "task").get(f"chance_{measure}")
    figure, axis = svg.figure(330)
    looks = {"train": (svg.TRAIN, "-", "o"), "validation": (svg.VALIDATION, "--", "s")}
    for split, values in lines.items():
        color, line, marker = looks[split]
        every = max(1, len(x) // 12)
        axis.plot(
            x,
            values,
            line,
            color=color,
            marker=marker,
            markersize=5,
            markevery=every,
            linewidth=2.2,
            label=_SPLITS[split],
        )
    if chance is not None:
        axis.axhline(chance, color=svg.MUTED, linestyle=":", linewidth=2, label="chance")
    drawn = np.concatenate([*lines.values(), [chance] if chance else []])
    if measure == "loss" and axes.spans_decades(drawn):
        axes.logarithmic(axis.yaxis, drawn)
    origin = part(report, "measurements", "origin").get("epoch")
    if origin is not None and measure == "loss":
        axis.axvline(origin, color=svg.BAD, linewidth=2, linestyle="-.", label="not finite")
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(linewidth=0.8)
    axes.legend(figure, axis, 3 if len(axis.get_legend_handles_labels()[1]) < 4 else 2)
    said = [
        f"{_SPLITS[split]} {measure} goes from {number(float(found[0]))} to "
        f"{number(float(found[-1]))}" + (f" and is lowest at {number(float(found.min()))}" if measure == "loss" else "")
        for split, values in lines.items()
        for found in [values[np.isfinite(values)]]
    ]
    if chance is not None:
        said.append(f"chance gives {number(chance)}")
    return Picture(measure, measure.capitalize(), sentence(said), figure)


def comparisons(report: Mapping[str, Any]) -> Picture | None:
    """Training and validation loss of every comparison run beside those of the run itself.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        The picture; None without comparison runs.
    """
    rows = _by_name(report)
    if len(rows) < 2:
        return None
    figure, axis = svg.figure(110 + 30 * len(rows))
    looks = {"train": (svg.TRAIN, svg.TRAIN, "o"), "validation": (svg.VALIDATION, "none", "s")}
    losses = {split: [_losses(runs, split) for runs in rows.values()] for split in looks}
    for place, (split, (color, inside, marker)) in enumerate(looks.items()):
        y = np.arange(len(rows)) + 0.24 * (place - 0.5)
        low, middle, high = (
            [f(seeds) if len(seeds) else math.nan for seeds in losses[split]] for f in (np.min, np.median, np.max)
        )
        axis.hlines(y, low, high, color=color, linewidth=2)
        style = {"color": color, "markerfacecolor": inside, "markersize": 8, "markeredgewidth": 2}
        axis.plot(middle, y, marker, label=f"{_SPLITS[split]} loss", **style)
        if math.isfinite(middle[0]):
            axis.axvline(middle[0], color=color, linewidth=1.3, linestyle=":")
    everything = np.concatenate([seeds for split in looks for seeds in losses[split]])
    if len(everything) and axes.spans_decades(everything):
        axes.logarithmic(axis.xaxis, everything)
    else:
        axis.locator_params(axis="x", nbins=5)
    for row, runs in enumerate(rows.values()):
        if not any(len(losses[split][row]) for split in looks):
            without = runs[0].get("status", "no loss")
            at = {"transform": axis.get_yaxis_transform(), "va": "center", "fontsize": 14}
            axis.text(0.02, row, shortened(without, 24), color=svg.BAD, **at)
    axis.set_yticks(range(len(rows)), [shortened(name, 20) for name in rows])
    axis.get_yticklabels()[0].set_fontweight("bold")
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("loss")
    axis.grid(axis="x", linewidth=0.8)
    axis.tick_params(axis="y", length=0)
    axes.legend(figure, axis)
    said = "Symbols are medians over seeds, lines go from the least to the largest, dotted lines are this run."
    return Picture("comparisons", "Comparison runs", said, figure)


def _by_name(report: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The run itself and those it was compared with, each with its seeds."""
    gaps, status = part(report, "measurements", "gaps"), part(report, "run").get("status", "no loss")
    own = {f"{split}_loss": gaps.get(split, {}).get("loss", math.nan) for split in _SPLITS}
    rows = {"this run": [{**own, "status": status}]}
    for run in report.get("measurements", {}).get("comparisons", []):
        if run.get("name", "") in rows or len(rows) <= _RUNS:
            rows.setdefault(run.get("name", ""), []).append(run)
    return rows


def _losses(runs: list[dict[str, Any]], split: str) -> np.ndarray:
    values = axes.drawable(column(runs, f"{split}_loss"))
    return values[np.isfinite(values)]
