"""The network against NumPy, and its symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tricks import losses, models
from tricks.losses import Batch
from tricks.models import noise

X = np.random.default_rng(0).normal(2.0, 3.0, (64, 5)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 64).astype(np.int32)


# The same few sizes everywhere, so that kernels are drawn by programs that are there already.
def _build(**options):
    return models.build(input_size=5, output_size=3, key=jax.random.key(0), **options)


def _layer(params, i, x):
    linear = jax.tree.map(np.asarray, params[f"linear_{i}"])
    return x @ linear["kernel"].astype(np.float64) + linear.get("bias", 0)


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_plain_network_is_its_formula(activation):
    apply, params, state = _build(hidden_sizes=(7, 4), activation=activation, batch_norm=False)
    params["linear_0"]["bias"] = jnp.arange(7.0)
    f = {
        "relu": lambda z: np.maximum(z, 0),
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "linear": lambda z: z,
        "gelu": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    }[activation]
    expected = _layer(params, 2, f(_layer(params, 1, f(_layer(params, 0, X.astype(np.float64))))))
    for rng in (None, jax.random.key(1)):
        outputs, new_state = apply(params, state, X, rng=rng)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
        assert new_state == {}


def test_the_last_dimension_is_that_of_features():
    apply, params, state = _build(hidden_sizes=(7, 4), batch_norm=False, dropout=0.5)
    x = X[: 2 * (len(X) // 2)]
    shape = (2, -1, x.shape[1])
    outputs, _ = apply(params, state, x.reshape(shape), rng=jax.random.key(1))
    np.testing.assert_allclose(
        outputs.reshape(len(x), -1), apply(params, state, x, rng=jax.random.key(1))[0], rtol=1e-5
    )


def test_batch_norm_uses_the_batch_in_training_and_averages_in_evaluation():
    apply, params, state = _build(hidden_sizes=(7,), batch_norm=True, batch_norm_momentum=0.75)
    assert set(params["linear_0"]) == {"kernel"}, "no bias before batch normalization"
    params["norm_0"]["scale"] = jnp.linspace(0.5, 2, 7)
    params["norm_0"]["bias"] = jnp.linspace(-1, 1, 7)
    z = X.astype(np.float64) @ np.asarray(params["linear_0"]["kernel"])
    mean, var = z.mean(axis=0), z.var(axis=0)

    def rest(mean, var):
        norm = jax.tree.map(np.asarray, params["norm_0"])
        normalized = (z - mean) / np.sqrt(var + 1e-5)
        return _layer(params, 1, np.maximum(normalized * norm["scale"] + norm["bias"], 0))

    outputs, new_state = apply(params, state, X, rng=jax.random.key(0))
    np.testing.assert_allclose(outputs, rest(mean, var), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(new_state["norm_0"]["mean"], 0.25 * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_state["norm_0"]["var"], 0.75 + 0.25 * var, rtol=1e-4)
    outputs, unchanged = apply(params, new_state, X)
    np.testing.assert_allclose(outputs, rest(0.25 * mean, 0.75 + 0.25 * var), rtol=1e-4, atol=1e-4)
    assert unchanged is new_state


def test_params_are_plain_dicts_of_arrays():
    _, params, state = _build(hidden_sizes=(7,), batch_norm=True)

    def check(tree):
        if isinstance(tree, dict):
            assert type(tree) is dict
            for value in tree.values():
                check(value)
        else:
            assert isinstance(tree, jax.Array)

    check(params)
    check(state)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("units", [512, 511])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate, units):
    x = jnp.ones((2000, units))
    dropped = np.asarray(noise.drop(x, rate, jax.random.key(3)))
    zeros = (dropped == 0).mean()
    assert abs(zeros - rate) < 5 * np.sqrt(rate * (1 - rate) / dropped.size)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=2e-4)
    # Each unit and each example is dropped at that rate, and neighbours are independent.
    assert abs((dropped == 0).mean(axis=0) - rate).max() < 6 * np.sqrt(rate * (1 - rate) / 2000)
    half = units // 2
    both = ((dropped[:, :half] == 0) & (dropped[:, -half:] == 0)).mean()
    assert abs(both - rate**2) < 6 * np.sqrt(rate**2 / (2000 * half))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bits_of_dropout_are_fair_and_independent_within_words_between_neighbours_and_between_keys(seed):
    first, second = jax.random.split(jax.random.key(seed))
    words = np.asarray(noise._random_words(first, (2**16 + 1,)))
    others = np.asarray(noise._random_words(second, (2**16,)))
    assert len(np.unique(words)) == len(words)
    columns = np.concatenate(
        [1.0 - 2.0 * (w[:, None] >> np.arange(32) & 1) for w in (words[:-1], words[1:], others)], axis=1
    )
    correlations = columns.T @ columns / len(columns)
    limit = 6 / np.sqrt(len(columns))
    assert abs(columns.mean(axis=0)).max() < limit
    assert abs(correlations - np.eye(96)).max() < limit


def test_dropout_masks_of_consecutive_steps_and_layers_are_unrelated():
    key = jax.random.key(0)
    masks = [
        np.asarray(noise.drop(jnp.ones((128, 512)), 0.5, jax.random.fold_in(jax.random.fold_in(key, t), i))) > 0
        for t in range(4)
        for i in range(2)
    ]
    for i in range(len(masks)):
        for j in range(i):
            assert abs((masks[i] == masks[j]).mean() - 0.5) < 6 * 0.5 / np.sqrt(masks[0].size)


def test_dropout_depends_on_the_key_and_is_off_in_evaluation():
    apply, params, state = _build(hidden_sizes=(7, 4), dropout=0.5)
    a, _ = apply(params, state, X, rng=jax.random.key(0))
    b, _ = apply(params, state, X, rng=jax.random.key(0))
    c, _ = apply(params, state, X, rng=jax.random.key(1))
    assert np.array_equal(a, b)
    assert not np.allclose(a, c)
    off_apply, _, _ = _build(hidden_sizes=(7, 4), dropout=0.0)
    np.testing.assert_array_equal(apply(params, state, X)[0], off_apply(params, state, X)[0])


@pytest.mark.parametrize("units", [512, 511])
def test_noise_has_its_deviation_and_no_mean_and_is_independent(units):
    drawn = [np.asarray(noise.disturb(jnp.zeros((2000, units)), 0.3, jax.random.key(3), i)) for i in range(2)]
    for added in drawn:
        assert abs(added.mean()) < 5 * 0.3 / np.sqrt(added.size)
        np.testing.assert_allclose(added.std(), 0.3, rtol=5 / np.sqrt(added.size))
        assert abs(added.std(axis=0) - 0.3).max() < 6 * 0.3 / np.sqrt(2000)
        # That of the sum of two uniform numbers.
        np.testing.assert_allclose(((added / 0.3) ** 4).mean(), 2.4, rtol=0.02)
        half = units // 2
        assert abs((added[:, :half] * added[:, -half:]).mean()) < 6 * 0.09 / np.sqrt(2000 * half)
    assert abs((drawn[0] * drawn[1]).mean()) < 6 * 0.09 / np.sqrt(drawn[0].size)


def test_noise_is_added_to_features_and_before_activations_in_training_alone():
    key = jax.random.key(0)
    noise_key = jax.random.fold_in(key, 2)
    apply, params, state = _build(hidden_sizes=(7,), noise=0.3, input_noise=0.5, activation="tanh")
    x = noise.disturb(X, 0.5, noise_key, 0)
    z = noise.disturb(x @ params["linear_0"]["kernel"] + params["linear_0"]["bias"][None], 0.3, noise_key, 1)
    expected = jnp.tanh(z) @ params["linear_1"]["kernel"] + params["linear_1"]["bias"][None]
    np.testing.assert_allclose(apply(params, state, X, rng=key)[0], expected, rtol=1e-5)
    plain, _, _ = _build(hidden_sizes=(7,), activation="tanh")
    assert not np.allclose(apply(params, state, X, rng=key)[0], plain(params, state, X, rng=key)[0], rtol=1e-2)
    np.testing.assert_array_equal(apply(params, state, X)[0], plain(params, state, X)[0])


def test_average_over_masks_is_weight_scaling_for_one_hidden_layer():
    apply, params, state = models.build(
        input_size=5, output_size=3, hidden_sizes=(256,), dropout=0.5, key=jax.random.key(0)
    )
    keys = jax.random.split(jax.random.key(1), 4000)
    outputs = jax.jit(jax.vmap(lambda key: apply(params, state, X, rng=key)[0]))(keys)
    standard_error = outputs.std(axis=0) / np.sqrt(len(keys))
    assert (abs(outputs.mean(axis=0) - apply(params, state, X)[0]) < 5 * standard_error).all()


@pytest.mark.parametrize(("initializer", "variance"), [("he", 2 / 500), ("glorot", 2 / 900)])
def test_initial_kernels_have_their_variance(initializer, variance):
    _, params, _ = models.build(
        input_size=500, output_size=2, hidden_sizes=(400,), initializer=initializer, key=jax.random.key(0)
    )
    kernel = np.asarray(params["linear_0"]["kernel"])
    assert kernel.var() == pytest.approx(variance, rel=0.02)
    assert abs(kernel.mean()) < 5 * np.sqrt(variance / kernel.size)
    assert not params["linear_0"]["bias"].any()


def test_zeros_gives_uniform_outputs():
    apply, params, state = _build(initializer="zeros", hidden_sizes=(7,))
    assert not np.any(apply(params, state, X)[0])


def test_identical_units_stay_identical_under_training():
    apply, params, state = _build(initializer="identical", hidden_sizes=(7, 4), activation="tanh")
    loss_fn = losses.mean_loss(apply, losses.cross_entropy)
    tx = optax.adam(1e-2)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        gradient = jax.grad(lambda p: loss_fn(p, state, Batch(X, Y), None)[0])(params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    before = loss_fn(params, state, Batch(X, Y), None)[0]
    for _ in range(200):
        params, opt_state = step(params, opt_state)
    assert loss_fn(params, state, Batch(X, Y), None)[0] < before
    for i in (0, 1):
        kernel = np.asarray(params[f"linear_{i}"]["kernel"])
        np.testing.assert_allclose(kernel, np.broadcast_to(kernel[:, :1], kernel.shape), rtol=1e-5)
    last = np.asarray(params["linear_2"]["kernel"])
    np.testing.assert_allclose(last, np.broadcast_to(last[:1], last.shape), rtol=1e-5)
    assert np.ptp(last[0]) > 0, "the classes differ"
    assert np.ptp(np.asarray(params["linear_0"]["kernel"])[:, 0]) > 0, "the inputs differ"


def test_variance_survives_a_large_mean():
    apply, params, state = _build(hidden_sizes=(7,), batch_norm=True)
    x = (1e4 + np.random.default_rng(2).normal(size=(256, 5))).astype(np.float32)
    _, new_state = apply(params, state, x, rng=jax.random.key(0))
    z = x.astype(np.float64) @ np.asarray(params["linear_0"]["kernel"], np.float64)
    np.testing.assert_allclose(new_state["norm_0"]["var"], 0.9 + 0.1 * z.var(axis=0), rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"activation": "swish"}, "activation"),
        ({"initializer": "ones"}, "initializer"),
        ({"hidden_sizes": (0,)}, "sizes"),
        ({"dropout": 1.0}, "dropout"),
        ({"noise": -1.0}, "noise"),
        ({"input_noise": float("nan")}, "input_noise"),
    ],
)
def test_wrong_arguments_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        _build(**options)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 1), ()])
def test_the_perceptron_takes_features_of_any_shape(shape):
    options = {"hidden_sizes": (7,), "dropout": 0.5, "batch_norm": True}
    example = jax.ShapeDtypeStruct((64, *shape), jnp.float32)
    network = models.perceptron(example, 3, **options)
    flat = models.multilayer_perceptron(input_size=int(np.prod(shape)), output_size=3, **options)
    drawn = network.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, drawn, flat.init(jax.random.key(0)))
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    for mode in ({}, {"rng": jax.random.key(1)}, {"batch_statistics": True}):
        mine, theirs = network.apply(*drawn, x, **mode), flat.apply(*drawn, x.reshape(8, -1), **mode)
        jax.tree.map(np.testing.assert_array_equal, mine, theirs)
    if len(shape) == 1:
        # Not an operation more.
        programs = [str(jax.make_jaxpr(lambda x, apply=n.apply: apply(*drawn, x))(x)) for n in (network, flat)]
        assert programs[0] == programs[1]


@pytest.mark.parametrize(
    ("example", "found"),
    [
        ({"a": X, "b": Y}, "a dict of 2 arrays"),
        (jax.ShapeDtypeStruct((8, 4), jnp.uint8), r"an array of uint8 of shape \(8, 4\)"),
        (np.float32(1), r"an array of float32 of shape \(\)"),
    ],
)
def test_features_that_are_no_floating_array_need_a_network_of_ones_own(example, found):
    with pytest.raises(ValueError, match=f"the features are {found}; .* name it in model.build"):
        models.perceptron(example, 3)
