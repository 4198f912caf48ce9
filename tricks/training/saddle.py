"""What saddle escape looks at while a run goes on: two disjoint samples of the training part, and the loss on them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks import losses
from tricks.data import Split
from tricks.errors import UserError
from tricks.losses import Batch, Measure


class Samples(NamedTuple):
    """Of the training part, on the device."""

    checked: Batch
    """Where curvature is looked for."""
    held_out: Batch
    """Where it must be confirmed."""


def sample(split: Split, mesh: Mesh, *, examples: int, seed: int) -> Samples:
    """Draws two disjoint samples, always the same ones for a seed.

    Args:
        split: the training part.
        mesh: the devices; each sample is divided among them.
        examples: in each; a half of the part at most, rounded down to a multiple of the devices.
        seed: of the draw.

    Returns:
        `Samples`.

    Raises:
        UserError: the part has fewer than two examples for each device.
    """
    count = min(examples, len(split.targets) // 2) // mesh.size * mesh.size
    if count == 0:
        raise UserError(
            f"escape.examples is {examples}; each of two samples needs one for each of {mesh.size} devices, and the "
            f"training part has {len(split.targets)} examples: choose more, or escape.enabled=false"
        )
    order = np.random.default_rng((seed, 2)).permutation(len(split.targets))
    by_example = NamedSharding(mesh, PartitionSpec("data"))
    parts = (np.sort(order[:count]), np.sort(order[count : 2 * count]))
    return Samples(*(jax.device_put(Batch(split.features[rows], split.targets[rows]), by_example) for rows in parts))


def make_value_fns(
    apply: Callable[..., Any], measure: Measure, *, batch_statistics: bool
) -> Callable[[Any, Samples], dict[str, Callable[[Any], jax.Array]]]:
    """Makes what `tricks.transforms.escape_saddle` asks for beside the gradient.

    Args:
        apply: of the model.
        measure: loss and accuracy of single examples.
        batch_statistics: normalize with those of the sample; otherwise with the running ones. Dropout is off.

    Returns:
        `value_fns(model_state, samples) -> {"value_fn": ..., "held_out_value_fn": ...}`.
    """

    def value_fns(model_state: Any, samples: Samples) -> dict[str, Callable[[Any], jax.Array]]:
        loss = losses.objective(apply, measure, model_state, batch_statistics=batch_statistics)
        return {
            "value_fn": lambda params: loss(params, samples.checked),
            "held_out_value_fn": lambda params: loss(params, samples.held_out),
        }

    return value_fns
