"""The picture of a run: losses, accuracies and the learning rate over the epochs."""

import math
from pathlib import Path
from typing import IO, Any

from tricks.training.records import Record, epoch_means, measures

FILE = "curves.png"
_COLUMNS = 4


def draw(
    records: list[Record], file: Path | IO[bytes], *, steps_per_epoch: int, best_step: int | None, title: str
) -> None:
    """Draws `curves.png`.

    Args:
        records: of the run.
        file: for the PNG: a path, or open.
        steps_per_epoch: turns steps into epochs.
        best_step: marked in every panel; None for no mark.
        title: above the picture.
    """
    # pyplot is left out: it keeps global state and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = epoch_means(records)
    validation = [r for r in records if r.kind == "validation"]
    epochs = max((r.step / steps_per_epoch for r in records), default=1.0) or 1.0
    panels = [*(measures(records) or ["loss"]), "learning rate"]

    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5.2 * columns, 4.4 * rows))
    FigureCanvasAgg(figure)
    # Margins by hand, in inches: to have them computed draws everything twice.
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.2 / width, bottom=0.66 / height, top=1 - 0.75 / height, wspace=0.22, hspace=0.35
    )
    figure.suptitle(title, fontsize=15)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis, panel in zip(axes, panels, strict=False):
        if panel == "learning rate":
            rates = [r for r in records if r.kind == "train"]
            points = [(r.step / steps_per_epoch, r.values["learning_rate"]) for r in rates]
            axis.plot(*_columns(points), color="tab:green", linewidth=2, marker=_marker(points))
            axis.set_ylim(bottom=0)
        else:
            for split, color, lines in (("train", "tab:blue", train), ("validation", "tab:orange", validation)):
                # A mean over an epoch belongs to its middle, a validation to its end.
                shift = 0.5 if split == "train" else 0.0
                points = [(r.epoch - shift, r.values[panel]) for r in lines if panel in r.values]
                axis.plot(*_columns(points), color=color, linewidth=2, label=split, marker=_marker(points))
        if panel == "loss":
            _mark_escapes(axis, records, steps_per_epoch)
        if best_step is not None:
            axis.axvline(best_step / steps_per_epoch, color="gray", linestyle="--", label="best epoch")
        axis.set_xlim(-0.03 * epochs, 1.03 * epochs)
        axis.set_title(panel, fontsize=14)
        axis.set_xlabel("epoch", fontsize=13)
        axis.tick_params(labelsize=12)
        axis.grid(alpha=0.3)
    if _spans_decades([r.values["loss"] for r in (*train, *validation)]):
        axes[0].set_yscale("log")
    axes[0].legend(fontsize=12)
    figure.savefig(file, dpi=120)


def _mark_escapes(axis: Any, records: list[Record], steps_per_epoch: int) -> None:
    checks = [(r.step / steps_per_epoch, r) for r in records if r.kind == "escape"]
    moved = [(x, r.values) for x, r in checks if r.values["outcome"] in ("escaped", "perturbed")]
    stayed = [(x, r.values["loss"]) for x, r in checks if r.values["outcome"] not in ("escaped", "perturbed")]
    for i, (x, values) in enumerate(moved):
        label = None if i else "saddle escape"
        axis.plot(
            [x, x],
            [values["loss"], values["loss_after"]],
            color="tab:red",
            linewidth=2.5,
            marker="o",
            label=label,
            zorder=5,
        )
    if stayed:
        label = "check, no way out"
        axis.plot(*_columns(stayed), "x", color="tab:gray", markersize=7, label=label, zorder=4)


def _columns(points: list[tuple[float, Any]]) -> tuple[list[float], list[Any]]:
    return [x for x, _ in points], [y for _, y in points]


def _marker(points: list[tuple[float, Any]]) -> str:
    return "." if len(points) < 15 else ""


def _spans_decades(losses: list[float]) -> bool:
    positive = [loss for loss in losses if loss > 0]
    return len(positive) == len(losses) and bool(positive) and max(positive) / min(positive) > 10
