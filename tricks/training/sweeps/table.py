"""The best settings of a sweep and what its factors explain, as text."""

import math
import textwrap

from tabulate import tabulate

from tricks.training.sweeps import results as of_sweep
from tricks.training.sweeps.factors import Interval
from tricks.training.sweeps.results import Results, Summary
from tricks.training.sweeps.settings import shown

_ROWS = 10
_COLUMNS = 79


def text(results: Results) -> str:
    """The best settings by their validation, with 95 % intervals over seeds, and the share that each factor explains.

    Args:
        results: of a sweep.

    Returns:
        Lines of less than 80 columns, as far as names and values permit.
    """
    settings = of_sweep.summaries(results)
    rows = [one for one in settings if one.validation.finite][:_ROWS]
    lines, count = _table(results, rows) if rows else ("", 0)
    parts = [lines] if rows else []
    if len(settings) > count:
        parts.append(f"{len(settings) - count} more settings in {of_sweep.ROWS}.csv")
    diverged = sum(one.diverged for one in settings)
    if diverged:
        parts.append(f"{diverged} of {len(results.rows)} lanes diverged")
    shares = of_sweep.explained(results)
    known = sorted(((share, name) for name, share in shares.items() if math.isfinite(share)), reverse=True)
    unknown = [name for name, share in shares.items() if not math.isfinite(share) and name != "seed"]
    if known and len(settings) > 1:
        names = short([name for _, name in known])
        shared = ", ".join(f"{names[name]} {share:.0%}" for share, name in known)
        if unknown:
            shared += f" ({', '.join(short(unknown).values())}: too few settings to tell)"
        line = f"differences in validation {results.metric}, by rank, are explained by: {shared}"
        parts.append(textwrap.fill(line, _COLUMNS, break_long_words=False))
    return "\n".join(parts)


def _table(results: Results, rows: list[Summary]) -> tuple[str, int]:
    """The table, and how many settings it has room for."""
    names = short(list(results.fields))
    several = any(one.lanes > 1 for one in rows)
    lanes = {row["setting"]: row["lane"] for row in reversed(results.rows)}
    headers = ["lanes" if several else "lane", *(names[field] for field in results.fields)]
    headers += [f"validation {results.metric}", f"test {results.metric}"]
    body = [
        (
            f"{lanes[one.setting]}-{lanes[one.setting] + one.lanes - 1}" if several else f"{lanes[one.setting]}",
            *(shown(one.chosen[field]) for field in results.fields),
            _interval(one.validation, results.metric) + _note(one),
            _interval(one.test, results.metric),
        )
        for one in rows
    ]
    align = ["left"] + ["right"] * len(results.fields) + ["left", "left"]
    wide = tabulate(body, headers=headers, colalign=align, disable_numparse=True)
    if max(map(len, wide.splitlines())) <= _COLUMNS:
        return wide, len(body)
    # Too many factors for a line: a column for each of the best settings.
    for count in range(len(body), 0, -1):
        columns = [tuple(column) for column in zip(headers, *body[:count], strict=True)]
        found = tabulate(columns, tablefmt="plain", disable_numparse=True)
        if max(map(len, found.splitlines())) <= _COLUMNS:
            break
    return found, count


def _interval(value: Interval, metric: str) -> str:
    """Mean and half of the interval.

    >>> _interval(Interval(0.98333, 0.002, 4), "accuracy"), _interval(Interval(0.5, math.nan, 1), "loss")
    ('98.33% ± 0.20', '0.5000')
    """
    if not value.finite:
        return ""
    percent = "accuracy" in metric
    spread = "" if math.isnan(value.half_width) else f" ± {100 * value.half_width:.2f}"
    if percent:
        return f"{value.mean:.2%}{spread}"
    spread = "" if math.isnan(value.half_width) else f" ± {value.half_width:.2g}"
    return f"{value.mean:.4f}{spread}" if 1e-3 <= abs(value.mean) < 1e5 else f"{value.mean:.3g}{spread}"


def _note(one: Summary) -> str:
    return f" ({one.diverged} of {one.lanes} diverged)" if one.diverged else ""


def short(fields: list[str]) -> dict[str, str]:
    """The last parts of dotted names, as many as tell them apart.

    >>> short(["optimizer.name", "seed"])
    {'optimizer.name': 'optimizer.name', 'seed': 'seed'}

    >>> short(["optimizer.learning_rate", "model.noise", "data.augment.noise"])
    {'optimizer.learning_rate': 'learning_rate', 'model.noise': 'model.noise', 'data.augment.noise': 'augment.noise'}
    """
    found = {}
    for field in fields:
        parts = field.split(".")
        # `name` alone says nothing.
        for count in range(1 + (parts[-1] == "name"), len(parts) + 1):
            name = ".".join(parts[-count:])
            alike = [f for f in fields if f == name or f.endswith(f".{name}")]
            if len(alike) == 1:
                break
        found[field] = name
    return found
