"""Runs experiments, and keeps what came of them: each in a folder of its own, which is not run again."""

import ast
import hashlib
import importlib.metadata
import math
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from tricks.cli.json_files import read_json, write_json
from tricks.errors import UserError
from tricks.lectures.common import figures
from tricks.lectures.common.experiment import INCONCLUSIVE, Data, Effort, Experiment, Judgement

RESULT, DATA = "result.json", "data.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
# They say what is made of the runs; the runs do not hang on them.
_AFTER_THE_RUNS = ("judge", "draw")
_MODULES_AFTER = ("figures", "statistics", "experiment", "results")


def reproduce(
    experiment: Experiment, effort: Effort, workdir: Path, note: Callable[[str], None], *, version: str
) -> dict[str, Any]:
    """Runs an experiment, or takes its runs from an earlier time; judges it, and draws its figure.

    Args:
        experiment: which.
        effort: how much is run.
        workdir: where its folder is made, `NAME/` with result.json, data.json, NAME.png and NAME.svg.
        note: told how far it is.
        version: of this package.

    Returns:
        The content of result.json.

    Raises:
        UserError: the files of an earlier time are damaged.
    """
    folder = workdir / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    of_runs = {
        "source": fingerprint(experiment),
        "tricks": version,
        "quick": effort.quick,
        "images": effort.images,
    }
    kept = _read(folder / DATA)
    if kept is None or kept["of"] != of_runs:
        _require_the_same_size(kept, of_runs, folder)
        with tempfile.TemporaryFile(dir=folder):
            pass  # Else minutes of runs would be lost.
        began = time.monotonic()
        data = experiment.run(effort, note)
        seconds = time.monotonic() - began
        kept = {"of": of_runs, "seconds": round(seconds, 1), "versions": _versions(version), "data": data}
        write_json(folder / DATA, kept)
        # The same numbers as they will be read again.
        kept = read_json(folder / DATA)
    try:
        judgement, draw = _judged(experiment, kept["data"])
    except (KeyError, IndexError) as error:
        raise UserError(
            f"{folder / DATA} lacks what its experiment asks for ({error}); remove it, and its runs are done again"
        ) from error
    result = {
        "name": experiment.name,
        "claim": experiment.claim.title,
        "idea": experiment.claim.idea,
        "lecture": experiment.claim.lecture,
        "source": experiment.claim.source,
        "rule": experiment.claim.rule,
        "verdict": judgement.verdict,
        "measured": judgement.measured,
        "interval": list(judgement.interval),
        "effect": judgement.effect,
        "sentence": judgement.sentence,
        "details": dict(judgement.details),
        "second": _second(experiment, judgement),
        "seeds": kept["data"].get("seeds", []),
        "data": kept["data"].get("examples", ""),
        "quick": effort.quick,
        "seconds": kept["seconds"],
        "versions": kept["versions"],
    }
    figures.save(draw, kept["data"], folder / experiment.name)
    write_json(folder / RESULT, result)
    # As a reader finds it, without numbers that are not finite.
    return dict(read_json(folder / RESULT))


def _second(experiment: Experiment, judgement: Judgement) -> dict[str, Any] | None:
    """The second rule with its verdict."""
    if judgement.second is None:
        return None
    return {"rule": experiment.claim.second_rule, **judgement.second._asdict()}


def _require_the_same_size(kept: dict[str, Any] | None, of_runs: dict[str, Any], folder: Path) -> None:
    """An hour of runs is not to be lost to a flag that was forgotten."""
    for name in ("quick", "images") if kept else ():
        if kept is not None and kept["of"].get(name) != of_runs[name]:
            had, has = (f"{name}={one.get(name)}" for one in (kept["of"], of_runs))
            raise UserError(
                f"{folder} holds runs with {had}, and these have {has}: give another --workdir, or remove it"
            )


def _judged(experiment: Experiment, data: Data) -> tuple[Judgement, Callable[[Data], Any]]:
    """The verdict and what draws it; inconclusive where values that are not finite, None here, forbid one of them."""
    try:
        judgement = experiment.judge(data)
        if _lacking(data):
            experiment.draw(data)
        return judgement, experiment.draw
    except (TypeError, ValueError, ZeroDivisionError):
        count = _lacking(data)
        if count == 0:
            raise
    told = f"{count} of the values that were measured are not finite, so nothing is concluded."
    return Judgement(INCONCLUSIVE, math.nan, (-math.inf, math.inf), "not measured", told), _nothing


def _lacking(data: Any) -> int:
    if isinstance(data, dict):
        return sum(map(_lacking, data.values()))
    return sum(map(_lacking, data)) if isinstance(data, list) else int(data is None)


def _nothing(data: Data) -> Any:
    figure, (axis,) = figures.new()
    axis.set(xlabel="values that are not finite", ylabel="number", xticks=[])
    axis.bar([0], [_lacking(data)], color=figures.COLOURS[0])
    return figure


def fingerprint(experiment: Experiment) -> str:
    """Of what an experiment runs: its source and that of the modules beside it that it takes, without docstrings,
    comments, the claim, the rule and the drawing.

    Args:
        experiment: with the path of its file.

    Returns:
        A short text that changes with what is run.
    """
    told = [_source(Path(experiment.path)), *(_source(path) for path in sorted(_shared(Path(experiment.path))))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _source(path: Path) -> str:
    tree = ast.parse(path.read_text())
    tree.body = [part for part in tree.body if not _is_after_the_runs(part)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _shared(path: Path) -> set[Path]:
    """The modules of this folder that a file takes for its runs, and those that they take."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(__package__):
            names = [str(node.module).rpartition(".")[2]] + [alias.name for alias in node.names]
            found |= {Path(__file__).with_name(f"{name}.py") for name in names if name not in _MODULES_AFTER}
    found = {one for one in found if one.is_file() and one != path}
    return found.union(*(_shared(one) for one in found))


def _is_after_the_runs(part: ast.stmt) -> bool:
    if isinstance(part, ast.FunctionDef):
        return part.name in _AFTER_THE_RUNS or part.name.startswith(tuple(f"_{name}" for name in _AFTER_THE_RUNS))
    targets = part.targets if isinstance(part, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == "CLAIM" for target in targets)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = read_json(path)
        if not {"of", "data", "seconds", "versions"} <= set(found):
            raise ValueError("it lacks parts")
        if not isinstance(found["of"], dict) or not isinstance(found["data"], dict):
            raise ValueError("its parts are of another kind")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it, and its runs are done again") from error
    return dict(found)


def _versions(version: str) -> dict[str, str]:
    device = jax.devices()[0]
    return {
        "tricks": version,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": f"{jax.device_count()} x {device.device_kind}",
    }


def shown(value: float) -> str:
    """A number as it stands in a sentence.

    >>> shown(0.0123456), shown(1234.5), shown(1234567.0), shown(12.0), shown(float("nan"))
    ('0.0123', '1,230', '1.23e+06', '12', 'unknown')
    """
    if math.isnan(value):
        return "unknown"
    return f"{float(f'{value:.3g}'):,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"
