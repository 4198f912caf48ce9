"""What is measured at and between the ends of trainings: losses, sharpness, the straight line from one to another."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks import data as data_sets
from tricks import losses
from tricks.curvature import hessian, keskar_sharpness, relative_sharpness
from tricks.data import Dataset, Split
from tricks.training import assembly, evaluation
from tricks.training.assembly import Static
from tricks.training.setup import Setup
from tricks.training.state import Weights

Measures = dict[str, float]


def samples(data: Dataset, count: int, seed: int) -> list[losses.Batch]:
    """Training and test examples, as many of each."""
    generator = np.random.default_rng(seed)
    drawn = [data_sets.draw(split, [count], generator)[0] for split in (data.train, data.test)]
    return [losses.Batch(*sample) for sample in drawn]


def over(static: Static, split: Split) -> Callable[[Weights], Measures]:
    """Loss and accuracy of weights over a whole split, with running statistics."""
    sums = jax.jit(functools.partial(evaluation.sums, assembly.make_network(static), static.loss))
    blocks = evaluation.blocks(split, static.mesh)
    return lambda end: evaluation.means(sums, end, blocks, static.mesh, len(split.targets))


def first_at(
    kept: Sequence[Weights], level: float, measure: Callable[[Weights], Measures]
) -> tuple[int, Weights, Measures]:
    """The first weights whose loss is at a level or below; the last ones where none are.

    Args:
        kept: weights in the order of a training; at least one.
        level: of the loss.
        measure: gives the loss of weights, and other measures.

    Returns:
        Their number, from 1, the weights, and what was measured there.

    >>> kept = [Weights(loss, {}) for loss in (0.9, 0.5, 0.2, 0.1)]
    >>> first_at(kept, 0.3, lambda end: {"loss": end.params})
    (3, Weights(params=0.2, model_state={}), {'loss': 0.2})
    """
    measured: list[Measures] = []
    for end in kept:
        measured.append(measure(end))
        if measured[-1]["loss"] <= level:
            break
    return len(measured), kept[len(measured) - 1], measured[-1]


def sharpness(
    static: Static, sample: losses.Batch, seed: int, end: Weights, epsilon: float, subspace: int | None, device: Any
) -> float:
    """By Keskar's measure, in percent."""
    with jax.default_device(device):
        params, batch, loss_fn = _placed(static, sample, end, device)
        key = jax.random.key(seed)
        return keskar_sharpness(loss_fn, params, epsilon, batches=[batch], subspace=subspace, key=key).value


def relative(static: Static, sample: losses.Batch, seed: int, end: Weights, device: Any) -> float:
    """The largest eigenvalue for relative changes of the weights."""
    with jax.default_device(device):
        params, batch, loss_fn = _placed(static, sample, end, device)
        operator = hessian(loss_fn, params, [batch])
        return float(relative_sharpness(operator, params, key=jax.random.key(seed), tol=1e-2).values[0])


def _placed(static: Static, sample: losses.Batch, end: Weights, device: Any) -> tuple[Any, losses.Batch, Any]:
    params, model_state = jax.device_put(end)
    return (
        params,
        jax.device_put(sample),
        losses.objective(assembly.make_network(static).apply, static.loss, model_state),
    )


def line(
    setup: Setup, ends: Sequence[Weights], samples: Sequence[losses.Batch], alphas: Sequence[float]
) -> list[list[float]]:
    """Losses on the samples along the straight line; at each point with the statistics of the training sample there.

    Args:
        setup: of the trainings.
        ends: at 0 and at 1.
        samples: training and test examples.
        alphas: places on the line.

    Returns:
        (samples, places).
    """
    # The moving averages of batch normalization keep nothing of what they were.
    hyper = setup.hyper._replace(model={**setup.hyper.model, "batch_norm_momentum": 0.0})
    network, (one, other) = assembly.make_network(setup.static, hyper), ends

    @jax.jit
    def both(alpha: float, one: Weights, other: Weights, train: losses.Batch, test: losses.Batch) -> list[jax.Array]:
        params = jax.tree.map(lambda a, b: (1 - alpha) * a + alpha * b, one.params, other.params)
        of_train, model_state = network.apply(params, one.model_state, train.features, batch_statistics=True)
        of_test, _ = network.apply(params, model_state, test.features)
        pairs = (of_train, train), (of_test, test)
        return [jnp.mean(setup.static.loss(outputs, batch.targets)["loss"]) for outputs, batch in pairs]

    found = [both(alpha, one, other, *samples) for alpha in alphas]
    return np.array(found).T.tolist()


def barrier(alphas: Sequence[float], losses: Sequence[float]) -> float:
    """How far the loss between two ends, at 0 and 1, rises above the straight line through them; 0 where it does not.

    >>> barrier([-0.5, 0.0, 0.5, 1.0], [9.0, 1.0, 4.0, 3.0])
    2.0
    """
    at, values = np.asarray(alphas), np.asarray(losses)
    inside = (at >= 0) & (at <= 1)
    ends = np.interp([0.0, 1.0], at, values)
    return float(np.max(values[inside] - np.interp(at[inside], [0.0, 1.0], ends)))
