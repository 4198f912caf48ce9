"""The Hessian of the training loss as a run goes on: a few numbers every few epochs."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from tricks import losses, streams
from tricks.curvature import hessian, spectral_density, trace, trees
from tricks.curvature.lanczos import lanczos
from tricks.data import Split, draw
from tricks.losses import Batch
from tricks.training import assembly, shardings
from tricks.training.assembly import Static
from tricks.training.placement import put, shares
from tricks.training.state import Weights

_PROBES, _STEPS = 4, 80
_ZERO = 1e-2  # Share of the largest |eigenvalue| up to which one counts as zero.


def make_measure(static: Static, split: Split, *, examples: int, seed: int) -> Callable[[Weights], dict[str, float]]:
    """Makes `measure(weights) -> numbers` over a fixed sample of examples, in evaluation mode.

    Args:
        static: the network and the loss.
        split: the training part.
        examples: in the sample; rounded down to a multiple of the devices, all where there are no more.
        seed: of the sample and of the random vectors.

    Returns:
        A function that compiles once. Its numbers: `loss` of the sample, `gradient_norm`, `smallest_eigenvalue`,
        `largest_eigenvalue`, `trace`, and `minimum_ratio`, the share of the positive ones among the eigenvalues beyond
        a hundredth of the largest.
    """
    mesh = static.mesh
    count = max(min(examples, len(split.targets)) // shares(mesh), 1) * shares(mesh)
    (sample,) = draw(split, [count], streams.sample(seed, "curvature"))
    batch = put(Batch(*sample), NamedSharding(mesh, PartitionSpec("data")))
    key, numbers = streams.vectors(seed, "curvature"), _compiled(static)

    def measure(weights: Weights) -> dict[str, float]:
        return {name: float(value) for name, value in jax.device_get(numbers(weights, batch, key)).items()}

    return measure


@functools.lru_cache(maxsize=8)
def _compiled(static: Static) -> Callable[[Weights, Batch, jax.Array], dict[str, jax.Array]]:
    network = assembly.make_network(static)

    def numbers(weights: Weights, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        loss_fn = losses.objective(network.apply, static.loss, weights.model_state)
        operator = hessian(loss_fn, weights.params, [batch])
        operator = dataclasses.replace(operator, division=shardings.division(static, weights.params))
        search_key, density_key, trace_key = jax.random.split(key, 3)
        found, _ = lanczos(
            operator.apply,
            operator.like,
            search_key,
            1e-2,
            k=1,
            which="both",
            basis_size=32,
            max_products=100,
            sharding=operator.division,
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

    return jax.jit(numbers)
