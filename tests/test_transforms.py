"""What is special to single transforms: differences from optax, decay, masks, rates read back, wrong arguments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tricks import early_stopping, plateau, transforms
from tricks.schedules import SHAPES, warmup_decay
from tricks.training import optimizer

GRADIENTS = np.random.default_rng(0).normal(size=(50, 6))
PARAMS = {
    "linear": {"kernel": jnp.full((2, 3), -2.0), "bias": jnp.full(3, 5.0)},
    "norm": {"scale": jnp.full(3, 5.0), "bias": jnp.full(3, 5.0)},
    "stacked": {"bias": jnp.full((4, 3), 5.0)},
}
OPTIMIZERS = list(optimizer.FAMILIES)


def test_sigma_is_that_of_rss_over_the_root_of_the_count():
    with jax.enable_x64(True):
        ours, theirs = transforms.scale_by_root_mean_square(eps=1e-30), optax.scale_by_rss(0.0, 0.0)
        ours_state, theirs_state = ours.init(jnp.zeros(6)), theirs.init(jnp.zeros(6))
        for t, g in enumerate(GRADIENTS):
            a, ours_state = ours.update(jnp.asarray(g), ours_state)
            b, theirs_state = theirs.update(jnp.asarray(g), theirs_state)
            np.testing.assert_allclose(a, b * np.sqrt(t + 1), rtol=1e-12)


def test_sigma_squared_of_rmsprop_exceeds_that_of_optax_and_pytorch_by_the_first_square_decayed():
    # Theirs starts at zero, ours at |g^0|, so the difference is alpha^{t+1} (g^0)^2.
    alpha = 0.9
    with jax.enable_x64(True):
        ours, theirs = transforms.scale_by_rmsprop(alpha), optax.scale_by_rms(alpha)
        ours_state, theirs_state = ours.init(jnp.zeros(6)), theirs.init(jnp.zeros(6))
        for t, g in enumerate(GRADIENTS):
            _, ours_state = ours.update(jnp.asarray(g), ours_state)
            _, theirs_state = theirs.update(jnp.asarray(g), theirs_state)
            excess = np.asarray(ours_state.sigma_squared) - np.asarray(theirs_state.nu)
            np.testing.assert_allclose(excess, alpha ** (t + 1) * GRADIENTS[0] ** 2, rtol=1e-9, atol=1e-15)


def test_rmsprop_equals_pytorch_once_that_starts_where_ours_does():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (requirements-bench.txt)")
    with jax.enable_x64(True):
        tx = transforms.rmsprop(0.05)
        _, state = tx.update(jnp.asarray(GRADIENTS[0]), tx.init(jnp.zeros(6)))
        theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        theirs = torch.optim.RMSprop([theta], 0.05, alpha=0.9)
        theirs.state[theta].update(
            step=torch.tensor(1.0), square_avg=torch.tensor(GRADIENTS[0] ** 2), momentum_buffer=None, grad_avg=None
        )
        mine = np.zeros(6)
        for g in GRADIENTS[1:]:
            updates, state = tx.update(jnp.asarray(g), state)
            mine = mine + np.asarray(updates)
            theta.grad = torch.tensor(g)
            theirs.step()
            np.testing.assert_allclose(mine, theta.detach().numpy(), rtol=1e-12)


def test_momentum_under_a_schedule_differs_from_optax_as_stated():
    # optax applies the current rate to all of m, here each gradient keeps the rate it came with: the difference is
    # the sum of decay^{t-i} (eta^t - eta^i) g^i.
    decay, rates = 0.9, 0.1 / np.arange(1, 51)
    with jax.enable_x64(True):

        def rate(t):
            return jnp.asarray(rates)[t]

        ours, theirs = transforms.momentum(rate, decay), optax.sgd(rate, decay)
        ours_state, theirs_state = ours.init(jnp.zeros(6)), theirs.init(jnp.zeros(6))
        for t, g in enumerate(GRADIENTS):
            a, ours_state = ours.update(jnp.asarray(g), ours_state)
            b, theirs_state = theirs.update(jnp.asarray(g), theirs_state)
            stated = sum(decay ** (t - i) * (rates[t] - rates[i]) * GRADIENTS[i] for i in range(t + 1))
            np.testing.assert_allclose(a - b, stated, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eps", [1e-3, 1e-8])
@pytest.mark.parametrize("make", [transforms.root_mean_square, transforms.rmsprop, transforms.adam])
def test_eps_is_added_to_sigma(make, eps):
    tx = make(1.0, eps=eps)
    update = tx.update(jnp.float32(1e-3), tx.init(jnp.float32(0)))[0]
    np.testing.assert_allclose(update, -1e-3 / (1e-3 + eps), rtol=1e-5)


@pytest.mark.parametrize("decay", [0.999, 0.9999999])
def test_the_first_step_of_adam_is_the_rate_also_where_float32_would_lose_it(decay):
    tx = transforms.adam(0.1, b1=decay, b2=decay)
    np.testing.assert_allclose(tx.update(jnp.float32(3), tx.init(jnp.float32(0)))[0], -0.1, rtol=1e-6)


def test_trust_ratio_is_one_where_a_norm_is_zero_and_leaves_biases_to_adam():
    params = {"kernel": jnp.zeros((2, 2)), "other": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 5.0)}
    gradients = {"kernel": jnp.ones((2, 2)), "other": jnp.zeros((2, 2)), "bias": jnp.ones(2)}
    tx = transforms.lamb(0.1)
    updates, _ = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1, rtol=1e-5)
    np.testing.assert_array_equal(updates["other"], 0)
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-5)


def test_the_core_of_lamb_is_adam_decay_and_trust_ratio_one_after_the_other():
    parts = optax.chain(
        transforms.scale_by_adam(eps=1e-6), transforms.add_l2_decay(0.1), transforms.scale_by_trust_ratio()
    )
    together = transforms.scale_by_lamb(weight_decay=0.1)
    a, b = parts.init(PARAMS), together.init(PARAMS)
    for t in range(5):
        gradients = jax.tree.map(lambda p, t=t: jnp.sin(p + t), PARAMS)
        expected, a = parts.update(gradients, a, PARAMS)
        updates, b = together.update(gradients, b, PARAMS)
        for x, y in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6)


@pytest.mark.parametrize("size", [0.1, 9.0])
def test_without_bounds_phi_is_the_size_itself(size):
    tx = transforms.scale_by_trust_ratio(mask=None)
    updates, _ = tx.update(jnp.array([0.0, 3.0]), optax.EmptyState(), jnp.array([size, 0.0]))
    np.testing.assert_allclose(updates, [0, size], rtol=1e-6)


@pytest.mark.parametrize(("size", "expected"), [(0.1, 0.5), (0.7, 0.7), (9.0, 2.0)])
def test_phi_clips_the_size_of_the_weights(size, expected):
    tx = transforms.scale_by_trust_ratio(mask=None, min_norm=0.5, max_norm=2.0)
    w = jnp.array([size, 0.0])
    np.testing.assert_allclose(tx.update(jnp.array([0.0, 3.0]), optax.EmptyState(), w)[0], [0, expected], rtol=1e-6)


def test_soft_threshold_makes_exact_zeros_where_sign_decay_chatters():
    target = jnp.linspace(-0.2, 0.2, 41).reshape(1, -1)
    zeros = {}
    for name, tx in {
        "soft": optax.chain(optax.sgd(0.1), transforms.soft_threshold(0.1, 0.1)),
        "sign": optax.chain(transforms.add_l1_decay(0.1), optax.sgd(0.1)),
    }.items():
        w, state = jnp.ones_like(target), tx.init(target)
        for _ in range(300):
            updates, state = tx.update(w - target, state, w)
            w = optax.apply_updates(w, updates)
        zeros[name] = int((w == 0).sum())
        # The minimum of (w - target)^2 / 2 + 0.1 |w|.
        minimum = jnp.sign(target) * jnp.maximum(abs(target) - 0.1, 0)
        np.testing.assert_allclose(w, minimum, atol=1e-5 if name == "soft" else 0.1 * (0.1 + 0.1))
    assert zeros["soft"] >= 19 > 5 >= zeros["sign"]


DECAYS = {
    "add_l2_decay": optax.chain(transforms.add_l2_decay(0.5), transforms.momentum(0.1)),
    "add_l1_decay": optax.chain(transforms.add_l1_decay(0.5), transforms.momentum(0.1)),
    "add_decoupled_decay": optax.chain(transforms.momentum(0.1), transforms.add_decoupled_decay(0.5, 0.1)),
    "soft_threshold": optax.chain(transforms.momentum(0.1), transforms.soft_threshold(0.5, 0.1)),
    "adamw": transforms.adamw(0.1, weight_decay=0.5),
    "lamb": transforms.lamb(0.1, weight_decay=0.5),
}


@pytest.mark.parametrize("name", DECAYS)
def test_biases_and_normalization_are_bit_identical_after_decay_alone(name):
    tx = DECAYS[name]
    params, state = PARAMS, tx.init(PARAMS)
    update = jax.jit(tx.update)
    for _ in range(100):
        updates, state = update(jax.tree.map(jnp.zeros_like, params), state, params)
        params = optax.apply_updates(params, updates)
    for path in (("linear", "bias"), ("norm", "scale"), ("norm", "bias"), ("stacked", "bias")):
        np.testing.assert_array_equal(params[path[0]][path[1]], PARAMS[path[0]][path[1]])
    assert (abs(params["linear"]["kernel"]) < 1).all()


def test_decay_strength_may_be_a_schedule():
    tx = transforms.add_l2_decay(lambda t: jnp.where(t == 0, 0.0, 1.0), mask=None)
    params = jnp.full(2, 3.0)
    first, state = tx.update(jnp.zeros(2), tx.init(params), params)
    second, _ = tx.update(jnp.zeros(2), state, params)
    assert (first.tolist(), second.tolist()) == ([0, 0], [3, 3])


def test_weights_only_knows_the_names_of_jax_libraries():
    assert transforms.weights_only(PARAMS) == {
        "linear": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "stacked": {"bias": False},
    }
    assert transforms.weights_only(jnp.ones(())) is False
    assert transforms.weights_only([jnp.ones((2, 2)), None]) == [True, None]

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(2, 3, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.heads = nnx.vmap(lambda key: nnx.Linear(3, 4, rngs=nnx.Rngs(key)))(
                jax.random.split(jax.random.key(0), 2)
            )

    state = nnx.state(nnx.eval_shape(lambda: Network(nnx.Rngs(0))), nnx.Param)
    marks = {
        jax.tree_util.keystr(path): mark for path, mark in jax.tree.leaves_with_path(transforms.weights_only(state))
    }
    assert sorted(marks.values()) == [False] * 4 + [True] * 2
    assert all(mark == ("kernel" in path) for path, mark in marks.items()), marks


def test_weights_only_knows_equinox():
    equinox = pytest.importorskip("equinox", reason="Equinox is not installed (requirements-dev.txt)")
    model = equinox.nn.MLP(2, 3, 4, 1, key=jax.random.key(0))
    marks = transforms.weights_only(equinox.filter(model, equinox.is_inexact_array))
    assert [(layer.weight, layer.bias) for layer in marks.layers] == [(True, False)] * 2
    convolution = equinox.filter_eval_shape(equinox.nn.Conv2d, 1, 2, 3, key=jax.random.key(0))
    marks = transforms.weights_only(convolution)
    assert (marks.weight, marks.bias) == (True, False)
    # A module can be called, and is a mask all the same.
    params = equinox.filter(model, equinox.is_inexact_array)
    mask = jax.tree.map(lambda p: p.ndim > 1, params)
    tx = transforms.add_l2_decay(1.0, mask=mask)
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_array_equal(updates.layers[0].weight, 2 * params.layers[0].weight)
    np.testing.assert_array_equal(updates.layers[0].bias, params.layers[0].bias)


@pytest.mark.parametrize("name", ["bias", "Bias", "in_proj_bias", "bias_ih", "gamma", "scale"])
def test_stacked_biases_and_scales_are_no_weights(name):
    assert transforms.weights_only({name: jnp.ones((3, 4)), "kernel": jnp.ones((3, 4))}) == {
        name: False,
        "kernel": True,
    }


@pytest.mark.parametrize("make", [transforms.add_l1_decay, transforms.add_l2_decay])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"a": True}, "mask has the structure"),
        (lambda params: {"a": True}, "mask has the structure"),
        (lambda params: jax.tree.map(jnp.ones_like, params), "allowed: True and False"),
    ],
)
def test_a_mask_that_does_not_match_is_refused_before_the_first_update(make, mask, message):
    with pytest.raises(ValueError, match=message):
        make(0.1, mask=mask).init(PARAMS)
    with pytest.raises(ValueError, match=message):
        transforms.lamb(0.1, trust_mask=mask).init(PARAMS)


def test_a_mask_may_be_a_prefix():
    tx = transforms.add_l2_decay(1.0, mask={"linear": True, "norm": False, "stacked": False})
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
    assert updates["linear"]["bias"].tolist() == [5, 5, 5]
    assert updates["norm"]["scale"].tolist() == [0, 0, 0]


def test_a_transform_that_needs_the_parameters_says_so():
    for tx in (transforms.add_l2_decay(0.1), transforms.soft_threshold(0.1, 0.1), transforms.scale_by_trust_ratio()):
        with pytest.raises(ValueError, match="params is None"):
            tx.update(jnp.ones((2, 2)), tx.init(jnp.ones((2, 2))))


T = transforms
WRONG = [
    (lambda: T.momentum(-0.1), "learning_rate is -0.1; allowed: a finite number, 0 or more"),
    (lambda: T.adam(math.nan), "learning_rate is nan"),
    (lambda: T.adam(math.inf), "learning_rate is inf"),
    (lambda: T.adam("0.1"), "learning_rate is '0.1'"),
    (lambda: T.adam(jnp.ones(3)), "learning_rate is Array"),
    (lambda: T.scale_by_learning_rate(-1), "learning_rate is -1"),
    (lambda: T.momentum(0.1, decay=1.0), "decay is 1.0; allowed: 0 <= decay < 1"),
    (lambda: T.momentum(0.1, decay=-0.1), "decay is -0.1"),
    (lambda: T.scale_by_momentum(2.0), "decay is 2.0"),
    (lambda: T.rmsprop(0.1, decay=1.5), "decay is 1.5"),
    (lambda: T.rmsprop(0.1, eps=0.0), "eps is 0.0; allowed: a finite number above 0"),
    (lambda: T.root_mean_square(0.1, eps=-1e-8), "eps is -1e-08"),
    (lambda: T.adam(0.1, b1=1.0), "b1 is 1.0"),
    (lambda: T.adamw(0.1, b2=1.0), "b2 is 1.0"),
    (lambda: T.adamw(0.1, weight_decay=-1.0), "weight_decay is -1.0"),
    (lambda: T.lamb(0.1, eps=0.0), "eps is 0.0"),
    (lambda: T.lamb(0.1, min_norm=-1.0), "min_norm is -1.0"),
    (lambda: T.lamb(0.1, max_norm=math.nan), "max_norm is nan"),
    (lambda: T.lamb(0.1, min_norm=3.0, max_norm=2.0), "min_norm is 3.0, with max_norm 2.0"),
    (lambda: T.lamb(0.1, trust_mask={"a": 1.0}), "mask holds 1.0 at ['a']; allowed: True and False"),
    (lambda: T.add_l1_decay(-0.1), "strength is -0.1; allowed: a finite number, 0 or more"),
    (lambda: T.add_l2_decay(0.1, mask="weights"), "mask holds 'weights' at its root"),
    (lambda: T.soft_threshold(0.1, -0.1), "learning_rate is -0.1"),
    (lambda: T.add_decoupled_decay(-0.1, 0.1), "strength is -0.1"),
    (lambda: T.in_dtype(optax.sgd(0.1), jnp.int32), "allowed: a floating-point type"),
    (lambda: warmup_decay(0.1, 10, 5), "total_steps is 5, with warmup_steps 10"),
    (lambda: warmup_decay(0.1, 1, 5, shape="cosin"), "shape is 'cosin'; allowed: " + ", ".join(SHAPES)),
    (lambda: warmup_decay(-0.1, 1, 5), "peak_value is -0.1; allowed: a finite number, 0 or more"),
    (lambda: warmup_decay(0.1, 1, 5, end_value=-0.1), "end_value is -0.1"),
    (lambda: warmup_decay(0.1, 1, 5, end_value=0.2), "end_value is 0.2, with peak_value 0.1"),
    (lambda: warmup_decay(0.1, 1.5, 5), "warmup_steps is 1.5; allowed: an integer, 0 or more"),
    (lambda: warmup_decay(0.1, 1, math.nan), "total_steps is nan"),
    (lambda: warmup_decay(0.1, "1", 5), "warmup_steps is '1'"),
    (lambda: warmup_decay(0.1, -1, 5), "warmup_steps is -1"),
    (lambda: warmup_decay(lambda t: 0.1, 1, 5), "peak_value is <function"),
    (lambda: warmup_decay(0.1, 1, 5, shape=np.array(["a"])), "shape is array(['a']"),
    (lambda: T.momentum(True), "learning_rate is True"),
    (lambda: T.adam(0.1, eps_root=-1e-8), "eps_root is -1e-08; allowed: a finite number, 0 or more"),
    (lambda: T.adamw(0.1, nesterov=1), "nesterov is 1; allowed: True or False"),
    (lambda: T.rmsprop(0.1, centered="yes"), "centered is 'yes'; allowed: True or False"),
    (lambda: T.momentum(0.1, nesterov="no"), "nesterov is 'no'; allowed: True or False"),
    (lambda: T.lamb(0.1, min_norm=lambda t: 1.0), "min_norm is <function"),
    (lambda: T.lamb(0.1, max_norm=0.0), "max_norm is 0.0; allowed: a number above 0"),
    (lambda: T.in_dtype(optax.sgd(0.1), "float33"), "dtype is 'float33'"),
    (lambda: T.in_dtype(optax.sgd(0.1), None), "dtype is None"),
    (lambda: T.in_dtype(optax.sgd(0.1), jnp.float64), "float64 only with jax_enable_x64"),
    (lambda: T.in_dtype(None), "inner is None; allowed: an optax transformation"),
    (lambda: T.add_l2_decay(0.1, mask=False), "mask is False, for no parameters at all; allowed"),
    (lambda: early_stopping.should_stop(early_stopping.init(), -1), "patience is -1; allowed: an integer, 0 or more"),
    (lambda: early_stopping.update(early_stopping.init(), 1.0, 0, -1.0), "min_delta is -1.0"),
    (lambda: plateau.update(plateau.init(), 1.0, window=0), "window is 0; allowed: an integer, 1 or more"),
    (lambda: plateau.update(plateau.init(), 1.0, window=5, min_improvement=-0.1), "min_improvement is -0.1"),
    (lambda: warmup_decay(0.1, 1, 5, end_value=0.0, shape="exponential"), "end_value is 0.0"),
    (lambda: warmup_decay(0.0, 1, 5, end_value=0.0, shape="exponential"), "peak_value is 0.0"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_argument_is_named_with_its_value_and_what_is_allowed(make, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        make()
    assert message in str(raised.value)
    assert "allowed" in str(raised.value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_current_learning_rate_is_that_of_the_last_update(name):
    schedule = warmup_decay(0.1, 3, 10)
    tx = optimizer.make(name, schedule, l1=1e-3, l2=1e-3)
    state = tx.init(PARAMS)
    assert float(transforms.current_learning_rate(state)) == pytest.approx(float(schedule(0)))
    for t in range(5):
        _, state = tx.update(PARAMS, state, PARAMS)
        assert float(transforms.current_learning_rate(state)) == pytest.approx(float(schedule(t)))


def test_current_learning_rate_reads_through_the_wrappers_of_optax():
    for wrap in (
        lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
        lambda tx: optax.apply_if_finite(tx, 2),
        lambda tx: optax.masked(tx, {"linear": True, "norm": False, "stacked": True}),
        lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
        lambda tx: transforms.in_dtype(tx),
        lambda tx: optax.multi_transform({"a": tx, "b": optax.set_to_zero()}, dict.fromkeys(PARAMS, "a")),
    ):
        state = wrap(transforms.adam(0.25)).init(PARAMS)
        assert float(transforms.current_learning_rate(state)) == 0.25
    state = optax.inject_hyperparams(optax.adam)(0.25).init(PARAMS)
    assert float(transforms.current_learning_rate(state)) == 0.25


def test_current_learning_rate_reads_injected_schedules():
    schedule = warmup_decay(0.1, 2, 10)
    for make in (optax.adam, transforms.adam):
        tx = optax.chain(optax.clip(1.0), optax.inject_hyperparams(make)(schedule))
        state = tx.init(PARAMS)
        for t in range(3):
            _, state = tx.update(PARAMS, state, PARAMS)
            assert float(transforms.current_learning_rate(state)) == pytest.approx(float(schedule(t)))


def test_default_masks_survive_injection():
    # optax takes every function among the arguments for a schedule.
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    for make, options in (
        (transforms.adamw, {"learning_rate": 0.1, "weight_decay": 0.5}),
        (transforms.add_l2_decay, {"strength": 0.5}),
        (transforms.soft_threshold, {"strength": 0.5, "learning_rate": 0.1}),
    ):
        injected, plain = optax.inject_hyperparams(make)(**options), make(**options)
        updates, _ = injected.update(zeros, injected.init(PARAMS), PARAMS)
        expected, _ = plain.update(zeros, plain.init(PARAMS), PARAMS)
        assert updates["linear"]["kernel"].any()
        np.testing.assert_allclose(updates["linear"]["kernel"], expected["linear"]["kernel"], rtol=1e-6)
    with pytest.raises(ValueError, match="static_args"):
        optax.inject_hyperparams(transforms.add_l2_decay)(0.5, mask=transforms.weights_only).init(PARAMS)


def test_frozen_parameters_have_no_gradient_and_keep_their_state():
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    gradients = {"a": jnp.ones((2, 2)), "b": None}
    for name in OPTIMIZERS:
        tx = optimizer.make(name, 0.1, l1=1e-3, l2=1e-3)
        state = tx.init(params)
        updates, new_state = tx.update(gradients, state, params)
        assert updates["b"] is None
        assert jax.tree.structure(new_state) == jax.tree.structure(state)
        alone, _ = tx.update({"a": gradients["a"]}, tx.init({"a": params["a"]}), {"a": params["a"]})
        np.testing.assert_array_equal(updates["a"], alone["a"])


def test_numbers_are_leaves_too():
    for name in OPTIMIZERS:
        tx = optimizer.make(name, 0.1, l1=1e-3, l2=1e-3)
        with pytest.warns(UserWarning, match="marks none of the 1 leaves"):
            state, other = tx.init(2.0), tx.init(jnp.float32(2))
        updates, _ = tx.update(1.0, state, 2.0)
        expected, _ = tx.update(jnp.float32(1), other, jnp.float32(2))
        assert float(updates) == float(expected)


def test_weakly_typed_parameters_do_not_compile_twice():
    for name in OPTIMIZERS:
        tx = optimizer.make(name, 0.1)
        update, params = jax.jit(tx.update), jnp.full((2, 2), 2.0)
        _, state = update(params, tx.init(params), params)
        update(params, state, params)
        assert update._cache_size() == 1, name


def test_the_trust_ratio_has_a_derivative_where_a_norm_is_zero():
    params = {"k": jnp.zeros((2, 2)), "l": jnp.ones((2, 2))}

    def after_two(rate):
        weights = params
        tx = transforms.lamb(rate, trust_mask=None)
        state = tx.init(weights)
        for _ in range(2):
            updates, state = tx.update({"k": jnp.zeros((2, 2)), "l": 1.5 * params["l"]}, state, weights)
            weights = optax.apply_updates(weights, updates)
        return sum(jnp.sum(w) for w in weights.values())

    # The ones shrink by the rate each time: 4 (1 - rate)^2.
    np.testing.assert_allclose(jax.jit(jax.grad(after_two))(0.1), -8 * 0.9, rtol=1e-5)


def test_adam_has_a_derivative_by_its_decays_also_at_zero():
    def moved(b1):
        tx = transforms.adam(0.1, b1=b1)
        state, theta = tx.init(jnp.zeros(1)), jnp.zeros(1)
        for g in (1.0, 3.0, -0.5):
            updates, state = tx.update(jnp.array([g]), state)
            theta = theta + updates
        return theta[0]

    with jax.enable_x64(True):
        derivative = jax.jit(jax.grad(moved))
        for b1 in (0.0, 0.4999, 0.5001, 0.9):
            slope = (moved(b1 + 1e-6) - moved(jnp.maximum(b1 - 1e-6, 0))) / (1e-6 + min(b1, 1e-6))
            np.testing.assert_allclose(derivative(b1), slope, rtol=1e-4)


def test_float32_parameters_are_not_computed_in_float64():
    with jax.enable_x64(True):
        params = {"kernel": jnp.ones((2, 3), jnp.float32)}
        for name in OPTIMIZERS:
            tx = optimizer.make(name, warmup_decay(0.1, 2, 9), l1=1e-3, l2=1e-3)
            wide = [
                variable.aval
                for equation in jax.make_jaxpr(tx.update)(params, tx.init(params), params).eqns
                for variable in equation.outvars
                if variable.aval.shape and variable.aval.dtype == jnp.float64
            ]
            assert not wide, name


def _traced(tx, gradients):
    state, trace, update = tx.init(jnp.zeros_like(gradients[0])), [], jax.jit(tx.update)
    for g in gradients:
        u, state = update(jnp.asarray(g), state)
        trace.append(u)
    return np.array(trace)


COMPLEX = GRADIENTS[:, :3] + 1j * GRADIENTS[:, 3:]


@pytest.mark.parametrize("gradients", [GRADIENTS, COMPLEX], ids=["real", "complex"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_options_of_adam_and_rmsprop_against_their_formulas(gradients, seed):
    b1, b2, alpha, eps, root = 0.9, 0.99, 0.8, 1e-3, 1e-2
    gradients = np.random.default_rng(seed).permutation(gradients)[:20]
    ahead, centered, rooted = [], [], []
    m = v = mean = 0
    square = np.abs(gradients[0]) ** 2
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * np.abs(g) ** 2
        sigma = np.sqrt(v / (1 - b2**t))
        rooted.append(m / (1 - b1**t) / (np.sqrt(sigma**2 + root) + eps))
        ahead.append((b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)) / (sigma + eps))
        mean = alpha * mean + (1 - alpha) * g
        square = alpha * square + (1 - alpha) * np.abs(g) ** 2
        centered.append(g / (np.sqrt(square - np.abs(mean) ** 2) + eps))
    with jax.enable_x64(True):
        for tx, wanted in (
            (transforms.scale_by_adam(b1, b2, eps, eps_root=root), rooted),
            (transforms.scale_by_adam(b1, b2, eps, nesterov=True), ahead),
            (transforms.scale_by_rmsprop(alpha, eps, centered=True), centered),
        ):
            np.testing.assert_allclose(_traced(tx, gradients), wanted, rtol=1e-12)


def test_gradients_that_do_not_change_have_no_deviation_and_no_nan():
    for seed in range(5):
        g = np.float32(np.random.default_rng(seed).normal(size=6) * 10.0 ** np.arange(-3, 3))
        updates = _traced(transforms.scale_by_rmsprop(centered=True, eps=0.1), [g] * 200)
        # What rounding leaves of a deviation may only make the step smaller.
        assert (np.abs(updates) <= np.abs(g) / 0.1 * (1 + 1e-6)).all()
        assert (np.sign(updates) == np.sign(g)).all()


def test_eps_root_gives_adam_a_derivative_where_all_gradients_are_zero():
    for root, finite in ((0.0, False), (1e-6, True)):
        tx = transforms.scale_by_adam(eps_root=root)
        slope = jax.jit(jax.jacrev(lambda g, tx=tx: tx.update(g, tx.init(g))[0]))(jnp.zeros(1))
        assert bool(jnp.isfinite(slope).all()) == finite
    # (1 / 1e-3) of it, because both corrections make up for the first averages.
    np.testing.assert_allclose(slope, [[1e3]], rtol=1e-4)


def test_decays_of_complex_weights_keep_their_angle():
    w = np.array([3 + 4j, -0.003j, 0])
    for tx, wanted in (
        (transforms.add_l2_decay(0.5, mask=None), 0.5 * w),
        (transforms.add_l1_decay(0.5, mask=None), 0.5 * np.array([0.6 + 0.8j, -1j, 0])),
        (transforms.add_decoupled_decay(0.5, 0.1, mask=None), -0.05 * w),
        (transforms.soft_threshold(0.5, 0.1, mask=None), [-0.03 - 0.04j, 0.003j, 0]),
    ):
        params = jnp.asarray(w, jnp.complex64)
        updates, _ = tx.update(jnp.zeros_like(params), tx.init(params), params)
        np.testing.assert_allclose(updates, wanted, atol=1e-6)
    # |w| = 5, |u| = 1.
    u = jnp.array([0.6j, 0.8, 0], jnp.complex64)
    tx = transforms.scale_by_trust_ratio(mask=None)
    np.testing.assert_allclose(tx.update(u, tx.init(params), params)[0], 5 * u, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_complex_weight_of_adaptive_optimizers_has_one_size(name):
    # Turning all gradients turns all updates.
    turn = np.exp(0.7j)
    params = jnp.ones((1, 3), jnp.complex64)
    tx = optimizer.make(name, 0.1)
    moved, turned = tx.init(params), tx.init(params * turn)
    for g in COMPLEX[:5, None]:
        a, moved = tx.update(jnp.asarray(g, jnp.complex64), moved, params)
        b, turned = tx.update(jnp.asarray(g * turn, jnp.complex64), turned, params * turn)
        np.testing.assert_allclose(b, a * turn, rtol=1e-5, atol=1e-6)
    assert a.dtype == jnp.complex64


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_integer_parameters_are_refused_and_not_left_behind(name):
    tx = optimizer.make(name, 0.1)
    for params, gradients in (
        ({"w": jnp.ones((2, 2), jnp.int32)},) * 2,
        ({"w": jnp.ones((2, 2), jnp.int32)}, {"w": jnp.ones((2, 2))}),
        ({"w": jnp.ones((2, 2), bool)},) * 2,
    ):
        with pytest.raises(ValueError, match=r"a leaf is (int32|bool); allowed: floating-point or complex"):
            tx.update(gradients, tx.init(params), params)
    frozen = {"w": jnp.ones((2, 2)), "steps": jnp.int32(3)}
    updates, _ = tx.update({"w": jnp.ones((2, 2)), "steps": None}, tx.init(frozen), frozen)
    assert updates["steps"] is None


def test_a_schedule_of_a_vector_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3,\); allowed: a scalar"):
        transforms.adam(lambda t: jnp.ones(3)).init(PARAMS)


def test_a_state_without_one_learning_rate_says_so():
    with pytest.raises(ValueError, match="0 learning rates"):
        transforms.current_learning_rate(optax.sgd(0.1).init(PARAMS))
    two = optax.chain(transforms.adam(0.1), transforms.scale_by_learning_rate(0.2))
    with pytest.raises(ValueError, match=r"2 learning rates, at \[0\]"):
        transforms.current_learning_rate(two.init(PARAMS))


def test_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match="name is 'sgd'"):
        optimizer.make("sgd", 0.1)


def test_an_average_that_bfloat16_cannot_move_moves_in_float32():
    # In bfloat16 0.999 v + 0.001 g^2 rounds back to v as soon as the change is below half a unit in its last place.
    params, gradient = jnp.zeros(1, jnp.bfloat16), jnp.ones(1, jnp.bfloat16)
    averages = {}
    for name, tx in {
        "plain": transforms.scale_by_adam(),
        "wide": transforms.in_dtype(transforms.scale_by_adam()),
    }.items():
        state = tx.init(params)
        update = jax.jit(tx.update)
        for _ in range(3000):
            _, state = update(gradient, state)
        averages[name] = float(state.v[0])
    assert averages["wide"] == pytest.approx(1 - 0.999**3000, rel=1e-4)
    assert averages["plain"] < 0.6


def test_a_mask_that_is_traced_is_named():
    with pytest.raises(ValueError, match=r"mask holds .*Tracer.* at \['w'\]; allowed: True and False"):
        jax.jit(lambda mark: transforms.add_l2_decay(0.1, mask={"w": mark}).init({"w": jnp.ones((2, 2))}))(True)
    tx = transforms.add_l2_decay(0.1, mask={"w": jnp.bool_(True), "v": np.bool_(False)})
    params = {"w": jnp.ones((2, 2)), "v": jnp.ones((2, 2))}
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert [float(updates[name][0, 0]) for name in "wv"] == pytest.approx([0.1, 0.0])
