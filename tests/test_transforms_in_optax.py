"""Optax's own tools on our states: mapping over parameters, getting and setting, abstract and raveled parameters."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tricks import transforms
from tricks.training import optimizer

PARAMS = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "out": {"kernel": jnp.ones((3, 1))}}
SPECS = {"dense": {"kernel": "rows", "bias": "all"}, "out": {"kernel": "columns"}}
MASKS = {
    "default": "weights_only",
    "none": None,
    "tree": {"dense": {"kernel": True, "bias": False}, "out": {"kernel": True}},
    "prefix": {"dense": False, "out": True},
    "function": lambda params: {"dense": {"kernel": params["dense"]["kernel"].ndim > 1, "bias": False}, "out": True},
}
MASKED = {
    "adamw": lambda mask: transforms.adamw(0.1, mask=mask),
    "lamb": lambda mask: transforms.lamb(0.1, weight_decay=0.1, mask=mask, trust_mask=mask),
    "trust ratio": lambda mask: optax.chain(transforms.scale_by_adam(), transforms.scale_by_trust_ratio(mask)),
    "l1": lambda mask: optax.chain(transforms.add_l1_decay(0.1, mask), transforms.momentum(0.1)),
    "l2": lambda mask: optax.chain(transforms.add_l2_decay(0.1, mask), transforms.root_mean_square(0.1)),
    "decoupled": lambda mask: optax.chain(transforms.rmsprop(0.1), transforms.add_decoupled_decay(0.1, 0.1, mask)),
    "soft threshold": lambda mask: optax.chain(transforms.adam(0.1), transforms.soft_threshold(0.1, 0.1, mask)),
    "escape": lambda mask: transforms.escape_saddle(transforms.adamw(0.1, mask=mask), mask=mask),
    "perturbed": lambda mask: transforms.perturb_on_plateau(transforms.adamw(0.1, mask=mask), 0.1),
    "in float32": lambda mask: transforms.in_dtype(transforms.adamw(0.1, mask=mask)),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("make", MASKED.values(), ids=MASKED)
def test_specs_of_parameters_map_over_every_state_under_every_mask(make, mask):
    tx = make(mask)
    state = tx.init(PARAMS)
    mapped = optax.tree.map_params(tx, lambda _, spec: spec, state, SPECS, transform_non_params=lambda _: None)
    kept = [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state) if leaf.ndim]
    placed = jax.tree_util.tree_leaves_with_path(mapped)
    assert [path for path, _ in placed] == [path for path, _ in kept]
    for (path, leaf), (_, spec) in zip(kept, placed, strict=True):
        assert spec == {(2, 3): "rows", (3,): "all", (3, 1): "columns"}[leaf.shape], path


@pytest.mark.parametrize("name", optimizer.FAMILIES)
def test_a_rate_that_is_set_is_used_or_refused(name):
    make = optimizer.FAMILIES[name].make
    plain = make(0.25).init(PARAMS)
    # As of optax's own optimizers, which keep no rate.
    assert optax.tree.get(plain, "learning_rate") is None
    with pytest.raises(KeyError):
        optax.tree.set(plain, learning_rate=0.5)
    tx = optax.inject_hyperparams(make)(0.25)
    state = tx.init(PARAMS)
    assert float(optax.tree.get(state, "learning_rate")) == 0.25
    _, changed = tx.update(PARAMS, optax.tree.set(state, learning_rate=0.5), PARAMS)
    assert float(transforms.current_learning_rate(changed)) == 0.5
    updates, _ = tx.update(PARAMS, optax.tree.set(state, learning_rate=0.5), PARAMS)
    expected, _ = make(0.5).update(PARAMS, make(0.5).init(PARAMS), PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)


@pytest.mark.parametrize("name", optimizer.FAMILIES)
def test_no_argument_has_a_namesake_in_the_state(name):
    # Or optax.tree.get would find two of it, and optax.tree.set would set one that is not used.
    tx = optax.inject_hyperparams(optimizer.FAMILIES[name].make)(0.25)
    state = tx.init(PARAMS)
    for argument in state.hyperparams:
        assert len(optax.tree.get_all_with_path(state, argument)) == 1, argument


@pytest.mark.parametrize("make", MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_state_can_be_made_of_shapes_alone(make, dtype):
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, dtype), PARAMS)
    state = make(None).init(shapes)
    wanted = make(None).init(jax.tree.map(lambda p: jnp.ones(p.shape, dtype), PARAMS))
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, wanted)
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, wanted)


def _decaying():
    return [make("weights_only") for name, make in MASKED.items() if name not in ("escape", "perturbed")]


@pytest.mark.parametrize("tx", _decaying(), ids=[name for name in MASKED if name not in ("escape", "perturbed")])
def test_decay_that_is_lost_on_raveled_parameters_is_told(tx):
    with pytest.warns(UserWarning, match=r"mask is 'weights_only', which marks none of the 1 leaves"):
        optax.flatten(tx).init(PARAMS)


def test_it_is_told_once_and_only_where_something_is_lost():
    flat = optax.flatten(transforms.adamw(0.1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            jax.eval_shape(flat.init, PARAMS)
    assert len(caught) == 1
    # No decay, no leaves, a group of parameters whose others are elsewhere.
    optax.flatten(transforms.adamw(0.1, weight_decay=0.0)).init(PARAMS)
    transforms.adamw(0.1).init({})
    groups = {"dense": {"kernel": "a", "bias": "b"}, "out": {"kernel": "a"}}
    optax.partition({"a": transforms.adamw(0.1), "b": transforms.adamw(0.01)}, groups).init(PARAMS)
    with pytest.warns(UserWarning, match="trust_mask"):
        transforms.lamb(0.1).init(jnp.ones(3))


def _falling(step):
    return 0.1 / jnp.sqrt(step + 1.0)


EXACT = {"eps_in_sqrt": False}
TAKEN = {
    "adam": lambda rate: (optax.adam(rate), transforms.adam(rate)),
    "nadam": lambda rate: (optax.nadam(rate), transforms.adam(rate, nesterov=True)),
    "adam eps_root": lambda rate: (optax.adam(rate, eps_root=0.01), transforms.adam(rate, eps_root=0.01)),
    "adamw": lambda rate: (
        optax.adamw(rate, weight_decay=_falling, mask=transforms.weights_only),
        transforms.adamw(rate, weight_decay=_falling),
    ),
    "nadamw": lambda rate: (
        optax.nadamw(rate, weight_decay=0.1),
        transforms.adamw(rate, weight_decay=0.1, mask=None, nesterov=True),
    ),
    "lamb": lambda rate: (
        optax.lamb(rate, weight_decay=0.1, eps_root=1e-3),
        transforms.lamb(rate, weight_decay=0.1, mask=None, trust_mask=None, eps_root=1e-3),
    ),
    "momentum": lambda rate: (optax.sgd(rate, 0.9), transforms.momentum(rate)),
    "nesterov": lambda rate: (optax.sgd(rate, 0.9, nesterov=True), transforms.momentum(rate, nesterov=True)),
    "rmsprop": lambda rate: (optax.rmsprop(rate, **EXACT), transforms.rmsprop(rate)),
    "centered": lambda rate: (
        optax.rmsprop(rate, centered=True, eps=0.01, **EXACT),
        transforms.rmsprop(rate, centered=True, eps=0.01),
    ),
    "cores": lambda rate: (
        optax.chain(optax.trace(0.5), optax.identity(), optax.scale_by_adam()),
        optax.chain(transforms.scale_by_momentum(0.5), optax.identity(), transforms.scale_by_adam()),
    ),
}


def _typed(values, dtype):
    return jnp.asarray(values if dtype == np.complex128 else values.real, dtype)


def _random(seed, dtype=np.float32):
    draw = np.random.default_rng(seed).normal
    # Of one shape, which is compiled for once.
    return {
        layer: {name: _typed(draw(size=(2, 3)) + 1j * draw(size=(2, 3)), dtype) for name in ("kernel", "bias")}
        for layer in ("dense", "out")
    }


@pytest.mark.parametrize(
    ("rate", "dtype"),
    [(0.1, np.float64), (_falling, np.float64), (_falling, np.complex128)],
    ids=["rate", "schedule", "complex"],
)
@pytest.mark.parametrize("name", TAKEN)
def test_an_optax_state_is_taken_over_with_the_same_next_step(name, rate, dtype):
    with jax.enable_x64(True):
        theirs, ours = TAKEN[name](rate)
        params = _random(0, dtype)
        state = theirs.init(params)
        for seed in range(1, 6):
            _, state = theirs.update(_random(seed, dtype), state, params)
        taken = transforms.from_optax(state, rate)
        assert jax.tree.structure(taken) == jax.tree.structure(ours.init(params))
        assert jax.tree.map(jnp.result_type, taken) == jax.tree.map(jnp.result_type, ours.init(params))
        # One step; after it a falling rate means another thing inside momentum.
        for seed in range(6, 7 if name in ("momentum", "nesterov") else 9):
            expected, state = theirs.update(_random(seed, dtype), state, params)
            updates, taken = ours.update(_random(seed, dtype), taken, params)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), updates, expected)


def test_a_state_is_taken_over_from_within_wrappers_with_its_rate():
    def wrapped(make):
        inner = optax.chain(optax.clip_by_global_norm(1.0), optax.masked(make(_falling), {"dense": True, "out": False}))
        return optax.MultiSteps(optax.apply_if_finite(inner, 3), 2)

    params = _random(7)
    theirs, ours = wrapped(optax.adam), wrapped(transforms.adam)
    state = theirs.init(params)
    for seed in range(5):
        _, state = jax.jit(theirs.update)(_random(seed), state, params)
    taken = transforms.from_optax(state, _falling)
    assert jax.tree.structure(taken) == jax.tree.structure(ours.init(params))
    # Two of five gradients were the last halves of steps.
    assert float(transforms.current_learning_rate(taken)) == pytest.approx(0.1 / 2**0.5)
    assert jnp.isnan(transforms.current_learning_rate(transforms.from_optax(state)))
    expected, _ = jax.jit(theirs.update)(_random(5), state, params)
    updates, _ = jax.jit(ours.update)(_random(5), taken, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), updates, expected)


def test_what_cannot_be_taken_over_is_named():
    for theirs in (optax.lion(0.1), optax.rmsprop(0.1, bias_correction=True), optax.sgd(0.1)):
        with pytest.raises(ValueError, match=r"allowed: states of optax\.adam"):
            transforms.from_optax(theirs.init(PARAMS))
    with pytest.raises(ValueError, match="learning_rate is missing"):
        transforms.from_optax(optax.sgd(0.1, 0.9).init(PARAMS))
