"""Curvature of the training loss as a run goes on: a few numbers every few epochs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks import losses
from tricks.curvature import hessian, spectral_density, trace, trees
from tricks.curvature.lanczos import lanczos
from tricks.data import Split
from tricks.losses import Batch, Measure
from tricks.training.state import Weights

_PROBES, _STEPS = 4, 80
_ZERO = 1e-2  # Share of the largest |eigenvalue| up to which one counts as zero.


def make_curvature(
    apply: Callable[..., Any], measure: Measure, split: Split, mesh: Mesh, *, examples: int, seed: int
) -> Callable[[Weights], dict[str, Any]]:
    """Makes `curvature(weights) -> numbers` over a fixed sample of examples, in evaluation mode.

    Args:
        apply: of the model.
        measure: loss and accuracy of single examples.
        split: the training part.
        mesh: the devices; the sample is divided among them.
        examples: in the sample; rounded down to a multiple of the devices, all where there are no more.
        seed: of the sample and of the random vectors.

    Returns:
        A function that compiles once. Its numbers: `loss` of the sample, `accuracy` (NaN), `gradient_norm`,
        `smallest_eigenvalue`, `largest_eigenvalue`, `trace`, and `minimum_ratio`, the share of the positive ones among
        the eigenvalues beyond a hundredth of the largest.
    """
    count = max(min(examples, len(split.targets)) // mesh.size, 1) * mesh.size
    rows = np.sort(np.random.default_rng((seed, 1)).permutation(len(split.targets))[:count])
    batch = jax.device_put(Batch(split.features[rows], split.targets[rows]), NamedSharding(mesh, PartitionSpec("data")))
    key = jax.random.key(seed)

    @jax.jit
    def numbers(weights: Weights, batch: Batch) -> dict[str, jax.Array]:
        loss_fn = losses.objective(apply, measure, weights.model_state)
        operator = hessian(loss_fn, weights.params, [batch])
        search_key, density_key, trace_key = jax.random.split(key, 3)
        found, _ = lanczos(
            operator.apply, operator.like, search_key, 1e-2, k=1, which="both", basis_size=32, max_products=100
        )
        density = spectral_density(operator, key=density_key, probes=_PROBES, steps=_STEPS)
        zero = _ZERO * jnp.max(jnp.abs(found.values))
        positive = density.share_between(zero, jnp.inf).mean
        negative = density.share_between(-jnp.inf, -zero).mean
        return {
            "loss": operator.loss,
            "gradient_norm": trees.norm(operator.gradient),
            "smallest_eigenvalue": found.values[0],
            "largest_eigenvalue": found.values[1],
            "trace": trace(operator, key=trace_key, probes=20).mean,
            "minimum_ratio": positive / (positive + negative),
        }

    def curvature(weights: Weights) -> dict[str, Any]:
        measured = jax.device_get(numbers(weights, batch))
        return {name: float(value) for name, value in measured.items()} | {"accuracy": float("nan")}

    return curvature
