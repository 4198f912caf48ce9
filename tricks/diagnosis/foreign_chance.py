"""The loss of the best constant answer, of a loss function that nobody has named."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.data import Split

_SAMPLE, _PERMUTATIONS = 500, 4
_MORE = 1.1
"""Above what answers that know nothing of the targets lose, by how much the best constant may seem to be for chance."""
_WORSE = 5.0
"""Times the loss of a constant answer: what hardly any trained weights lose, if it is that loss."""
_SUM = 1.9


class Chance(NamedTuple):
    """What a constant answer comes to."""

    loss: float | None
    """None where it is not known."""
    accuracy: float | None
    """Of classes: the share of the most frequent one."""
    reason: str
    """Why the loss is not known; empty where it is."""


def of(
    loss_fn: Callable[[Any, Any], jax.Array], numbers: Any, given: Split, classes: int | None, coded: np.ndarray
) -> Chance:
    """Cross-entropy's constant for classes, squared error's for numbers, as far as the loss bears it out.

    Of answers that know nothing of the targets none loses less than the best constant. So what the parameters lose on
    targets in another order is a bound: a constant above it is that of another loss.

    Args:
        loss_fn: `loss_fn(numbers, (features, targets)) -> mean loss`.
        numbers: where the training has come to.
        given: training examples, as they were given.
        classes: how many there are; None for numbers.
        coded: the targets as classes from 0 on, or as numbers.

    Returns:
        `Chance`.

    Raises:
        ValueError: the loss is a sum over examples.

    >>> given = Split(np.zeros((4, 1), np.float32), np.array([0.0, 2.0, 4.0, 2.0], np.float32))
    >>> of(lambda w, batch: jnp.mean((w - batch[1]) ** 2), jnp.array(2.0), given, None, given.targets).loss
    2.0
    """
    accuracy = float(np.bincount(coded).max() / len(coded)) if classes and coded.ndim == 1 else None
    generator, count = np.random.default_rng(0), len(given.targets)
    rows = generator.choice(count, min(_SAMPLE, count), replace=False)
    now = _loss(loss_fn, numbers, given, rows, rows)
    if not np.isfinite(now):
        return Chance(None, accuracy, "the loss is not finite")
    if now < 0:
        return Chance(None, accuracy, "the loss is below 0: give chance_loss")
    twice = _loss(loss_fn, numbers, given, np.tile(rows, 2), np.tile(rows, 2))
    if now > 0 and twice / now > _SUM:
        raise ValueError("loss_fn gives twice as much for every example twice: it is a sum; give a mean loss")
    mixed = [_loss(loss_fn, numbers, given, rows, generator.permutation(rows)) for _ in range(_PERMUTATIONS)]
    bound, tried = float(np.mean(mixed)), []
    for name, constant in _constants(given.targets, classes, coded):
        if constant <= _MORE * bound and now <= _WORSE * constant:
            return Chance(constant, accuracy, "")
        tried.append(f"that of {name} would be {constant:.3g}")
    told = " and ".join(tried) or "the targets are all alike"
    return Chance(
        None,
        accuracy,
        f"{told}, which does not fit a loss of {now:.3g} ({bound:.3g} with mixed targets): give chance_loss",
    )


def _constants(targets: np.ndarray, classes: int | None, coded: np.ndarray) -> Iterator[tuple[str, float]]:
    """Of the losses that such targets are used with, the likeliest first."""
    of_numbers = float(targets.astype(np.float64).var(axis=0).mean())
    if classes:
        shares = np.bincount(coded.ravel(), minlength=classes) / coded.size
        shares = shares[shares > 0]
        entropy = float(-(shares * np.log(shares)).sum())
        if entropy > 0:
            yield "cross-entropy", entropy
    if of_numbers > 0:
        yield "the mean squared error", of_numbers


def _loss(loss_fn: Any, numbers: Any, split: Split, rows: np.ndarray, of_targets: np.ndarray) -> float:
    features = jax.tree.map(lambda a: jnp.asarray(a[rows]), split.features)
    return float(loss_fn(numbers, (features, jnp.asarray(split.targets[of_targets]))))
