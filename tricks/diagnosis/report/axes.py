"""What the axes of several pictures share."""

import math
from typing import Any

import numpy as np


def legend(figure: Any, axis: Any, columns: int = 2) -> None:
    """Puts the legend above the axis, where it hides nothing.

    Args:
        figure: of matplotlib.
        axis: whose lines have labels.
        columns: as many as have room.
    """
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=columns, columnspacing=1.0, handletextpad=0.4
    )


def thinned(rows: list[Any], most: int) -> list[Any]:
    """Not more than so many rows: the first, the last, and even steps between.

    >>> thinned(list(range(10)), 4)
    [0, 3, 6, 9]
    """
    chosen = np.unique(np.linspace(0, max(len(rows) - 1, 0), min(len(rows), most)).round().astype(int))
    return [rows[i] for i in chosen]


def drawable(values: Any) -> np.ndarray:
    """Numbers that axes can hold: what float32 cannot is drawn about where that ends.

    >>> drawable([1e300, None, 2, 1e-300]).tolist()
    [1e+39, nan, 2.0, 1e-39]
    """
    found = np.clip(np.array(values, float), -1e39, 1e39)
    return np.where((found > 0) & (found < 1e-39), 1e-39, found)


def spans_decades(values: np.ndarray) -> bool:
    """Whether numbers want a logarithmic axis; some may be NaN.

    >>> spans_decades(np.array([0.1, np.nan, 2.0])), spans_decades(np.array([0.0, 100.0]))
    (True, False)
    """
    low, high = _ends(values)
    return low > 0 and high / low > 10


def logarithmic(axis: Any, values: np.ndarray) -> None:
    """Makes an axis logarithmic, with a few plain numbers on it.

    Args:
        axis: an `xaxis` or `yaxis`.
        values: what is drawn along it.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = _ends(values)
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 1e3 else (1,), numticks=7))
    axis.set_major_formatter(power)
    axis.set_minor_formatter(NullFormatter())


def power(value: float, _: int | None = None) -> str:
    """A power of ten, or three of them.

    >>> power(1e-9), power(0.01), power(300.0), power(3e5)
    ('10⁻⁹', '0.01', '300', '3·10⁵')
    """
    exponent = math.floor(math.log10(value) + 1e-9)
    if abs(exponent) < 4:
        return f"{value:g}"
    times = "" if round(value / 10.0**exponent) == 1 else f"{value / 10.0**exponent:.0f}·"
    return f"{times}10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _ends(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return float(finite.min()), float(finite.max())
