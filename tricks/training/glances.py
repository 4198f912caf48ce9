"""The layers of a network as its training goes on: a few numbers each, every few epochs."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from tricks import streams
from tricks.data import Split, draw
from tricks.losses import Batch
from tricks.training import assembly, layers
from tricks.training.assembly import Hyper, Static
from tricks.training.placement import put, shares
from tricks.training.programs import as_numbers, quickly_compiled
from tricks.training.state import TrainState

Numbers = dict[str, jax.Array]


def make_measure(
    static: Static, hyper: Hyper, split: Split, *, examples: int, seed: int
) -> Callable[[TrainState], dict[str, float]]:
    """Makes `measure(state) -> numbers` over a fixed sample of examples.

    In training mode of batch normalization, with the statistics of the sample, and without dropout, noise and
    augmentation. It takes about as much time as a step on as many examples.

    Args:
        static: what is fixed.
        hyper: the numbers.
        split: the training part.
        examples: in the sample; rounded down to a multiple of the devices.
        seed: of the sample.

    Returns:
        A function that compiles once. Its numbers: for each layer `gradient_norm/LAYER` and
        `update_ratio/LAYER`, |change| / |weights| of the step that this gradient would make, `dead/ACTIVATION` and
        `saturated/ACTIVATION`, shares; and `dead` and `saturated`, the largest of each.
    """
    mesh, numbers = static.mesh, as_numbers(hyper)
    count = max(min(examples, len(split.targets)) // shares(mesh), 1) * shares(mesh)
    (sample,) = draw(split, [count], streams.sample(seed, "diagnosis"))
    batch = put(Batch(*sample), NamedSharding(mesh, PartitionSpec("data")))
    program = compiled(static)

    def measure(state: TrainState) -> dict[str, float]:
        return {name: float(value) for name, value in jax.device_get(program(numbers, state, batch)).items()}

    return measure


@functools.lru_cache(maxsize=8)
def compiled(static: Static) -> Callable[[Hyper, TrainState, Batch], Numbers]:
    """`numbers_of`, compiled when it is called first.

    Args:
        static: what is fixed.

    Returns:
        `program(hyper, state, batch) -> numbers`.
    """
    return jax.jit(functools.partial(numbers_of, static), compiler_options=quickly_compiled(static.mesh))


def numbers_of(static: Static, hyper: Hyper, state: TrainState, batch: Batch) -> Numbers:
    """Gradients, updates and units of a state, by names as `make_measure` says them.

    Args:
        static: what is fixed.
        hyper: the numbers.
        state: of the run; it stays as it is.
        batch: examples.

    Returns:
        Scalars by name.
    """
    subject = layers.of_network(assembly.make_network(static, hyper).apply, static.loss, state.model_state)
    seen = layers.glance(subject, state.params, batch)
    updates, _ = assembly.make_optimizer(static, hyper).update(seen.gradient, state.opt_state, state.params)
    moved = layers.update_ratios(state.params, optax.apply_updates(state.params, updates))
    parts = {"gradient_norm": seen.gradient_norm, "update_ratio": moved, "dead": seen.dead, "saturated": seen.saturated}
    largest = {name: jnp.max(jnp.stack(list(parts[name].values()))) for name in ("dead", "saturated") if parts[name]}
    named = {
        f"{kind}/{name.replace(' ', '_')}": value for kind, by_name in parts.items() for name, value in by_name.items()
    }
    return {**named, **largest}
