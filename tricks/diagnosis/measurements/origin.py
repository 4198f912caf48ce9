"""Where a run that became non-finite began to: the step, and in it the layer."""

import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks import losses
from tricks.losses import Batch
from tricks.training import assembly, chunk, layers
from tricks.training.assembly import Hyper, Static
from tricks.training.equations import Step, evaluate, first_uses, flatten
from tricks.training.feed import Chunk
from tricks.training.loop import Rules, not_finite
from tricks.training.programs import quickly_compiled
from tricks.training.state import TrainState


def find(
    static: Static,
    hyper: Hyper,
    state: TrainState,
    chunks: Iterable[Chunk],
    rules: Rules,
    *,
    seconds: float = 60.0,
) -> dict[str, Any] | None:
    """Takes the steps of a run again, until one makes something of finite weights that is not finite.

    Args:
        static: what is fixed.
        hyper: the numbers, as arrays.
        state: finite, before the first of the chunks.
        chunks: as `tricks.training.feed.chunks` yields them.
        rules: of the loop.
        seconds: after which it gives up.

    Returns:
        `step`, from 1, and `epoch`; `what`, one of forward, loss, gradient, update, or weights where they were not
        finite before any step; `layer`, None where it has none; `largest_weight`, the largest |weight| of each layer
        before the step; and a `sentence`. None where all steps are finite, or the time is over.
    """
    run = jax.jit(functools.partial(chunk.run, static), compiler_options=quickly_compiled(static.mesh))
    ends = time.monotonic() + seconds
    before = int(state.step)
    for part in chunks:
        length = len(part.indices)
        after, metrics = run(hyper, state, part.examples, part.indices, np.int32(0), np.int32(length))
        if not_finite(jax.device_get(metrics), before, rules):
            return _within(static, hyper, state, part, run, rules)
        if time.monotonic() > ends:
            return None
        state, before = after, before + length
    return None


def _within(static: Static, hyper: Hyper, state: TrainState, part: Chunk, run: Any, rules: Rules) -> dict[str, Any]:
    # Halves, as a step after the first bad one is bad too.
    low, high = 0, len(part.indices)
    while high - low > 1:
        middle = (low + high) // 2
        after, metrics = run(hyper, state, part.examples, part.indices, np.int32(low), np.int32(middle))
        seen = jax.device_get(metrics)
        losses_seen = seen.steps.measures["loss"][low:middle]
        if np.isfinite(losses_seen).all() and np.isfinite(seen.steps.gradient_norm[middle - 1]) and seen.finite:
            low, state = middle, after
        else:
            high = middle
    batch = chunk.rows_of(part.examples, part.indices[low])
    at = int(state.step) + 1
    found = explain(static, hyper, state, batch)
    epoch = rules.epoch_of(at)
    where = f"at step {at} (epoch {epoch})"
    return {"step": at, "epoch": epoch, **found, "sentence": f"{where} {found['sentence']}"}


class _Place(NamedTuple):
    layer: str
    name: str


def explain(static: Static, hyper: Hyper, state: TrainState, batch: Batch) -> dict[str, Any]:
    """What of a step is the first that is not finite.

    Args:
        static: what is fixed.
        hyper: the numbers.
        state: before the step.
        batch: of the step, before it is augmented.

    Returns:
        `layer`, `what`, `largest_weight` and `sentence`, as `find`.
    """
    places: list[_Place] = []
    names: list[str] = []

    def look(hyper: Hyper, state: TrainState, batch: Batch) -> dict[str, Any]:
        return _look(static, hyper, state, batch, places, names)

    seen = jax.device_get(jax.jit(look, compiler_options=quickly_compiled(static.mesh))(hyper, state, batch))
    largest = {name: _plain(size) for name, size in zip(names, seen["largest"], strict=True)}
    what, layer, sentence = _first(seen, places, names, largest)
    return {"what": what, "layer": layer, "largest_weight": largest, "sentence": sentence}


def _look(
    static: Static, hyper: Hyper, state: TrainState, batch: Batch, places: list[_Place], names: list[str]
) -> dict[str, Any]:
    rng = jax.random.fold_in(state.rng, state.step)
    batch = assembly.augmented(static, hyper, rng, batch)
    network = assembly.make_network(static, hyper)

    def forward(params: Any, features: Any) -> Any:
        return network.apply(params, state.model_state, features, rng=rng)[0]

    traced = jax.make_jaxpr(forward)(state.params, batch.features)
    flat = flatten(traced)
    groups = layers.layers_of(state.params, first_uses(flat)[: len(jax.tree.leaves(state.params))])
    owner = {leaf: name for name, leaves in groups.items() for leaf in leaves}
    starts = {use: owner[leaf] for leaf, use in enumerate(first_uses(flat)[: len(owner)])}
    numbers = {id(step): number for number, step in enumerate(flat.steps)}
    finite: list[jax.Array] = []
    current = ""

    def see(step: Step, values: list[Any]) -> list[Any]:
        nonlocal current
        current = starts.get(numbers[id(step)], current)
        finite.append(_all_finite(values))
        places.append(_Place(current, step.name))
        return values

    evaluate(flat, jax.tree.leaves((state.params, batch.features)), see)
    loss_fn = losses.mean_loss(network.apply, static.loss)
    (loss, _), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params, state.model_state, batch, rng)
    after, _ = assembly.step(static, hyper, state, batch)
    names.extend(groups)
    weights, slopes, updated = (jax.tree.leaves(tree) for tree in (state.params, gradient, after.params))
    return {
        "features": _all_finite(jax.tree.leaves(batch)),
        "weights": _of_groups(groups, weights),
        "steps": jnp.stack(finite),
        "loss": loss,
        "gradient": _of_groups(groups, slopes),
        "update": _of_groups(groups, updated),
        "statistics": _all_finite(jax.tree.leaves(after.model_state)),
        "largest": jnp.stack(
            [jnp.max(jnp.stack([jnp.max(jnp.abs(weights[leaf])) for leaf in leaves])) for leaves in groups.values()]
        ),
    }


def _first(
    seen: Mapping[str, Any], places: list[_Place], names: list[str], largest: Mapping[str, float | None]
) -> tuple[str, str | None, str]:
    still = "while all weights are finite"
    grown = max((size, name) for name, size in largest.items() if size is not None) if any(largest.values()) else None
    if grown is not None:
        still += f", the largest {grown[0]:.3g} in {grown[1]}"
    if not seen["weights"].all():
        layer = names[int(np.argmin(seen["weights"]))]
        return "weights", layer, f"the weights of {layer} are not finite before any step"
    if not seen["features"]:
        return "forward", None, "the examples of the batch are not finite themselves"
    if not seen["steps"].all():
        place = places[int(np.argmin(seen["steps"]))]
        what = f"what {place.layer} gives" if place.layer else "what is computed before any layer"
        return "forward", place.layer or None, f"{what} is the first that is not finite, {still}"
    if not np.isfinite(seen["loss"]):
        return "loss", None, f"the loss is {seen['loss']}, of outputs that are finite"
    if not seen["gradient"].all():
        # The gradient comes from behind.
        layer = names[len(names) - 1 - int(np.argmin(seen["gradient"][::-1]))]
        return "gradient", layer, f"the gradient of {layer} is the first that is not finite, of a finite loss, {still}"
    if not seen["update"].all():
        layer = names[int(np.argmin(seen["update"]))]
        return "update", layer, f"the update makes weights of {layer} not finite, of a finite gradient, {still}"
    if not seen["statistics"]:
        return "update", None, f"the running statistics of batch normalization are not finite, {still}"
    return "gradient", None, f"the norm of the gradient is not finite, each of its entries being so, {still}"


def _of_groups(groups: Mapping[str, list[int]], leaves: list[Any]) -> jax.Array:
    return jnp.stack([_all_finite([leaves[leaf] for leaf in group]) for group in groups.values()])


def _all_finite(values: list[Any]) -> jax.Array:
    floats = [value for value in values if jnp.issubdtype(jnp.result_type(value), jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(value)) for value in floats])) if floats else jnp.bool_(True)


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
