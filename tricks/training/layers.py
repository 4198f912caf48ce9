"""What goes forward and backward through the layers of a network, whoever wrote it."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tricks.losses import Batch, Loss
from tricks.training import activations
from tricks.training.activations import Place
from tricks.training.equations import Flat, Step, evaluate, first_uses

__all__ = [
    "SATURATED",
    "Figures",
    "Glance",
    "Subject",
    "glance",
    "layers_of",
    "measure",
    "of_network",
    "takes_batch_statistics",
    "update_ratios",
]

SATURATED = {"tanh": (-0.99, 0.99), "sigmoid": (0.01, 0.99), "erf": (-0.99, 0.99), "hard_tanh": (-0.99, 0.99)}
"""Values outside of which a unit of a kind hardly lets a gradient through."""
_LAYER_FIGURES = ("gradient_norm", "weight_norm", "gradient_rms")
_ACTIVATION_FIGURES = ("dead", "saturated", "scale", "mean", "similarity", "signal")

Subject = Callable[[Any, Any], tuple[jax.Array, Any]]
"""`subject(params, batch) -> (mean loss, outputs)`; the outputs None where only the loss is known."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["loss", "output_scale", "output_similarity", "of_layers", "of_activations"],
    meta_fields=["layers", "activations", "units", "in_loops"],
)
@dataclasses.dataclass(frozen=True)
class Figures:
    """Of a network on a batch; arrays, and the names that they belong to."""

    loss: jax.Array
    output_scale: jax.Array
    """Root mean square of the outputs."""
    output_similarity: jax.Array
    """Mean cosine of two examples' outputs."""
    of_layers: Mapping[str, jax.Array]
    """(layers,) each: `gradient_norm`, `weight_norm`, and of the weights alone `gradient_rms`, the root mean square of
    their gradient, NaN where a layer has none."""
    of_activations: Mapping[str, jax.Array]
    """(activations,) each: `dead`, the share of the units that are 0 for every example; `saturated`, the share of the
    values beyond `SATURATED`, NaN for other kinds; `scale`, their root mean square; `mean`; `similarity`, the mean
    cosine of two examples; `signal`, the root mean square of the gradient of one example's loss by them."""
    layers: tuple[str, ...]
    """In the order in which they are computed with."""
    activations: tuple[Place, ...]
    units: tuple[int, ...]
    """Of each activation."""
    in_loops: int
    """Activations within loops, which are not looked at."""


def of_network(apply: Callable[..., Any], loss: Loss, model_state: Any, *, batch_statistics: bool = True) -> Subject:
    """A network in training, but without dropout and noise: a figure is the same at every call.

    Args:
        apply: of a `tricks.models.Network`.
        loss: what is minimized.
        model_state: running statistics.
        batch_statistics: normalize with those of the batch, as training does, where the network takes that; otherwise
            with the running ones.

    Returns:
        What `measure` takes.
    """

    def subject(params: Any, batch: Batch) -> tuple[jax.Array, Any]:
        statistics = batch_statistics and bool(jax.tree.leaves(model_state))
        inputs = params, model_state, batch.features
        try:
            outputs, _ = apply(*inputs, rng=None, batch_statistics=statistics)
        except ValueError:
            if not statistics or takes_batch_statistics(apply, *inputs):
                raise
            outputs, _ = apply(*inputs, rng=None, batch_statistics=False)
        return jnp.mean(loss(outputs, batch.targets)["loss"]), outputs

    return subject


def takes_batch_statistics(apply: Callable[..., Any], params: Any, model_state: Any, features: Any) -> bool:
    """Whether a network normalizes with the statistics of a batch where it neither drops nor adds noise.

    Args:
        apply: of a `tricks.models.Network`.
        params: of the network.
        model_state: running statistics.
        features: of a batch.

    Returns:
        False for a network without such statistics, and for one whose statistics and dropout hang on one switch.

    >>> takes_batch_statistics(lambda *arguments, **mode: (None, {}), {}, {}, jnp.ones((2, 1)))
    False
    """
    if not jax.tree.leaves(model_state):
        return False
    with contextlib.suppress(ValueError):
        jax.eval_shape(functools.partial(apply, rng=None, batch_statistics=True), params, model_state, features)
        return True
    return False


def measure(subject: Subject, params: Any, batch: Any) -> Figures:
    """What goes forward and backward through each layer; to be compiled by who calls it.

    A layer is a group of parameters with one parent, as `linear_0` of `linear_0/kernel` and `linear_0/bias`.

    Args:
        subject: as `of_network` makes it, or one's own.
        params: a pytree of arrays.
        batch: a pytree of arrays whose first dimension counts examples.

    Returns:
        `Figures`.

    >>> subject = lambda w, x: (jnp.mean(jax.nn.relu(x @ w["in"]) @ w["out"]), None)
    >>> w = {"in": jnp.array([[1.0, -1.0]]), "out": jnp.array([[3.0], [4.0]])}
    >>> found = measure(subject, w, jnp.ones((2, 1)))
    >>> found.layers, found.of_layers["gradient_norm"].tolist(), found.of_activations["dead"].tolist()
    (('in', 'out'), [3.0, 1.0], [0.5])
    """
    flat, places = _found(subject, params, batch)
    loss, outputs, values, gradient, signals = _both_ways(subject, flat, places, params, batch)
    groups = layers_of(params, first_uses(flat)[: len(jax.tree.leaves(params))])
    nothing = jnp.full([], jnp.nan)
    return Figures(
        loss=loss,
        output_scale=_scale(outputs[0]) if outputs else nothing,
        output_similarity=_similarity(outputs[0]) if outputs else nothing,
        of_layers=_of_layers(groups, params, gradient),
        of_activations=_of_activations(places, values, signals),
        layers=tuple(groups),
        activations=tuple(places),
        units=tuple(value.shape[-1] for value in values),
        in_loops=activations.in_loops(flat),
    )


class Glance(NamedTuple):
    """The cheapest of the figures, each a scalar by the name of its layer or activation."""

    gradient_norm: dict[str, jax.Array]
    dead: dict[str, jax.Array]
    """Of activations that can be 0 for good."""
    saturated: dict[str, jax.Array]
    """Of those of `SATURATED`."""
    gradient: Any
    """By the parameters."""


def glance(subject: Subject, params: Any, batch: Any) -> Glance:
    """Gradients by layer, and what share of its units is dead or saturated: about the work of one gradient.

    Args:
        subject: as for `measure`.
        params: a pytree of arrays.
        batch: a pytree of arrays whose first dimension counts examples.

    Returns:
        `Glance`.

    >>> subject = lambda w, x: (jnp.mean(jax.nn.relu(x @ w["in"]) @ w["out"]), None)
    >>> w = {"in": jnp.array([[1.0, -1.0]]), "out": jnp.array([[3.0], [4.0]])}
    >>> found = glance(subject, w, jnp.ones((2, 1)))
    >>> float(found.gradient_norm["in"]), float(found.dead["relu 1"]), found.saturated
    (3.0, 0.5, {})
    """
    flat, places = _found(subject, params, batch)
    _, _, values, gradient, _ = _both_ways(subject, flat, places, params, batch, signals=False)
    slopes = jax.tree.leaves(gradient)
    groups = layers_of(params, first_uses(flat)[: len(slopes)])
    shares = list(zip(places, values, strict=True))
    return Glance(
        {name: _norm([slopes[leaf] for leaf in leaves]) for name, leaves in groups.items()},
        {place.name: _dead(value) for place, value in shares if place.kind not in SATURATED},
        {place.name: _saturated(place.kind, value) for place, value in shares if place.kind in SATURATED},
        gradient,
    )


def layers_of(params: Any, uses: list[int] | None = None) -> dict[str, list[int]]:
    """The leaves of each layer.

    Args:
        params: a pytree.
        uses: when each leaf is first computed with; None for the order of the leaves.

    Returns:
        For the name of each layer the numbers of its leaves, in the order of use.

    >>> layers_of({"b": {"kernel": 1, "bias": 2}, "a": {"kernel": 3}, "scale": 4}, [2, 1, 0, 3])
    {'b': [1, 2], 'a': [0], 'scale': [3]}
    """
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    order = range(len(paths)) if uses is None else sorted(range(len(paths)), key=lambda leaf: uses[leaf])
    groups: dict[str, list[int]] = {}
    for leaf in order:
        path = paths[leaf]
        name = jax.tree_util.keystr(path[:-1] if len(path) > 1 else path, simple=True, separator="/")
        groups.setdefault(name or "all", []).append(leaf)
    return {name: sorted(leaves) for name, leaves in groups.items()}


def update_ratios(before: Any, after: Any) -> dict[str, jax.Array]:
    """|w' - w| / |w| of each layer: the share of its size that it moved.

    Args:
        before: parameters w.
        after: w', of the same structure.

    Returns:
        A scalar for each layer; infinite where w was 0 and moved.

    >>> ratios = update_ratios({"a": {"w": jnp.array([3.0, 4.0])}}, {"a": {"w": jnp.array([3.0, 4.5])}})
    >>> {name: round(float(ratio), 4) for name, ratio in ratios.items()}
    {'a': 0.1}
    """
    old, new = jax.tree.leaves(before), jax.tree.leaves(after)
    found = {}
    for name, leaves in layers_of(before).items():
        moved = _norm([new[leaf] - old[leaf] for leaf in leaves])
        found[name] = jnp.where(moved == 0, 0.0, moved / _norm([old[leaf] for leaf in leaves]))
    return found


def _found(subject: Subject, params: Any, batch: Any) -> tuple[Flat, list[Place]]:
    flat, _, structure = activations.trace(subject, params, batch)
    wanted = _before_outputs(flat, structure)
    return flat, [place for place in activations.find(flat) if place.value in wanted]


def _before_outputs(flat: Flat, structure: Any) -> set[int]:
    """Places that the outputs of the network depend on, which the loss's own steps do not."""
    loss, *outputs = flat.outputs
    del loss
    wanted = set(outputs) if structure.num_leaves > 1 else set(flat.outputs)
    for step in reversed(flat.steps):
        if wanted & set(step.outputs):
            wanted |= set(step.inputs)
    return wanted


def _both_ways(
    subject: Subject, flat: Flat, places: list[Place], params: Any, batch: Any, *, signals: bool = True
) -> tuple[jax.Array, list[Any], list[jax.Array], Any, list[jax.Array]]:
    """The loss, the leaves of the outputs, the values of the activations, and the gradients by the parameters and of
    each example's loss by the activations."""
    wanted = {place.value for place in places}
    kinds = {step.outputs[0]: step.equation.outvars[0].aval for step in flat.steps if wanted & {*step.outputs[:1]}}

    def run(params: Any, shifts: Mapping[int, jax.Array]) -> tuple[Any, Any]:
        values: dict[int, jax.Array] = {}

        def see(step: Step, found: list[Any]) -> list[Any]:
            place = step.outputs[0] if step.outputs else -1
            if place in wanted:
                values[place] = found[0]
            return [found[0] + shifts[place]] if place in shifts else found

        loss, *outputs = evaluate(flat, jax.tree.leaves((params, batch)), see)
        return loss, (outputs, values)

    shifts = {place: jnp.zeros(kind.shape, kind.dtype) for place, kind in kinds.items() if signals}
    (loss, (outputs, values)), (gradient, by_shift) = jax.value_and_grad(run, (0, 1), has_aux=True)(params, shifts)
    if flat.has_lost_rules:
        gradient = jax.grad(subject, has_aux=True)(params, batch)[0]
    examples = len(jax.tree.leaves(batch)[0])
    of_examples = [examples * by_shift[place.value] for place in places if signals]
    return loss, outputs, [values[place.value] for place in places], gradient, of_examples


def _of_layers(groups: Mapping[str, list[int]], params: Any, gradient: Any) -> dict[str, jax.Array]:
    weights, slopes = jax.tree.leaves(params), jax.tree.leaves(gradient)

    def rms(leaves: list[int]) -> jax.Array:
        kernels = [slopes[leaf] for leaf in leaves if slopes[leaf].ndim > 1]
        count = sum(kernel.size for kernel in kernels)
        return _norm(kernels) / count**0.5 if kernels else jnp.full([], jnp.nan)

    rows = [
        (_norm([slopes[leaf] for leaf in leaves]), _norm([weights[leaf] for leaf in leaves]), rms(leaves))
        for leaves in groups.values()
    ]
    return _columns(_LAYER_FIGURES, rows)


def _of_activations(places: list[Place], values: list[jax.Array], signals: list[jax.Array]) -> dict[str, jax.Array]:
    rows = [
        (
            _dead(value),
            _saturated(place.kind, value),
            _scale(value),
            jnp.mean(value),
            _similarity(value),
            _scale(signal),
        )
        for place, value, signal in zip(places, values, signals, strict=True)
    ]
    return _columns(_ACTIVATION_FIGURES, rows)


def _columns(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, jax.Array]:
    return {
        name: jnp.stack([jnp.asarray(row[i], jnp.float32) for row in rows]) if rows else jnp.zeros(0)
        for i, name in enumerate(names)
    }


def _dead(values: jax.Array) -> jax.Array:
    return jnp.mean(jnp.all(values == 0, axis=tuple(range(values.ndim - 1))))


def _saturated(kind: str, values: jax.Array) -> Any:
    if kind not in SATURATED:
        return jnp.nan
    low, high = SATURATED[kind]
    return jnp.mean((values < low) | (values > high))


def _scale(values: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(values.astype(jnp.promote_types(values.dtype, jnp.float32)))))


def _norm(leaves: list[Any]) -> jax.Array:
    return jnp.sqrt(sum((jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves), jnp.zeros([])))


def _similarity(values: jax.Array) -> jax.Array:
    """The mean cosine over all pairs of examples, those that are 0 left out."""
    rows = values.reshape(len(values), -1).astype(jnp.float32)
    norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
    units = jnp.where(norms > 0, rows / jnp.where(norms > 0, norms, 1), 0)
    count = jnp.sum(norms > 0).astype(jnp.float32)
    return (jnp.sum(jnp.square(jnp.sum(units, axis=0))) - count) / (count * (count - 1))
