"""What the rule makes of the weights, for a person."""

from typing import Any, NamedTuple

import jax

from tricks.training.assembly import Static
from tricks.training.shardings import count, dimensions, name_of


class Row(NamedTuple):
    """What the rule makes of one array."""

    path: str
    shape: tuple[int, ...]
    dimension: int | None
    whole: int
    """Its bytes."""
    on_device: int
    """Those of them on each device."""


def rows(static: Static, params: Any) -> list[Row]:
    """What the rule makes of every array.

    Args:
        static: has the mesh and the rule.
        params: arrays, or their shapes.

    Returns:
        A row for each.
    """
    devices, found = count(static.mesh), []
    said = dimensions(static.mesh, static.rule, params)
    for (path, leaf), dimension in zip(jax.tree.leaves_with_path(params), said, strict=True):
        size = leaf.size * leaf.dtype.itemsize
        found.append(
            Row(name_of(path), tuple(leaf.shape), dimension, size, size if dimension is None else size // devices)
        )
    return found


def heading(static: Static, params: Any) -> str:
    """What the rule comes to, in a line; empty where the mesh has no dimension `model`.

    Args:
        static: has the mesh and the rule.
        params: arrays, or their shapes.

    Returns:
        A line, such as `model 4: 6 of 9 arrays divided, 0.27 of the bytes on a device`.
    """
    if count(static.mesh) == 1:
        return ""
    found = rows(static, params)
    divided = sum(row.dimension is not None for row in found)
    share = sum(row.on_device for row in found) / max(sum(row.whole for row in found), 1)
    return f"model {count(static.mesh)}: {divided} of {len(found)} arrays divided, {share:.2f} of the bytes on a device"


def table(static: Static, params: Any) -> str:
    """What the rule makes of every array, for a person.

    Args:
        static: has the mesh and the rule.
        params: arrays, or their shapes.

    Returns:
        A line for each array, its dimension that is divided in brackets, and a line of all.
    """
    lines = []
    for row in rows(static, params):
        sizes = [f"[{size}]" if place == row.dimension else str(size) for place, size in enumerate(row.shape)]
        lines.append((row.path, " x ".join(sizes) or "scalar", f"{row.on_device:,} of {row.whole:,} bytes"))
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(3)]
    shown = [
        "  ".join((one.ljust(widths[0]), two.ljust(widths[1]), three.rjust(widths[2]))) for one, two, three in lines
    ]
    return "\n".join([*shown, heading(static, params) or "model 1: all arrays are whole on every device"])
