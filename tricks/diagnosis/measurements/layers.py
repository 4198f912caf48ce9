"""What goes forward and backward through the layers of a network, as plain numbers."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tricks.losses import Batch, Loss
from tricks.training import layers
from tricks.training.layers import Figures
from tricks.training.state import Weights


def measure(
    apply: Callable[..., Any], loss: Loss, weights: Weights, batch: Batch, *, batch_statistics: bool = True
) -> dict[str, Any]:
    """Gradients and weights by layer, activations, and how signals grow from one layer to the next.

    In training mode of batch normalization, with the statistics of the batch, and without dropout and noise.

    Args:
        apply: of a `tricks.models.Network`.
        loss: what is minimized; without decays.
        weights: of the network.
        batch: examples, some hundred or more.
        batch_statistics: False normalizes with the running statistics.

    Returns:
        As `as_plain` gives it, with the `mode`.
    """
    figures = _compiled(apply, loss, batch_statistics)(weights, batch)
    statistics = "batch statistics" if batch_statistics and jax.tree.leaves(weights.model_state) else "no batch"
    mode = f"{statistics}, no dropout" if statistics != "no batch" else "no dropout"
    return {**as_plain(figures), "mode": mode, "examples": len(batch.targets)}


@functools.lru_cache(maxsize=8)
def _compiled(apply: Callable[..., Any], loss: Loss, batch_statistics: bool) -> Callable[[Weights, Batch], Figures]:
    def figures(weights: Weights, batch: Batch) -> Figures:
        subject = layers.of_network(apply, loss, weights.model_state, batch_statistics=batch_statistics)
        return layers.measure(subject, weights.params, batch)

    return jax.jit(figures)


def measure_function(subject: layers.Subject, params: Any, batch: Any) -> dict[str, Any]:
    """The same of any function of JAX.

    Args:
        subject: `subject(params, batch) -> (mean loss, outputs)`; the outputs None where only the loss is known.
        params: a pytree of arrays.
        batch: a pytree of arrays whose first dimension counts examples.

    Returns:
        As `as_plain` gives it, with the number of `examples`.

    >>> import jax.numpy as jnp
    >>> found = measure_function(lambda w, x: (jnp.mean(jnp.tanh(x @ w["a"])), None), {"a": jnp.eye(2)}, jnp.ones((3, 2)))
    >>> found["activations"][0]["name"], found["examples"]
    ('tanh 1', 3)
    """
    figures = jax.jit(functools.partial(layers.measure, subject))(params, batch)
    return {**as_plain(figures), "examples": len(jax.tree.leaves(batch)[0])}


def as_plain(figures: Figures) -> dict[str, Any]:
    """Figures as JSON keeps them, with what they come to.

    Args:
        figures: as `tricks.training.layers.measure` gives them.

    Returns:
        `loss`, `output_scale`, `output_similarity`, `layers` and `activations` with a dict for each, and of all of them
        what `summary` gives; None for what there is not.
    """
    figures = jax.device_get(figures)
    of_layers = [
        {"name": name, **{key: _plain(column[i]) for key, column in figures.of_layers.items()}}
        for i, name in enumerate(figures.layers)
    ]
    for layer in of_layers:
        layer["relative_gradient"] = _share(layer["gradient_norm"], layer["weight_norm"])
    of_activations = [
        {
            "name": place.name,
            "kind": place.kind,
            "units": units,
            "dead_units": round(float(figures.of_activations["dead"][i]) * units),
            **{key: _plain(column[i]) for key, column in figures.of_activations.items()},
        }
        for i, (place, units) in enumerate(zip(figures.activations, figures.units, strict=True))
    ]
    return {
        "loss": _plain(figures.loss),
        "output_scale": _plain(figures.output_scale),
        "output_similarity": _plain(figures.output_similarity),
        "layers": of_layers,
        "activations": of_activations,
        "activations_in_loops": figures.in_loops,
        **summary(of_layers, of_activations),
    }


def summary(of_layers: list[dict[str, Any]], of_activations: list[dict[str, Any]]) -> dict[str, float | None]:
    return {}


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
