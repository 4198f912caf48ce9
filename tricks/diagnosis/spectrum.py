"""The critical-point analysis of a finished run: on the screen, as JSON, and as pictures."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tabulate import tabulate
from tqdm import tqdm

from tricks import losses, streams
from tricks.cli.json_files import without_nan
from tricks.config import STATISTICS
from tricks.curvature import CriticalPoint, Operator, classify_operator, error_surface, hessian, trees
from tricks.data import Split
from tricks.data import draw as sample
from tricks.diagnosis import pictures
from tricks.diagnosis.finished_run import FinishedRun
from tricks.errors import UserError
from tricks.losses import Batch, Objective
from tricks.training.placement import shares

SPLITS = ("train", "validation", "test")
_BATCH = 1000


class Subject(NamedTuple):
    """What is looked at: a loss, a point, and examples."""

    name: str
    """In the titles of pictures."""
    loss_fn: Objective
    params: Any
    batches: list[Batch]
    held_out: list[Batch] | None
    """Others, to confirm on; None where `batches` are all there are."""
    step: int
    split: str


def subject_of(
    run: FinishedRun, *, split: str = "train", examples: int = 2000, statistics: str = "running", seed: int = 0
) -> Subject:
    """Chooses what of a run is looked at.

    Args:
        run: as `finished_run.load` reads it.
        split: whose loss is looked at: one of `SPLITS`.
        examples: a sample of that many, a half of all at most, checked against as many others; 0, or as many as there
            are, takes all.
        statistics: what batch normalization does: one of `STATISTICS`.
        seed: of the sample.

    Returns:
        The subject.

    Raises:
        UserError: an argument is none of those allowed.
    """
    if split not in SPLITS:
        raise UserError(f"--split is {split!r}; allowed: {', '.join(SPLITS)}")
    if statistics not in STATISTICS:
        raise UserError(f"--statistics is {statistics!r}; allowed: {', '.join(STATISTICS)}")
    if statistics == "batch" and not run.weights.model_state:
        raise UserError("--statistics is 'batch'; the model of this run has no batch normalization")
    mesh = jax.tree.leaves(run.weights.params)[0].sharding.mesh
    batches, held_out = _batches(getattr(run.data, split), examples, seed, mesh)
    loss_fn = losses.objective(
        run.network.apply, run.loss, run.weights.model_state, batch_statistics=statistics == "batch"
    )
    return Subject(run.config.data.name, loss_fn, run.weights.params, batches, held_out, run.step, split)


def analyse(
    subject: Subject,
    *,
    tolerance: float | None = None,
    gradient_tolerance: float | None = None,
    seed: int = 0,
) -> CriticalPoint:
    """Classifies the point, with a progress bar where that takes long.

    Args:
        subject: what is looked at.
        tolerance: as for `tricks.curvature.classify`.
        gradient_tolerance: likewise.
        seed: of the random vectors.

    Returns:
        The verdict.

    Raises:
        UserError: an argument is none of those allowed.
    """
    _, loss_fn, params, batches, held_out, *_ = subject
    try:
        with tqdm(desc="Hessian-vector products", unit="", leave=False, disable=None) as bar:
            point = classify_operator(
                _counted(hessian(loss_fn, params, batches), bar.update),
                params,
                held_out=None if held_out is None else hessian(loss_fn, params, held_out),
                key=streams.vectors(seed, "spectrum"),
                tolerance=tolerance,
                gradient_tolerance=gradient_tolerance,
                spectrum=True,
            )
            jax.effects_barrier()
    except ValueError as error:
        raise UserError(str(error)) from error
    return point


def draw(subject: Subject, point: CriticalPoint, workdir: Path) -> None:
    """Draws `spectrum.png`, and `surface.png` on the plane of the outermost eigenvectors.

    Args:
        subject: what was looked at.
        point: what it came to.
        workdir: where to write.
    """
    title = f"{point.verdict}: {subject.name} {subject.split} loss {point.loss:.4g} after {subject.step:,} steps"
    pictures.draw_spectrum(point, workdir / "spectrum.png", title=title)
    values = point.smallest, point.largest
    lengths = [picture_length(value, point.loss, subject.params) for value in values]
    directions = tuple(
        jax.tree.map(lambda u, length=length: length * u, vector)
        for vector, length in zip((point.smallest_vector, point.largest_vector), lengths, strict=True)
    )
    surface = error_surface(subject.loss_fn, subject.params, directions, batches=subject.batches)
    names = [f"along the eigenvector of {value:.3g}" for value in values]
    lower = "the way out" if point.verdict in ("saddle", "maximum") else "lower"
    pictures.draw_surface(surface, workdir / "surface.png", title=title, names=names, lengths=lengths, lower=lower)


def table(subject: Subject, point: CriticalPoint) -> str:
    """The verdict with its evidence, in less than 80 columns.

    Args:
        subject: what was looked at.
        point: as `analyse` gives it.

    Returns:
        Several lines.
    """
    low, high = point.bounds
    rows = [
        ("verdict", point.verdict),
        ("because", point.reason),
        ("loss", f"{point.loss:.6g}"),
        ("gradient norm", f"{point.gradient_norm:.4g} (zero up to {point.gradient_tolerance:.3g})"),
        ("smallest eigenvalue", f"{point.smallest:.5g} (residual {point.residuals[0]:.1g})"),
        ("largest eigenvalue", f"{point.largest:.5g} (residual {point.residuals[1]:.1g})"),
        ("none outside", f"{low:.4g} to {high:.4g}"),
        *((name, _number(getattr(point, name))) for name in ("positive", "zero", "negative")),
        ("zero means", f"|eigenvalue| up to {point.tolerance:.3g}"),
        ("minimum ratio", _ratio(point.minimum_ratio)),
        ("without zeros", _ratio(point.significant_minimum_ratio)),
        ("confidence", f"{point.confidence:.4g}"),
        ("products", f"{point.products}"),
        ("examples", f"{_count(subject.batches):,}" + (" and as many others" if subject.held_out else ", all of them")),
        ("mode", point.mode),
    ]
    if point.held_out_curvature is not None:
        rows.insert(6, ("the same held out", f"{point.held_out_curvature:.5g}"))
    return tabulate(rows, tablefmt="plain", maxcolwidths=[20, 56], disable_numparse=True)


def _count(batches: list[Batch] | None) -> int:
    return sum(len(batch.targets) for batch in batches or [])


def _number(interval: Any) -> str:
    if interval.lower == interval.upper:
        return f"{interval.value:,.0f}"
    return f"about {interval.value:,.0f} ({interval.lower:,.0f} to {interval.upper:,.0f})"


def _ratio(interval: Any) -> str:
    if interval.lower == interval.upper:
        return f"{interval.value:.4f}"
    return f"about {interval.value:.4f} ({interval.lower:.4f} to {interval.upper:.4f})"


def _batches(split: Split, examples: int, seed: int, mesh: Mesh) -> tuple[list[Batch], list[Batch] | None]:
    if examples == 0 or examples >= len(split.targets):
        return _cut(split, mesh), None
    # A verdict that rests on a handful of others would be none.
    count = min(examples, len(split.targets) // 2)
    chosen, others = sample(split, (count, count), streams.sample(seed, "spectrum"))
    return _cut(chosen, mesh), _cut(others, mesh)


def _cut(split: Split, mesh: Mesh) -> list[Batch]:
    # Divided among the devices where that comes out even; a ragged rest counts by its examples.
    batches = []
    for start in range(0, len(split.targets), _BATCH):
        batch = jax.tree.map(lambda a, start=start: a[start : start + _BATCH], Batch(*split))
        spec = PartitionSpec("data") if len(batch.targets) % shares(mesh) == 0 else PartitionSpec()
        batches.append(jax.device_put(batch, NamedSharding(mesh, spec)))
    return batches


def _counted(operator: Operator, count: Callable[[], Any]) -> Operator:
    def apply(inner: Callable[[Any], Any], vector: Any) -> Any:
        jax.debug.callback(lambda: count() and None)
        return inner(vector)

    return Operator(
        jax.tree_util.Partial(apply, operator.apply),
        operator.like,
        operator.loss,
        operator.gradient,
        operator.mode,
        division=operator.division,
    )


def picture_length(value: float, loss: float, params: Any) -> float:
    """How far to go for the curvature c to change the loss f by its own size, but no further than the weights are long.

    min((2 |f| / |c|)^(1/2), |w|), and 1 in place of |w| where that is 0.

    Args:
        value: c.
        loss: f.
        params: w.

    Returns:
        A length, in units of the parameters.

    >>> import jax.numpy as jnp
    >>> picture_length(-4.0, 2.0, 9 * jnp.ones(4))
    1.0
    """
    size = float(trees.norm(params)) or 1.0
    return min(math.sqrt(2 * max(abs(loss), 1e-12) / max(abs(value), 1e-12)), size)


def as_json(subject: Subject, point: CriticalPoint) -> dict[str, Any]:
    """What `spectrum.json` holds.

    Args:
        subject: what was looked at.
        point: what it came to.

    Returns:
        Plain values.
    """
    plain = {
        name: value._asdict() if hasattr(value, "_asdict") else value
        for name, value in point._asdict().items()
        if name not in ("smallest_vector", "largest_vector", "spectrum")
    }
    assert point.spectrum is not None, "the whole picture was not asked for"
    spectrum = {name: np.asarray(part).tolist() for name, part in point.spectrum._asdict().items()}
    return without_nan(
        {
            **plain,
            "step": subject.step,
            "split": subject.split,
            "examples": _count(subject.batches),
            "held_out_examples": _count(subject.held_out),
            "spectrum": spectrum,
        }
    )
