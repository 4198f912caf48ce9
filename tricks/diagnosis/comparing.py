"""The comparison runs of a run directory: as many epochs as the run had, or as few as the time allows."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from tricks.diagnosis import comparison_plan, comparisons
from tricks.diagnosis.comparison_plan import Comparison
from tricks.diagnosis.measurements import curves
from tricks.diagnosis.subject import Subject
from tricks.training import sources

_LAGS = 0.15
"""Of the loss of a constant answer: from where on validation is so far behind that more examples may be the remedy."""
_FIRST_EPOCHS = 10
"""Where the run itself had fewer because it diverged or was interrupted."""
_TIMES, _LEAST_SECONDS, _MOST_SECONDS, _LATE = 10.0, 30.0, 100.0, 60.0
_TELLING = ("same", "rate / 10", "rate x 10", "unregularized", "wider", "perceptron", "linear", "subset")


def compare(
    run: Subject,
    measured: Mapping[str, Any],
    *,
    seconds: float | None = None,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Trains the comparison runs of a run.

    Args:
        run: as `subject.read` reads it.
        measured: of the run by itself.
        seconds: that they may take, about; None for ten times what the run took, from half a minute to 100 s.
        note: of the steps that are done, and of all.

    Returns:
        Rows as `comparisons.rows` gives them, and what could not be compared, in sentences.
    """
    if seconds is None:
        seconds = min(max(_TIMES * (run.summary.get("seconds") or 0.0), _LEAST_SECONDS), _MOST_SECONDS)
    features = jax.tree.leaves(run.data.train.features)
    plan = functools.partial(
        comparison_plan.wanted,
        run.config,
        train_examples=len(run.data.train.targets),
        features=sum(int(np.prod(leaf.shape[1:])) for leaf in features),
        plain_features=len(features) == 1 and features[0].dtype == np.float32,
        overfits=_gap(measured) > _LAGS,
        diverged=run.status == "diverged",
    )
    wanted = min(run.rules.epoch_of(max((r.step for r in run.records), default=0)), run.config.train.epochs)
    if run.status in ("diverged", "interrupted", "going on"):
        wanted = min(max(wanted, _FIRST_EPOCHS), run.config.train.epochs)
    wanted = max(wanted, 1)
    chosen, epochs = _affordable(run, plan, wanted, seconds)
    lanes = comparisons.lanes_of(run.config, chosen)
    find = functools.partial(sources.kept, run.workdir)
    stories, refused = comparisons.train(lanes, find, seconds=seconds + _LATE, note=note)
    rows = comparisons.rows(lanes, chosen, stories, run.config)
    ended = {row["name"] for row in rows}
    why = {chosen[lane.setting].name: refused[lane.number] for lane in lanes if lane.number in refused}
    missing = [f"the comparison {name!r}: {reason}" for name, reason in why.items()]
    late = [one.name for one in chosen if one.name not in ended | set(why)]
    dropped = [one.name for one in plan(epochs=1) if all(one.name != other.name for other in chosen)]
    if dropped:
        missing.append(f"the comparisons {', '.join(dropped)}: there was no time for them")
    if epochs < wanted:
        missing.append(f"comparison runs of as many epochs as the run had ({wanted}): there was time for {epochs}")
    if late:
        missing.append(f"the comparisons {', '.join(late)}: they had not ended after {seconds + _LATE:.0f} s")
    return rows, missing


def _affordable(
    run: Subject, plan: Callable[..., list[Comparison]], epochs: int, seconds: float
) -> tuple[list[Comparison], int]:
    """As many epochs as there is time for, and how many; where one is too many, the comparisons that tell most."""
    rate = curves.steps_per_second(run.records, run.config.data.batch_size)
    if rate is None:
        return plan(epochs=epochs), epochs
    of_one = run.rules.steps_per_epoch / rate * sum(one.seeds * one.cost for one in plan(epochs=1))
    if of_one <= seconds:
        epochs = min(epochs, int(seconds / of_one))
        return plan(epochs=epochs), epochs
    return [one._replace(seeds=min(one.seeds, 2)) for one in plan(epochs=1) if one.name in _TELLING], 1


def _gap(measured: Mapping[str, Any]) -> float:
    """How far validation lags behind training, as a share of the loss of a constant answer."""
    found, chance = measured.get("gaps"), (measured.get("task") or {}).get("chance_loss")
    if not found or not chance:
        return 0.0
    losses = [found[part]["loss"] for part in ("train", "validation")]
    return (losses[1] - losses[0]) / chance if None not in losses else 0.0
