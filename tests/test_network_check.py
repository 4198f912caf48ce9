"""What is said of a network, a loss and an augmentation by their shapes and traces: planted mistakes, and none."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks import losses
from tricks.losses import Batch
from tricks.models import Network
from tricks.training import network_check

RNG = np.random.default_rng(0)
FEATURES = jax.ShapeDtypeStruct((32, 3), np.float32)
BATCH = Batch(FEATURES, jax.ShapeDtypeStruct((32,), np.int32))
_COUNT = itertools.count()


def _init(key):
    return {"w": jax.random.normal(key, (3, 2))}, {"mean": jnp.zeros(3), "count": jnp.zeros((), jnp.int32)}


def _apply(params, state, x, *, rng=None, batch_statistics=None):
    if rng is None:
        return (x - state["mean"][None]) @ params["w"], state
    moved = {"mean": 0.9 * state["mean"] + 0.1 * x.mean(axis=0), "count": state["count"] + 1}
    return (x - x.mean(axis=0)[None]) @ params["w"], moved


def _from_host(numbers):
    """Outputs moved by what the host says when the network is called."""

    def apply(params, state, x, *, rng=None, batch_statistics=None):
        shift = jax.pure_callback(lambda: np.float32(numbers()), jax.ShapeDtypeStruct((), np.float32))
        return x @ params["w"] + shift, state

    return apply


def _shifted(draw):
    def apply(params, state, x, *, rng=None, batch_statistics=None):
        return x @ params["w"] + jnp.asarray(draw(), jnp.float32)[None], state

    return apply


def _within(wrap, state_of=lambda state, x: state):
    """All of an evaluation in one call."""

    def apply(params, state, x, *, rng=None, batch_statistics=None):
        if rng is not None:
            return _apply(params, state, x, rng=rng)
        return wrap(lambda params, state, x: (x @ params["w"], state_of(state, x)))(params, state, x)

    return apply


def _scanned(function):
    def scanned(params, state, x):
        return jax.lax.scan(lambda carry, one: function(params, carry, one[None])[::-1], state, x)[::-1]

    return scanned


def _a_step_later(function):
    """The state takes an example into account at the next one."""

    def scanned(params, state, x):
        def step(carry, one):
            state, seen = carry
            return ({**state, "mean": seen}, one), function(params, state, one[None])[0]

        (state, _), outputs = jax.lax.scan(step, (state, jnp.zeros(3)), x)
        return outputs, state

    return scanned


def _left_with(states):
    def apply(params, state, x, *, rng=None, batch_statistics=None):
        return x @ params["w"], state if rng is None else states(state)

    return apply


def _of_batch(state, x):
    return {"mean": state["mean"] + x.mean(axis=0), "count": state["count"]}


def _same_numbers(state, x):
    return jax.tree.map(lambda leaf: leaf + 0, state)


@pytest.mark.parametrize(
    "apply",
    [
        _apply,
        _shifted(lambda: np.arange(2)),
        _from_host(lambda: 1.0),
        _within(jax.jit),
        _within(jax.jit, _same_numbers),
        _within(jax.checkpoint),
        _within(_scanned),
        # Numbers in place of variables, among what goes into a call and what comes out of it.
        _within(jax.jit, lambda state, x: {"mean": jnp.where(state["mean"] > 0, state["mean"], 0.0), "count": 3}),
        _within(jax.checkpoint, lambda state, x: {"mean": state["mean"], "count": 3}),
    ],
)
def test_networks_that_are_as_agreed_pass(apply):
    network_check.check(Network(_init, apply), FEATURES)


@pytest.mark.parametrize(
    ("apply", "said"),
    [
        (_shifted(lambda: RNG.normal(size=2)), "it is not the same at every call in evaluation mode"),
        (_from_host(lambda: next(_COUNT)), "it is not the same at every call in evaluation mode"),
        (_within(jax.jit, _of_batch), "its model state takes the batch into account in evaluation mode"),
        (_within(jax.checkpoint, _of_batch), "its model state takes the batch into account in evaluation mode"),
        (_within(_scanned, _of_batch), "its model state takes the batch into account in evaluation mode"),
        (_within(_a_step_later), "its model state takes the batch into account in evaluation mode"),
        (_left_with(lambda state: {"mean": state["mean"]}), r"\['count'\] is int32\[\] before .* and missing after it"),
        (
            _left_with(lambda state: state | {"more": state["mean"]}),
            r"\['more'\] is missing before .* and float32\[3\]",
        ),
        (_left_with(lambda state: state | {"count": 1.0}), r"\['count'\] is int32\[\] before .* and float32\[\] after"),
        (_left_with(lambda state: state | {"none": ()}), "its model state has another structure after a call in train"),
    ],
)
def test_networks_that_are_not_are_refused(apply, said):
    with pytest.raises(ValueError, match=said):
        network_check.check(Network(_init, apply), FEATURES)


def test_networks_without_callbacks_are_judged_by_their_traces_alone():
    def init(key):
        assert isinstance(key, jax.core.Tracer), "weights are drawn"
        return _init(key)

    network_check.check(Network(init, _apply), FEATURES)
    with pytest.raises(ValueError, match="it is not the same at every call"):
        network_check.check(Network(init, _shifted(lambda: RNG.normal(size=2))), FEATURES)


@pytest.mark.parametrize(
    ("found", "loss", "targets", "said"),
    [
        (((32, 4), np.float32), "cross_entropy", (32,), None),
        (((32, 4), jnp.bfloat16), "cross_entropy", (32,), None),
        (((32, 4), np.int32), "cross_entropy", (32,), "its outputs are of int32; allowed: floating-point numbers$"),
        (((32, 3), np.float32), "cross_entropy", (32,), r"for targets of shape \(32,\); the loss needs \(32, 4\)$"),
        (((32, 2), np.float32), "cross_entropy", (32, 3), r"\(32, 3\); the loss needs \(32, 3, 4\)$"),
        (((32, 2), np.float32), "squared_error", (32, 3), r"\(32, 3\); the loss needs \(32, 3\)$"),
        (None, "squared_error", (32,), r"it gives a NoneType for outputs for targets of shape \(32,\); the loss needs"),
    ],
)
def test_outputs_fit_the_loss_or_are_refused(found, loss, targets, said):
    struct = found and jax.ShapeDtypeStruct(*found)
    arguments = struct, losses.named(loss), jax.ShapeDtypeStruct(targets, np.float32), 4
    if said is None:
        network_check.check_outputs(*arguments)
        return
    with pytest.raises(ValueError, match=said):
        network_check.check_outputs(*arguments)


def _centered(outputs, targets):
    return {"loss": jnp.abs(outputs["a"][:, 0] - outputs["a"][:, 0].mean()) + outputs["b"], "other": outputs["b"]}


def _ranked(outputs, targets):
    return {"loss": outputs["a"][:, 0], "other": outputs["b"] * (targets == targets.max())}


@pytest.mark.parametrize("examples", [2, 3, 100])
@pytest.mark.parametrize(("function", "name"), [(_centered, "loss"), (_ranked, "other")])
def test_a_loss_whose_examples_depend_on_each_other_is_refused(function, name, examples):
    outputs = {"a": jax.ShapeDtypeStruct((32, 5), np.float32), "b": jax.ShapeDtypeStruct((32,), np.float32)}
    targets = np.arange(examples)[::-1]
    loss = losses.from_function(function, outputs, BATCH.targets)
    said = rf"{name} of an example depends on .*; outputs are of shape \(32, 5\), \(32,\) and targets of \(32,\): give"
    with pytest.raises(ValueError, match=said):
        network_check.check_loss(loss, outputs, targets)
    alone = losses.from_function(lambda *both: {"loss": _ranked(*both)["loss"]}, outputs, BATCH.targets)
    network_check.check_loss(alone, outputs, targets)
    network_check.check_loss(loss, outputs, targets[:1])


def test_a_loss_that_mixes_targets_is_refused_with_their_shape():
    output = jax.ShapeDtypeStruct((32, 5), np.float32)
    loss = losses.from_function(
        lambda outputs, targets: {"loss": outputs[:, 0] - targets.mean()}, output, BATCH.targets
    )
    with pytest.raises(ValueError, match=r"outputs are of shape \(32, 5\) and targets of \(32, 3\): give both"):
        network_check.check_loss(loss, output, np.arange(300.0).reshape(100, 3))


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (lambda key, batch: batch._replace(features=-batch.features), None),
        (lambda key, batch: (*batch,), "it gives a tuple; allowed: the batch that it was given, changed"),
        (
            lambda key, batch: batch._replace(features=batch.features[:, :2]),
            r"it gives features and targets of \(float32\[32, 2\], int32\[32\]\); allowed: .*, \(float32\[32, 3\], ",
        ),
        (
            lambda key, batch: batch._replace(targets=batch.targets * 0.5),
            r"\(float32\[32, 3\], float32\[32\]\); allowed",
        ),
    ],
)
def test_an_augmentation_gives_the_same_kind_of_batch_or_is_refused(augment, said):
    if said is None:
        network_check.check_augmentation(augment, BATCH)
        return
    with pytest.raises(ValueError, match=said):
        network_check.check_augmentation(augment, BATCH)
