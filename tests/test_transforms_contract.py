"""What every transform must do. One row of ROWS enrols one.

A row says how to make it for a rate, the lectures' formula as NumPy, and its equal in optax and in PyTorch where the
definitions coincide (for `pairs`, ours may need arguments of its own).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import QUICKLY_COMPILED, run_python
from tricks import transforms
from tricks.training import optimizer

STEPS, RATE, STRENGTH, TINY = 50, 0.05, 0.02, 1e-30
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, 6))
START = np.random.default_rng(1).normal(size=6)
Rate = Callable[[int], float]


class Row(NamedTuple):
    name: str
    make: Callable[[Any], optax.GradientTransformation]
    formula: Callable[[Rate], list[np.ndarray]]
    optax_pair: Callable[[], tuple[Any, Any]] | None = None
    torch_pair: Callable[[Any], tuple[Any, Any]] | None = None
    rosenbrock_rate: float = 0.02


def _run(step) -> Callable[[Rate], list[np.ndarray]]:
    """A trace of theta from `step(memory, g, theta, eta, t) -> theta`, memory being a dict that starts empty."""

    def formula(rate: Rate) -> list[np.ndarray]:
        theta, memory, trace = START.copy(), {}, []
        for t, g in enumerate(GRADIENTS):
            theta = step(memory, g, theta, rate(t), t)
            trace.append(theta)
        return trace

    return formula


def _momentum(memory, g, theta, eta, t, decay=0.9):
    memory["m"] = decay * memory.get("m", 0) - eta * g
    return theta + memory["m"]


def _nesterov(memory, g, theta, eta, t, decay=0.9):
    _momentum(memory, g, theta, eta, t, decay)
    return theta + decay * memory["m"] - eta * g


def _root_mean_square(memory, g, theta, eta, t):
    return theta - eta / np.sqrt(np.mean(GRADIENTS[: t + 1] ** 2, axis=0)) * g


def _rmsprop(memory, g, theta, eta, t, alpha=0.9):
    memory["sigma"] = np.abs(g) if t == 0 else np.sqrt(alpha * memory["sigma"] ** 2 + (1 - alpha) * g**2)
    return theta - eta / memory["sigma"] * g


def _adam_direction(memory, g, t, b1=0.9, b2=0.999, eps=1e-8):
    memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g**2
    return memory["m"] / (1 - b1 ** (t + 1)) / (np.sqrt(memory["v"] / (1 - b2 ** (t + 1))) + eps)


def _adam(memory, g, theta, eta, t):
    return theta - eta * _adam_direction(memory, g, t)


def _adamw(memory, g, theta, eta, t):
    return theta - eta * _adam_direction(memory, g, t) - eta * STRENGTH * theta


def _lamb(memory, g, theta, eta, t):
    u = _adam_direction(memory, g, t, eps=1e-6) + STRENGTH * theta
    return theta - eta * min(max(np.linalg.norm(theta), 1.5), 2.0) / np.linalg.norm(u) * u


def _l2(memory, g, theta, eta, t):
    return (1 - eta * STRENGTH) * theta - eta * g


def _l1(memory, g, theta, eta, t):
    return theta - eta * g - eta * STRENGTH * np.sign(theta)


def _decoupled(memory, g, theta, eta, t):
    return (1 - eta * STRENGTH) * theta + (_momentum(memory, g, theta, eta, t) - theta)


def _soft_threshold(memory, g, theta, eta, t):
    moved = theta - eta * g
    return np.where(np.abs(moved) <= eta * STRENGTH, 0, moved - eta * STRENGTH * np.sign(moved))


def _falling(t):
    return RATE / (t + 1) ** 0.5


def _sgd(rate):
    return transforms.momentum(rate, decay=0.0)


ROWS = [
    Row(
        "momentum",
        transforms.momentum,
        _run(_momentum),
        lambda: (transforms.momentum(RATE), optax.sgd(RATE, 0.9)),
        lambda torch: (transforms.momentum(RATE), lambda p: torch.optim.SGD(p, RATE, momentum=0.9)),
        2e-4,
    ),
    Row(
        "nesterov",
        lambda rate: transforms.momentum(rate, nesterov=True),
        _run(_nesterov),
        lambda: (transforms.momentum(RATE, nesterov=True), optax.sgd(RATE, 0.9, nesterov=True)),
        lambda torch: (
            transforms.momentum(RATE, nesterov=True),
            lambda p: torch.optim.SGD(p, RATE, momentum=0.9, nesterov=True),
        ),
        2e-4,
    ),
    Row(
        "root_mean_square",
        lambda rate: transforms.root_mean_square(rate, eps=TINY),
        _run(_root_mean_square),
        # Their sigma is the root of a sum, ours of a mean: a rate that falls as 1 / sqrt(t + 1) makes up for it.
        lambda: (
            transforms.root_mean_square(_falling, eps=TINY),
            optax.chain(optax.scale_by_rss(0.0, 0.0), optax.scale_by_learning_rate(RATE)),
        ),
        lambda torch: (
            transforms.root_mean_square(_falling, eps=TINY),
            lambda p: torch.optim.Adagrad(p, RATE, eps=TINY),
        ),
        0.2,
    ),
    Row("rmsprop", lambda rate: transforms.rmsprop(rate, eps=TINY), _run(_rmsprop)),
    Row(
        "adam",
        transforms.adam,
        _run(_adam),
        lambda: (transforms.adam(_falling), optax.adam(_falling)),
        lambda torch: (transforms.adam(RATE), lambda p: torch.optim.Adam(p, RATE)),
    ),
    Row(
        "adamw",
        lambda rate: transforms.adamw(rate, weight_decay=STRENGTH, mask=None),
        _run(_adamw),
        lambda: (
            transforms.adamw(_falling, weight_decay=STRENGTH, mask=None),
            optax.adamw(_falling, weight_decay=STRENGTH),
        ),
        lambda torch: (
            transforms.adamw(RATE, weight_decay=STRENGTH, mask=None),
            lambda p: torch.optim.AdamW(p, RATE, weight_decay=STRENGTH),
        ),
    ),
    Row(
        "lamb",
        lambda rate: transforms.lamb(
            rate, weight_decay=STRENGTH, mask=None, trust_mask=None, min_norm=1.5, max_norm=2.0
        ),
        _run(_lamb),
        lambda: (
            transforms.lamb(_falling, weight_decay=STRENGTH, mask=None, trust_mask=None),
            optax.lamb(_falling, weight_decay=STRENGTH),
        ),
    ),
    Row(
        "l2",
        lambda rate: optax.chain(transforms.add_l2_decay(STRENGTH, mask=None), _sgd(rate)),
        _run(_l2),
        lambda: (
            optax.chain(transforms.add_l2_decay(STRENGTH, mask=None), transforms.momentum(RATE)),
            optax.chain(optax.add_decayed_weights(STRENGTH), optax.sgd(RATE, 0.9)),
        ),
        lambda torch: (
            optax.chain(transforms.add_l2_decay(STRENGTH, mask=None), transforms.momentum(RATE)),
            lambda p: torch.optim.SGD(p, RATE, momentum=0.9, weight_decay=STRENGTH),
        ),
        2e-4,
    ),
    Row(
        "l1",
        lambda rate: optax.chain(transforms.add_l1_decay(STRENGTH, mask=None), _sgd(rate)),
        _run(_l1),
        rosenbrock_rate=2e-4,
    ),
    Row(
        "decoupled",
        lambda rate: optax.chain(transforms.momentum(rate), transforms.add_decoupled_decay(STRENGTH, rate, mask=None)),
        _run(_decoupled),
        lambda: (
            optax.chain(transforms.adam(_falling), transforms.add_decoupled_decay(STRENGTH, _falling, mask=None)),
            optax.adamw(_falling, weight_decay=STRENGTH),
        ),
        lambda torch: (
            optax.chain(transforms.adam(RATE), transforms.add_decoupled_decay(STRENGTH, RATE, mask=None)),
            lambda p: torch.optim.AdamW(p, RATE, weight_decay=STRENGTH),
        ),
        2e-4,
    ),
    Row(
        "soft_threshold",
        lambda rate: optax.chain(_sgd(rate), transforms.soft_threshold(STRENGTH, rate, mask=None)),
        _run(_soft_threshold),
        rosenbrock_rate=2e-4,
    ),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
# Of few shapes, because every operation outside `jit` is compiled once for each.
TREE = {
    "dense": {"kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "bias": jnp.ones(3)},
    "pair": (jnp.full((2, 3), 0.5, jnp.float32), jnp.array(2.0, jnp.float32)),
    "nothing": None,
    "empty": {},
}


def _gradients(params, t=0):
    return jax.tree.map(lambda p: jnp.cos(3 * p + t).astype(p.dtype), params)


def _trace(tx, dtype=None):
    theta = jnp.asarray(START, dtype)
    state = tx.init(theta)
    update = jax.jit(tx.update)
    for g in GRADIENTS:
        updates, state = update(jnp.asarray(g, dtype), state, theta)
        theta = optax.apply_updates(theta, updates)
        yield np.asarray(theta)


def _close(a, b, tolerance=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x, np.float64), np.asarray(y, np.float64), rtol=tolerance, atol=tolerance)


@cache
def _guarded(row):
    """Compiled, because what optax puts into a `cond` is compiled for anew at every call of it outside `jit`."""
    tx = optax.apply_if_finite(row.make(0.01), 3)
    return optax.GradientTransformation(tx.init, jax.jit(tx.update))


def _steps(tx, params, steps=3):
    state = tx.init(params)
    for t in range(steps):
        updates, state = tx.update(_gradients(params, t), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_every_family_has_a_row():
    missing = set(optimizer.FAMILIES) - {row.name for row in ROWS}
    assert not missing, f"add rows named {missing} to ROWS of tests/test_transforms_contract.py"


@every_row
@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize(("x64", "tolerance"), [(False, 1e-6), (True, 1e-12)])
def test_follows_the_lectures(row, scheduled, x64, tolerance):
    expected = row.formula(_falling if scheduled else lambda t: RATE)
    with jax.enable_x64(x64):
        rate = (lambda t: RATE / jnp.sqrt(t.astype(float) + 1)) if scheduled else RATE
        np.testing.assert_allclose(list(_trace(row.make(rate))), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("row", [row for row in ROWS if row.optax_pair], ids=lambda row: row.name)
def test_equals_optax_where_the_definitions_coincide(row):
    with jax.enable_x64(True):
        ours, theirs = row.optax_pair()
        np.testing.assert_allclose(list(_trace(ours)), list(_trace(theirs)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", [row for row in ROWS if row.torch_pair], ids=lambda row: row.name)
def test_equals_pytorch_where_the_definitions_coincide(row):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (requirements-bench.txt)")
    with jax.enable_x64(True):
        ours, theirs = row.torch_pair(torch)
        theta = torch.tensor(START, requires_grad=True)
        optimizer = theirs([theta])
        for mine, g in zip(_trace(ours), GRADIENTS, strict=True):
            theta.grad = torch.tensor(g)
            optimizer.step()
            np.testing.assert_allclose(mine, theta.detach().numpy(), rtol=1e-12, atol=1e-12)


def _descend(tx, loss, start, steps):
    def body(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda: jax.lax.scan(body, (start, tx.init(start)), length=steps)[0][0])()


@every_row
def test_descends_a_parabola(row):
    start = jnp.array([3.0, -4.0, 5.0])
    tx = row.make(optax.linear_schedule(0.1, 0.0, 1000))
    end = _descend(tx, lambda w: jnp.sum((w - 1) ** 2), start, 1000)
    # What decay of strength .02 moves the minimum by, and no more.
    np.testing.assert_allclose(end, 1, atol=STRENGTH)


@every_row
def test_descends_the_valley_of_rosenbrock(row):
    def loss(w):
        return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2

    start = jnp.array([-1.2, 1.0])
    end = _descend(row.make(optax.linear_schedule(row.rosenbrock_rate, 0.0, 20_000)), loss, start, 20_000)
    assert loss(end) < 5e-3 * loss(start), end


@every_row
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64])
def test_keeps_structure_and_dtype(row, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        params = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, dtype), TREE)
        tx = row.make(0.01)
        state = jax.eval_shape(tx.init, params)
        updates, new_state = jax.eval_shape(tx.update, params, state, params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
        assert jax.tree.map(lambda s: (s.shape, s.dtype, s.weak_type), state) == jax.tree.map(
            lambda s: (s.shape, s.dtype, s.weak_type), new_state
        )
        assert all(s.dtype == dtype for s in jax.tree.leaves(state) if s.ndim)


@every_row
def test_state_and_arithmetic_in_float32_on_request(row):
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), TREE["dense"])
    wide = jax.tree.map(lambda p: p.astype(jnp.float32), narrow)
    plain, requested = row.make(0.01), transforms.in_dtype(row.make(0.01), jnp.float32)
    a, b = plain.init(wide), requested.init(narrow)
    for t in range(40):
        gradients = jax.tree.map(lambda p: p.astype(jnp.bfloat16), _gradients(wide, t))
        updates, a = plain.update(jax.tree.map(lambda g: g.astype(jnp.float32), gradients), a, wide)
        rounded, b = requested.update(gradients, b, narrow)
        _close(jax.tree.map(lambda u: u.astype(jnp.bfloat16), updates), rounded, 0)
    _close(a, b, 0)


@every_row
def test_takes_empty_trees_and_scalars(row):
    for params in ({}, None, [], jnp.array(2.0)):
        updates, _ = row.make(0.01).update(params, row.make(0.01).init(params), params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)


@every_row
def test_compiles_once_for_all_steps_and_all_rates(row):
    @jax.jit
    def step(rate, state, params, t):
        return row.make(rate).update(_gradients(params, t), state, params)

    params, state = TREE, row.make(0.01).init(TREE)
    for t, rate in enumerate((0.01, 0.02)):
        expected, _ = row.make(rate).update(_gradients(params, t), state, params)
        updates, state = step(rate, state, params, t)
        _close(updates, expected)
        params = optax.apply_updates(params, updates)
    assert step._cache_size() == 1


@every_row
def test_a_scan_equals_the_loop(row):
    tx = row.make(0.01)

    def body(carry, t):
        params, state = carry
        updates, state = tx.update(_gradients(params, t), state, params)
        return (optax.apply_updates(params, updates), state), None

    _close(jax.lax.scan(body, (TREE, tx.init(TREE)), jnp.arange(3))[0], _steps(tx, TREE))


@every_row
def test_vmap_over_rates_equals_one_by_one(row):
    rates = jnp.array([0.0, 0.01, 0.1])
    together = jax.vmap(lambda rate: _steps(row.make(rate), TREE)[0])(rates)
    for i, rate in enumerate(rates):
        _close(jax.tree.map(lambda leaf, i=i: leaf[i], together), _steps(row.make(float(rate)), TREE)[0])


@every_row
def test_vmap_over_models_equals_one_by_one(row):
    tx = row.make(0.01)
    models = jax.tree.map(lambda p: jnp.stack([p, -2 * p, 0 * p]), TREE)
    together = jax.vmap(lambda params: _steps(tx, params)[0])(models)
    for i in range(3):
        _close(
            jax.tree.map(lambda leaf, i=i: leaf[i], together),
            _steps(tx, jax.tree.map(lambda leaf, i=i: leaf[i], models))[0],
        )


@every_row
def test_composes_with_optax(row):
    alone, _ = _steps(row.make(0.01), TREE)
    groups = {"dense": "a", "pair": "b", "nothing": "a", "empty": "a"}
    _close(_steps(optax.chain(optax.identity(), row.make(0.01)), TREE)[0], alone)
    _close(_steps(optax.multi_transform({"a": row.make(0.01), "b": row.make(0.01)}, groups), TREE)[0], alone)
    _close(_steps(optax.inject_hyperparams(row.make)(0.01), TREE)[0], alone)
    _close(_steps(_guarded(row), TREE)[0], alone)
    everywhere = jax.tree.map(lambda _: True, TREE)
    _close(_steps(optax.masked(row.make(0.01), everywhere), TREE)[0], alone)


@every_row
def test_masked_leaves_the_others_alone(row):
    mask = {"dense": True, "pair": False, "nothing": False, "empty": False}
    tx = optax.masked(row.make(0.01), mask)
    gradients = _gradients(TREE)
    updates, _ = tx.update(gradients, tx.init(TREE), TREE)
    _close(updates["pair"], gradients["pair"], 0)
    _close(updates["dense"], row.make(0.01).update(gradients, row.make(0.01).init(TREE), TREE)[0]["dense"])


@every_row
def test_multi_steps_takes_the_mean_gradient(row):
    tx, accumulated = row.make(0.01), optax.MultiSteps(row.make(0.01), 2)
    state, accumulated_state = tx.init(TREE), accumulated.init(TREE)
    accumulate = jax.jit(accumulated.update)
    for t in range(0, 6, 2):
        first, second = _gradients(TREE, t), _gradients(TREE, t + 1)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
        expected, state = tx.update(mean, state, TREE)
        _, accumulated_state = accumulate(first, accumulated_state, TREE)
        updates, accumulated_state = accumulate(second, accumulated_state, TREE)
        _close(updates, expected, 1e-5)


@every_row
def test_injected_rates_may_change_and_can_be_read(row):
    tx = optax.inject_hyperparams(row.make)(0.01)
    state = tx.init(TREE)
    for rate in (0.01, 0.5, 0.0):
        # Optimizers call their argument learning_rate, the rows' own functions rate.
        state.hyperparams["learning_rate" if "learning_rate" in state.hyperparams else "rate"] = jnp.float32(rate)
        _, state = tx.update(_gradients(TREE), state, TREE)
        assert float(transforms.current_learning_rate(state)) == pytest.approx(rate)


@every_row
def test_nan_gradients_are_not_hidden(row):
    tx = row.make(0.01)
    gradients = _gradients(TREE)
    gradients["dense"]["kernel"] = gradients["dense"]["kernel"].at[0, 1].set(jnp.nan)
    updates, _ = tx.update(gradients, tx.init(TREE), TREE)
    assert jnp.isnan(updates["dense"]["kernel"][0, 1])
    # Another layer's trouble stays its own.
    _close(updates["pair"], tx.update(_gradients(TREE), tx.init(TREE), TREE)[0]["pair"])
    guarded = _guarded(row)
    updates, state = guarded.update(gradients, guarded.init(TREE), TREE)
    assert not any(u.any() for u in jax.tree.leaves(updates))
    assert int(state.notfinite_count) == 1


@every_row
def test_zero_gradients_and_zero_weights_stay(row):
    zeros = jax.tree.map(jnp.zeros_like, TREE)
    _close(_steps_on(row.make(0.1), zeros, zeros), zeros, 0)


def _steps_on(tx, params, gradients):
    updates, state = tx.update(gradients, tx.init(params), params)
    updates, _ = tx.update(gradients, state, optax.apply_updates(params, updates))
    return updates


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of every row the transform, parameters, the state, and the state as it came back; all in one checkpoint."""
    import orbax.checkpoint as ocp

    transforms_of = {row.name: row.make(optax.linear_schedule(0.1, 0.0, 10)) for row in ROWS}
    params = {"dense": TREE["dense"], "pair": list(TREE["pair"])}
    ends = {name: _steps(tx, params) for name, tx in transforms_of.items()}
    states = {name: state for name, (_, state) in ends.items()}
    path = tmp_path_factory.mktemp("checkpoint") / "states"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, states)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(path, states)
    return {name: (tx, *ends[name], restored[name]) for name, tx in transforms_of.items()}


@every_row
def test_the_state_survives_a_checkpoint(row, checkpoint):
    tx, params, state, restored = checkpoint[row.name]
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    a = tx.update(_gradients(params), state, params)
    b = tx.update(_gradients(params), restored, params)
    _close(a, b, 0)


@every_row
def test_the_gradient_of_a_step_with_respect_to_its_rate(row):
    @jax.jit
    @jax.value_and_grad
    def after_two(rate):
        params, _ = _steps(row.make(rate), jax.tree.map(lambda p: p.astype(jnp.float64), TREE["dense"]), steps=2)
        return sum(jnp.sum(jnp.sin(p)) for p in jax.tree.leaves(params))

    with jax.enable_x64(True):
        slope = (after_two(0.05 + 1e-6)[0] - after_two(0.05 - 1e-6)[0]) / 2e-6
        np.testing.assert_allclose(after_two(0.05)[1], slope, rtol=1e-5)


_arrays = st.builds(
    lambda seed, shape: np.random.default_rng(seed).normal(size=shape).astype(np.float32),
    st.integers(0, 2**31),
    st.sampled_from([(), (1,), (3,), (2, 3), (2, 1, 2)]),
)
_trees = st.recursive(
    st.one_of(_arrays, st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["kernel", "bias", "w"]), inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=5,
)


@every_row
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(tree=_trees)
def test_every_leaf_of_any_tree_is_treated_as_if_it_were_alone(row, tree):
    tx = row.make(0.1)
    params = jax.tree.map(jnp.asarray, tree)
    updates, state = tx.update(_gradients(params), tx.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    second, _ = tx.update(_gradients(params, 1), state, params)
    for leaf, u, v in zip(*map(jax.tree.leaves, (params, updates, second)), strict=True):
        alone, state = tx.update(_gradients(leaf), tx.init(leaf), leaf)
        _close(u, alone)
        _close(v, tx.update(_gradients(leaf, 1), state, leaf)[0])
        assert u.shape == leaf.shape
        assert jnp.isfinite(u).all()


_SHARDED = """
import jax, jax.numpy as jnp, sys
sys.path.insert(0, "tests")
from jax.sharding import NamedSharding, PartitionSpec as P
import test_transforms_contract as contract
mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
params = {"kernel": jnp.linspace(-1, 1, 128).reshape(8, 16), "bias": jnp.ones(16)}
placed = {"kernel": NamedSharding(mesh, P("a", "b")), "bias": NamedSharding(mesh, P("b"))}
for row in contract.ROWS:
    tx = row.make(0.01)
    sharded = jax.device_put(params, placed)
    state = tx.init(sharded)
    update = jax.jit(tx.update)
    for t in range(3):
        updates, state = update(contract._gradients(sharded, t), state, sharded)
        for name in params:
            assert updates[name].sharding.is_equivalent_to(placed[name], params[name].ndim), (row.name, name)
            sharded[name] = sharded[name] + updates[name]
    for leaf in jax.tree.leaves(state):
        if leaf.ndim == 2:
            assert leaf.sharding.is_equivalent_to(placed["kernel"], 2), row.name
    # The scalars of a fresh state know nothing of the mesh; from the second step on nothing is new.
    assert update._cache_size() <= 2, row.name
    contract._close(sharded, contract._steps(tx._replace(update=jax.jit(tx.update)), params, 3)[0])
    print(row.name)
"""


def test_keeps_the_sharding_of_parameters():
    done = run_python("-c", _SHARDED, XLA_FLAGS=f"{QUICKLY_COMPILED} --xla_force_host_platform_device_count=8")
    assert done.status == 0, done.error[-2000:]
    assert done.output.split() == [row.name for row in ROWS]
