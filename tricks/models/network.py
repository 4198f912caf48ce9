"""What a network is here, whoever wrote it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

__all__ = ["Apply", "ModelState", "Network", "Params"]

Params = dict[str, Any]
ModelState = dict[str, Any]
Apply = Callable[..., tuple[Any, ModelState]]


class Network(NamedTuple):
    """A network as two pure functions over plain nested dicts of arrays.

    `init(key) -> (params, model_state)` draws the initial weights and gives the running statistics;
    `apply(params, model_state, x, *, rng=None, batch_statistics=None) -> (outputs, new_model_state)` applies them to a
    batch x, an array or a pytree of arrays whose first dimension is that of examples. `rng=None` means evaluation:
    running statistics, no dropout and no noise, and `model_state` comes back as it was. With a key: batch statistics,
    dropout and noise. `batch_statistics` True or False chooses those apart from the others.
    """

    init: Callable[[jax.Array], tuple[Params, ModelState]]
    apply: Apply
