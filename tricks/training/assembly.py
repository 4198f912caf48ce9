"""How a run is built: what is fixed when it is compiled, the numbers that may change, and the pure functions of both.

A single run passes numbers. A sweep passes arrays and maps over them with `jax.vmap`. Nothing here knows files,
configs or screens.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from tricks import early_stopping, losses, schedules, streams
from tricks.augmentation import augment
from tricks.data import Split
from tricks.early_stopping import EarlyStoppingState
from tricks.losses import Batch, Loss
from tricks.models import Network
from tricks.models.precision import computed_in
from tricks.training import optimizer
from tricks.training.state import LoopState, TrainState, Weights, weights
from tricks.transforms import current_learning_rate
from tricks.transforms.escape_watch import Trigger, init_watch

Number = float | int | jax.Array


class EscapePlan(NamedTuple):
    """What saddle escape is compiled for."""

    trigger: Trigger
    options: Any
    """`tricks.curvature.attempt.Options`."""
    batch_statistics: bool
    """Normalize with those of the sample; otherwise with the running ones."""
    examples: int
    """In each of the two samples."""


class Example(NamedTuple):
    """Shapes and types of a batch of features. Hashable, as a pytree of them need not be."""

    structure: Any
    shapes: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def features(self) -> Any:
        """The pytree of `jax.ShapeDtypeStruct`s."""
        return jax.tree.unflatten(self.structure, self.shapes)


def example_of(features: Any) -> Example:
    """What a network is built for.

    Args:
        features: of a batch, as `batch_of` gives them.

    Returns:
        `Example`.
    """
    leaves, structure = jax.tree.flatten(features)
    return Example(structure, tuple(leaves))


def batch_of(split: Split, batch_size: int) -> Batch:
    """Shapes and types of a batch.

    Args:
        split: the examples.
        batch_size: examples in a batch.

    Returns:
        A batch of `jax.ShapeDtypeStruct`s.
    """
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((batch_size, *a.shape[1:]), a.dtype), Batch(*split))


@dataclasses.dataclass(frozen=True)
class Static:
    """What a program is compiled for. Hashable: two runs with the same parts have the same programs.

    Attributes:
        network: `network(example, outputs, **options) -> Network`.
        example: of a batch of features.
        outputs: size of the last axis of the network's outputs.
        options: of the network, those that are no hyperparameters, by name.
        loss: what is minimized.
        optimizer: the family's name.
        optimizer_options: of the family, those that are no numbers, by name.
        schedule: the shape of the schedule.
        monitored: the measure of the validation split that early stopping looks at.
        falls: whether it is better the lower it is.
        mesh: the devices.
        escape: of saddles; None for a run that does not look for them.
        augment: `augment(key, batch) -> batch`, applied to training batches before what `Hyper` names; None for
            nothing.
        compute: the floating-point type that steps and evaluations compute the network in, by its name.
        rule: `rule(path, shape, devices) -> dimension`, by which weights are divided where the mesh has a dimension
            `model`; None for that of `shardings`.
    """

    network: Callable[..., Network]
    example: Example
    outputs: int
    options: tuple[tuple[str, Any], ...]
    loss: Loss
    optimizer: str
    optimizer_options: tuple[tuple[str, Any], ...]
    schedule: str
    monitored: str
    falls: bool
    mesh: Mesh
    escape: EscapePlan | None = None
    augment: Callable[[jax.Array, Batch], Batch] | None = None
    compute: str = "float32"
    rule: Callable[[str, tuple[int, ...], int], int | None] | None = None


class Hyper(NamedTuple):
    """The numbers of a run, by the names of their fields, a part for each section of the config.

    A decay or a dropout that is not named here is not in the program.
    """

    model: dict[str, Number]
    """Options of the network, such as `dropout` and `batch_norm_momentum`."""
    optimizer: dict[str, Number]
    """`learning_rate`, the numbers of the family, `l1` and `l2` where there are such decays."""
    schedule: dict[str, Number]
    """`warmup_steps`, `total_steps`, `end_value`."""
    early_stopping: dict[str, Number]
    """`patience`, `min_delta`."""
    augment: dict[str, Number] = {}  # noqa: RUF012  Never written to.
    """Strengths of `tricks.augmentation.augment`; those that are not named are not in the program."""


class StepMetrics(NamedTuple):
    """Of one step, or stacked (steps,) of a chunk; measured before the update."""

    measures: dict[str, jax.Array]
    """Means over the batch, by name; `loss` among them."""
    gradient_norm: jax.Array


class Progress(NamedTuple):
    """What the loop asks after a validation; scalars."""

    best_step: jax.Array
    """-1 before any validation was finite."""
    stops: jax.Array
    """Whether early stopping ends the run."""


def make_network(static: Static, hyper: Hyper | None = None) -> Network:
    """The network of a run, in the types of its parameters: what is looked at where curvature and layers are measured.

    Args:
        static: what is fixed.
        hyper: the numbers; None for evaluation alone, which needs none of them.

    Returns:
        The network.
    """
    numbers = {} if hyper is None else hyper.model
    return static.network(static.example.features, static.outputs, **dict(static.options), **numbers)


def computing_network(static: Static, hyper: Hyper | None = None) -> Network:
    """The network of a run as its steps and evaluations compute it.

    Args:
        static: what is fixed.
        hyper: the numbers; None for evaluation alone, which needs none of them.

    Returns:
        The network; in float32 that of `make_network` itself.
    """
    network = make_network(static, hyper)
    return network if static.compute == "float32" else computed_in(network, static.compute)


def make_optimizer(static: Static, hyper: Hyper) -> optax.GradientTransformation:
    """The optimizer of a run, under its schedule.

    Args:
        static: what is fixed.
        hyper: the numbers.

    Returns:
        An optax transformation.

    Raises:
        ValueError: for a number that is missing or, as far as it is known, out of range.
    """
    options, numbers = dict(static.optimizer_options), dict(hyper.optimizer)
    arguments = optimizer.family(static.optimizer).arguments
    _require_names("optimizer", {"learning_rate", *arguments} - {*options}, {*numbers} | {*options})
    _require_names("schedule", {"warmup_steps", "total_steps", "end_value"}, {*hyper.schedule})
    peak = numbers.pop("learning_rate")
    schedule = schedules.warmup_decay(peak, shape=static.schedule, **hyper.schedule)  # type: ignore[arg-type]
    return optimizer.make(static.optimizer, schedule, **options, **numbers)


def init(static: Static, hyper: Hyper, key: jax.Array) -> TrainState:
    """The state before the first step.

    Args:
        static: what is fixed.
        hyper: the numbers.
        key: a JAX random key, of the seed.

    Returns:
        A `TrainState` at step 0.
    """
    keys = streams.training_keys(key)
    params, model_state = make_network(static, hyper).init(keys.initialization)
    opt_state = make_optimizer(static, hyper).init(params)
    return TrainState(jnp.zeros([], jnp.int32), params, model_state, opt_state, keys.dropout)


def step(
    static: Static, hyper: Hyper, state: TrainState, batch: Batch, measure: bool | jax.Array = True
) -> tuple[TrainState, StepMetrics]:
    """One update. Its result depends on the state, the numbers and the batch alone: it draws by fold_in(rng, step).

    Args:
        static: what is fixed.
        hyper: the numbers.
        state: before the update.
        batch: the examples.
        measure: whether the gradient norm is computed; otherwise it is 0. Reading the whole gradient once more costs a
            tenth of a small step.

    Returns:
        The state after the update, and what was measured before it.
    """
    loss_fn = losses.mean_loss(computing_network(static, hyper).apply, static.loss)
    rng = jax.random.fold_in(state.rng, state.step)
    batch = augmented(static, hyper, rng, batch)
    (_, (model_state, measures)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params, state.model_state, batch, rng
    )
    updates, opt_state = make_optimizer(static, hyper).update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    dtype = jax.eval_shape(optax.tree.norm, gradient).dtype
    norm = jax.lax.cond(measure, optax.tree.norm, lambda _: jnp.zeros([], dtype), gradient)
    return TrainState(state.step + 1, params, model_state, opt_state, state.rng), StepMetrics(measures, norm)


def augmented(static: Static, hyper: Hyper, rng: jax.Array, batch: Batch) -> Batch:
    """The examples of a step as it sees them.

    Args:
        static: what is fixed.
        hyper: the numbers.
        rng: of the step.
        batch: the examples.

    Returns:
        A batch.
    """
    key = streams.augmentation(rng)
    if static.augment is not None:
        batch = static.augment(jax.random.fold_in(key, 1), batch)
    return augment(key, batch, **hyper.augment) if hyper.augment else batch


def start(static: Static, hyper: Hyper, key: jax.Array) -> LoopState:
    """The state of the loop before anything was validated.

    Args:
        static: what is fixed.
        hyper: the numbers.
        key: a JAX random key, of the seed.

    Returns:
        A `LoopState`; the initial weights stand where the best will be.
    """
    state = init(static, hyper, key)
    watch = None if static.escape is None else init_watch(static.escape.trigger)
    return LoopState(state, _copied(weights(state)), early_stopping.init(), watch)


def after_epoch(
    static: Static, hyper: Hyper, loop: LoopState, measures: dict[str, jax.Array]
) -> tuple[LoopState, Progress]:
    """Takes a validation into account: the best weights so far, and whether to stop.

    Args:
        static: what is fixed.
        hyper: the numbers.
        loop: the state, whose weights were validated.
        measures: of the validation split.

    Returns:
        The state with its best weights and early stopping brought up to date, and what the loop asks for.
    """
    value = measures[static.monitored] if static.falls else -measures[static.monitored]
    rule = hyper.early_stopping
    _require_names("early_stopping", {"patience", "min_delta"}, {*rule})
    stopping, improved = early_stopping.update(loop.stopping, value, loop.train.step, rule["min_delta"])
    best = jax.tree.map(lambda new, old: jnp.where(improved, new, old), weights(loop.train), loop.best)
    return loop._replace(best=best, stopping=stopping), progress_of(stopping, rule["patience"])


def progress_of(stopping: EarlyStoppingState, patience: Number) -> Progress:
    """What the loop asks of early stopping.

    Args:
        stopping: its state.
        patience: validations without improvement that are borne; 0 for any number.

    Returns:
        `Progress`.

    >>> bool(progress_of(early_stopping.init(), 3).stops)
    False
    """
    return Progress(stopping.best_step, early_stopping.should_stop(stopping, patience))  # type: ignore[arg-type]


def learning_rate(state: TrainState) -> jax.Array:
    """The rate that the last update used.

    Args:
        state: of a run.

    Returns:
        A scalar.
    """
    return current_learning_rate(state.opt_state)


def _require_names(part: str, wanted: set[str], given: set[str]) -> None:
    missing = sorted(wanted - given)
    if missing:
        raise ValueError(f"hyper.{part} lacks {', '.join(missing)}; it has {', '.join(sorted(given)) or 'nothing'}")


def _copied(weights: Weights) -> Weights:
    # Buffers of their own, which the next step's donation leaves alone.
    return jax.tree.map(jnp.copy, weights)
