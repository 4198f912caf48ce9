"""The benchmark: trains what is missing, has each case diagnosed, and writes the tables. Goes on where it was ended."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

from benchmarks.diagnosis import adapter, corpus, effects, peers, tables, training, worker
from benchmarks.diagnosis.case import DEVELOPMENT, HELD_OUT, Case
from benchmarks.diagnosis.score import Judged, Rate, rates, wilson
from benchmarks.harness import Comparison
from tricks.cli.json_files import read_json, write_json

_PART = flags.DEFINE_enum("part", DEVELOPMENT, [DEVELOPMENT, HELD_OUT, "all"], "diagnosis: which cases.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/diagnosis", "diagnosis: folder of runs, reports and tables.")
_ABLATION = flags.DEFINE_enum("ablation", "none", list(adapter.ABLATIONS), "diagnosis: what is left out.")
_CASES = flags.DEFINE_string("cases", "", "diagnosis: a number of cheap cases, or words of names with commas between.")
_JOBS = flags.DEFINE_integer("jobs", 2, "diagnosis: processes at once.", lower_bound=1)
_TRY = flags.DEFINE_bool("try", False, "diagnosis: also try the first prescriptions of each report.")
_PEERS = flags.DEFINE_string("peer_python", "", "diagnosis: a Python that has the peers; empty for this one.")
_DIAGNOSE = flags.DEFINE_string("diagnose", adapter.DIAGNOSE, "diagnosis: module:function; empty to train alone.")
_JUDGE = flags.DEFINE_string("judge", adapter.JUDGE, "diagnosis: module:function of an ablation.")
_OURS = "tricks"


def compare(rounds: int) -> list[Comparison]:
    """Works through the cases that the flags choose; `rounds` is for benchmarks of time."""
    workdir = Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    chosen = corpus.chosen(_PART.value, _CASES.value)
    twins = {case.name: case for case in corpus.cases() if case.name in {c.twin for c in chosen}}
    _work(workdir, [case for case in twins.values() if case not in chosen], diagnose="")
    _work(workdir, chosen, diagnose=_DIAGNOSE.value)
    outcomes = {name: training.outcome(name, workdir) for name in {*twins, *(case.name for case in chosen)}}
    counted = _counted(chosen, outcomes, workdir)
    if not _DIAGNOSE.value:
        return []
    said = _said(counted, workdir)
    _write(said, workdir)
    if _TRY.value:
        print(_helped(counted, workdir))
    return [row for part in (DEVELOPMENT, HELD_OUT) for row in _rows(said, part)]


def _work(workdir: Path, cases: Sequence[Case], diagnose: str) -> None:
    todo = [case for case in cases if not _is_done(workdir, case, diagnose)]
    processes = []
    for number in range(min(_JOBS.value, len(todo))):
        job = workdir / f"job_{number}.json"
        settings = {"workdir": str(workdir), "diagnose": diagnose, "ablation": _ABLATION.value, "judge": _JUDGE.value}
        # A case of each program goes to each process in turn, so that they end together.
        write_json(
            job, {**settings, "attempt": _TRY.value, "cases": [case.name for case in todo[number :: _JOBS.value]]}
        )
        # One file for each process, read as it grows.
        with open(job.with_suffix(".log"), "w") as log:
            processes.append(subprocess.Popen([sys.executable, worker.__file__, str(job)], stdout=log, stderr=log))
    try:
        _watch(processes, [workdir / f"job_{n}.log" for n in range(len(processes))], len(todo))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _is_done(workdir: Path, case: Case, diagnose: str) -> bool:
    outcome = training.outcome(case.name, workdir)
    if outcome is None or not diagnose or outcome["status"] == "skipped":
        return outcome is not None
    kinds = [_ABLATION.value] + [worker.TRIED] * _TRY.value
    return all((workdir / worker.REPORTS / kind / f"{case.name}.json").exists() for kind in kinds)


def _watch(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path], total: int) -> None:
    with tqdm(total=total, unit="case", disable=not total) as bar:
        running = True
        while running:
            running = False
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                    continue
                running = True
            lines = [line for log in logs for line in log.read_text().splitlines()]
            bar.update(sum(line.startswith(("done ", "failed ")) for line in lines) - bar.n)
    for line in lines if total else []:
        if line.startswith("failed "):
            print(f"{line.split(':')[0]}; the reason is in {logs[0].parent}/job_*.log")


def _counted(cases: Sequence[Case], outcomes: Mapping[str, Any], workdir: Path) -> list[Case]:
    """Cases that obey their rule; the others are said."""
    judged = {}
    for case in cases:
        outcome, twin = outcomes[case.name], outcomes[case.twin]
        if outcome and twin:
            judged[case.name] = effects.judge(case, outcome, twin)
    write_json(workdir / "effects.json", {name: effect._asdict() for name, effect in judged.items()})
    for name, effect in judged.items():
        if not effect.counts:
            print(f"{name} does not count: {effect.why}")
    return [case for case in cases if case.name in judged and judged[case.name].counts]


def _said(cases: Sequence[Case], workdir: Path) -> dict[str, list[Judged]]:
    folder = workdir / worker.REPORTS / _ABLATION.value
    ready = [case for case in cases if (folder / f"{case.name}.json").exists()]
    said = {_OURS: [_judged(case, read_json(folder / f"{case.name}.json")["findings"]) for case in ready]}
    for peer, found in peers.ask(_PEERS.value, [workdir / training.RUNS / case.name for case in ready]).items():
        said[peer] = [_judged(case, one["findings"]) for case, one in zip(ready, found, strict=True)]
        print(f"{peer} refused {sum(one['error'] is not None for one in found)} of {len(found)} runs")
    return said


def _helped(cases: Sequence[Case], workdir: Path) -> str:
    """How many of the prescriptions that were tried helped."""
    files = [workdir / worker.REPORTS / worker.TRIED / f"{case.name}.json" for case in cases]
    tried = [
        (finding["name"], one["tried"]["kept"])
        for file in files
        if file.exists()
        for finding in read_json(file)["findings"]
        for one in finding["prescription"]
        if one["tried"] and one["tried"]["kept"] is not None
    ]
    by_name = Counter(name for name, _ in tried)
    kept = Counter(name for name, helped in tried if helped)
    rows = [f"{name}: {kept[name]} of {count}" for name, count in sorted(by_name.items())]
    return f"prescriptions that helped: {wilson(kept.total(), len(tried))}; {', '.join(rows)}"


def _judged(case: Case, findings: Sequence[Mapping[str, Any]]) -> Judged:
    return Judged(case.name, case.program, case.part, case.truth, case.kind, case.right, findings)


def _write(said: Mapping[str, Sequence[Judged]], workdir: Path) -> None:
    name = f"{_PART.value}-{_ABLATION.value}"
    rows = {
        who: [{**case._asdict(), "right": sorted(case.right), "rank": case.rank()} for case in judged]
        for who, judged in said.items()
    }
    for cases in rows.values():
        for row in cases:
            row["findings"] = [{key: found[key] for key in ("name", "confidence")} for found in row["findings"]]
    (workdir / f"results-{name}.json").write_text(json.dumps(rows, indent=1))
    (workdir / f"results-{name}.md").write_text(tables.markdown(said))
    parts = {part: [case for case in said[_OURS] if case.part == part] for part in (DEVELOPMENT, HELD_OUT)}
    tables.draw_reliability(
        {part: cases for part, cases in parts.items() if cases}, workdir / f"reliability-{name}.png"
    )
    print(f"tables: {workdir / f'results-{name}.md'}")


def _rows(said: Mapping[str, Sequence[Judged]], part: str) -> list[Comparison]:
    found = {who: rates([case for case in judged if case.part == part]) for who, judged in said.items()}
    ours = found.pop(_OURS)
    rows = []
    for measure, what in (
        ("first", "first finding right"),
        ("three", "right among three"),
        ("false_alarms", "false alarms"),
    ):
        for who, theirs in found.items():
            mine, other = _share(ours[measure]), _share(theirs[measure])
            better, worse = (mine, other) if measure != "false_alarms" else (other, mine)
            if ours[measure].of:
                rows.append(
                    Comparison(f"{part}, {what}", who, mine, other, better / worse if worse else float("inf"), "share")
                )
    return rows


def _share(rate: Rate) -> float:
    return rate.counted / rate.of if rate.of else float("nan")
