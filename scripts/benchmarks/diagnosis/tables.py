"""What came of the corpus as tables of Markdown, and the reliability diagram."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.diagnosis import score
from benchmarks.diagnosis.case import NAMES
from benchmarks.diagnosis.score import Judged, Rate


def markdown(said: Mapping[str, Sequence[Judged]]) -> str:
    """All tables.

    Args:
        said: the judged cases by who said it, ours first.

    Returns:
        Markdown.
    """
    judged = next(iter(said.values()))
    parts = sorted({case.part for case in judged})
    sections = [f"## {part}\n\n{_beside(said, part)}" for part in parts]
    for part in parts:
        own = [case for case in judged if case.part == part]
        sections.append(f"### By truth, {part}\n\n{_groups('truth', score.by(own, lambda case: case.truth))}")
        sections.append(f"### By program, {part}\n\n{_groups('program', score.by(own, lambda case: case.program))}")
        sections.append(f"### Truth and first finding, {part}\n\n{_confusion(own)}")
        sections.append(f"### Wrong first findings, {part}\n\n{_wrong(own)}")
        sections.append(f"### Calibration, {part}\n\n{_calibration(own)}")
    return "\n\n".join(sections) + "\n"


def _beside(said: Mapping[str, Sequence[Judged]], part: str) -> str:
    rows = []
    for name, judged in said.items():
        found = score.rates([case for case in judged if case.part == part])
        rows.append([name, found["first"], found["three"], found["false_alarms"]])
    return _table(
        rows, ["", "first finding right, of faults", "among the first three", "false alarms, of healthy runs"]
    )


def _groups(what: str, groups: Mapping[str, Mapping[str, Rate]]) -> str:
    rows = [[name, _short(found["all_first"]), _short(found["three"])] for name, found in groups.items()]
    return _table(rows, [what, "first finding right", "fault among the first three"])


def _short(rate: Rate) -> str:
    return f"{rate.counted} of {rate.of}" if rate.of else ""


def _confusion(judged: Sequence[Judged]) -> str:
    counts = score.confusion(judged)
    seen = {first for row in counts.values() for first in row}
    columns = [name for name in NAMES if name in seen] + sorted(seen - {*NAMES})
    rows = [[truth, *(row.get(first, "") for first in columns)] for truth, row in counts.items()]
    return _table(rows, ["truth", *columns])


def _wrong(judged: Sequence[Judged]) -> str:
    rows = []
    for case in judged:
        if case.rank() != 1:
            findings = ", ".join(f"{found['name']} {found['confidence']:.2f}" for found in case.said()[:3])
            rows.append([case.case, " or ".join(sorted(case.right)), findings])
    return _table(rows, ["case", "right", "said"]) if rows else "none"


def _calibration(judged: Sequence[Judged]) -> str:
    rows = [
        [f"{b['low']:.1f} to {b['high']:.1f}", f"{b['confidence']:.2f}", f"{b['right']:.2f}", b["count"]]
        for b in score.calibration(judged)
    ]
    return _table(rows, ["confidence", "mean", "share right", "findings"])


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate([[str(cell) for cell in row] for row in rows], headers, tablefmt="github", disable_numparse=True)


def draw_reliability(judged: Mapping[str, Sequence[Judged]], path: Path) -> None:
    """Draws the share of right first findings over their confidence.

    Args:
        judged: cases by the name of their part.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for part, cases in judged.items():
        bins = score.calibration(cases)
        shares = [b["right"] for b in bins]
        bars = [
            [max(b["right"] - b["interval"][0], 0) for b in bins],
            [max(b["interval"][1] - b["right"], 0) for b in bins],
        ]
        axes.errorbar([b["confidence"] for b in bins], shares, bars, marker="o", capsize=3, linewidth=1, label=part)
    axes.set(xlabel="confidence of the first finding", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=130)
