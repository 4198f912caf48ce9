"""What goes forward and backward through the layers of a network, as plain numbers."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax

from tricks.losses import Batch, Loss
from tricks.training import layers
from tricks.training.feed import make_mesh
from tricks.training.layers import Figures
from tricks.training.programs import quickly_compiled
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
        batch_statistics: False normalizes with the running statistics, as is done anyway with a network that takes
            those of a batch only together with dropout.

    Returns:
        As `as_plain` gives it, with the `mode`.
    """
    figures = _compiled(apply, loss, batch_statistics)(weights, batch)
    of_batch = batch_statistics and layers.takes_batch_statistics(apply, *weights, batch.features)
    statistics = "batch statistics, " if of_batch else "running statistics, " if weights.model_state else ""
    mode = f"{statistics}no dropout"
    return {**as_plain(figures), "mode": mode, "examples": len(batch.targets)}


@functools.lru_cache(maxsize=8)
def _compiled(apply: Callable[..., Any], loss: Loss, batch_statistics: bool) -> Callable[[Weights, Batch], Figures]:
    def figures(weights: Weights, batch: Batch) -> Figures:
        subject = layers.of_network(apply, loss, weights.model_state, batch_statistics=batch_statistics)
        return layers.measure(subject, weights.params, batch)

    return jax.jit(figures, compiler_options=quickly_compiled(make_mesh()))


def measure_function(subject: layers.Subject, params: Any, batch: Any) -> dict[str, Any]:
    """The same of any function of JAX.

    Args:
        subject: `subject(params, batch) -> (mean loss, outputs)`; the outputs None where only the loss is known.
        params: a pytree of arrays.
        batch: a pytree of arrays whose first dimension counts examples.

    Returns:
        As `as_plain` gives it, with the number of `examples`.

    >>> import jax.numpy as jnp
    >>> subject = lambda w, x: (jnp.mean(jnp.tanh(x @ w["a"])), None)
    >>> found = measure_function(subject, {"a": jnp.eye(2)}, jnp.ones((3, 2)))
    >>> found["activations"][0]["name"], found["examples"]
    ('tanh 1', 3)
    """
    figures = jax.jit(functools.partial(layers.measure, subject), compiler_options=quickly_compiled(make_mesh()))(
        params, batch
    )
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
    of_layers: list[dict[str, Any]] = [
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
    """How signals change on their way through the hidden layers.

    `gradient_ratio` is the root mean square of the gradient by the first activation over that by the last. At the start
    of perceptrons with 2 to 20 hidden layers of 16 to 256 units it is .09 to 2.6 with ReLU, tanh or GELU and scales
    that fit, .0000000000008 to .01 from 5 sigmoid layers on, 80 to 1e9 from 5 layers of thrice He's scale on. Gradients
    by weights do not tell the last: in a network of ReLUs each layer's is to its weights as the others' are, so that
    `weight_gradient_ratio`, of the first layer to the last hidden one, is .1 to .7 there and .2 to 1.5 where all is
    well. Batch normalization between ReLUs makes gradients grow by 1.2 a layer: 35 over 20 of them.

    Args:
        of_layers: as `as_plain` has them.
        of_activations: likewise.

    Returns:
        Both ratios; `gradient_growth`, the factor of the former from a layer to the one before it; `scale_ratio`, the
        scale of the last activation over that of the first; `similarity`, the mean cosine of two examples at the last
        activation, which nears 1 where depth makes all examples alike. None where there are too few layers.

    >>> of_two = [{"signal": 1.0, "scale": 2.0, "similarity": 0.1}, {"signal": 4.0, "scale": 1.0, "similarity": 0.2}]
    >>> summary([], of_two)["gradient_ratio"]
    0.25
    """
    slopes = [layer["gradient_rms"] for layer in of_layers if layer["gradient_rms"] is not None]
    is_deep = len(of_activations) > 1
    first, last = (of_activations[0], of_activations[-1]) if is_deep else ({}, {})
    ratio = _share(first.get("signal"), last.get("signal"))
    return {
        "gradient_ratio": ratio,
        "gradient_growth": None if ratio is None else ratio ** (1 / (len(of_activations) - 1)),
        "weight_gradient_ratio": _share(slopes[0], slopes[-2]) if len(slopes) > 2 else None,
        "scale_ratio": _share(last.get("scale"), first.get("scale")),
        "similarity": of_activations[-1]["similarity"] if of_activations else None,
    }


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
