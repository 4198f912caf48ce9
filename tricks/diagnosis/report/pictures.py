"""All pictures of a page."""

import functools
from collections.abc import Mapping
from typing import Any

from tricks.diagnosis.report import curvature_pictures, layer_pictures, svg, training_pictures

_DRAWN = (
    functools.partial(training_pictures.curves, measure="loss"),
    functools.partial(training_pictures.curves, measure="accuracy"),
    training_pictures.comparisons,
    layer_pictures.gradients,
    curvature_pictures.spectrum,
    curvature_pictures.surface,
    layer_pictures.units,
)


def draw(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The pictures that the measurements of a report suffice for.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        For each `{"title", "caption", "svg"}`.
    """
    with svg.settings():
        found = [picture for picture in (make(report) for make in _DRAWN) if picture is not None]
        return [
            {
                "title": one.title,
                "caption": one.caption,
                "svg": svg.rendered(one.figure, name=one.name, label=f"{one.title}. {one.caption}"),
            }
            for one in found
        ]
