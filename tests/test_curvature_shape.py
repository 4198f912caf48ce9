"""Sharpness against closed forms and under rescaling; the loss on a plane."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tricks import curvature, losses, models
from tricks.curvature import sharpness
from tricks.losses import Batch
from tricks.models import noise


def _bowl(w):
    return jnp.sum(jnp.array([1.0, 10.0, 0.1]) * w**2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("epsilon", [1e-3, 0.5])
def test_keskars_measure_of_a_bowl_is_its_corner(seed, epsilon):
    point = jnp.array([0.0, -1.0, 3.0])
    found = curvature.keskar_sharpness(_bowl, point, epsilon, key=jax.random.key(seed))
    # A corner of the box is where a convex function is highest; which one, the start decides where they are even.
    half = epsilon * (abs(point) + 1)
    highest = float(_bowl(jnp.abs(point) + half))
    assert found.loss == pytest.approx(float(_bowl(point)))
    assert found.maximum <= highest * (1 + 1e-6)
    assert found.value == pytest.approx(100 * (found.maximum - found.loss) / (1 + found.loss), rel=1e-5)
    if epsilon < 0.01:
        assert found.value == pytest.approx(100 * (highest - found.loss) / (1 + found.loss), rel=1e-2)


def test_keskars_measure_at_a_minimum_is_half_the_curvature_of_the_box():
    found = curvature.keskar_sharpness(_bowl, jnp.zeros(3), 0.01, key=jax.random.key(0))
    assert found.value == pytest.approx(100 * 11.1 * 0.01**2, rel=1e-3)


def test_keskars_measure_in_a_subspace():
    point, key = jnp.zeros(50), jax.random.key(3)
    found = curvature.keskar_sharpness(lambda w: jnp.sum(w**2), point, 0.1, subspace=4, key=key)
    basis = np.asarray(jax.random.normal(jax.random.split(key)[1], (50, 4)))
    corners = np.array(np.meshgrid(*[[-0.1, 0.1]] * 4)).reshape(4, -1)
    assert found.maximum == pytest.approx(np.max(np.sum((basis @ corners) ** 2, axis=0)), rel=0.3)
    assert found.maximum <= np.max(np.sum((basis @ corners) ** 2, axis=0)) * (1 + 1e-5)


def test_the_box_follows_the_pseudo_inverse_in_a_subspace():
    key = jax.random.key(5)
    basis = np.asarray(jax.random.normal(jax.random.split(key)[1], (30, 2)), np.float64)
    point = basis @ np.array([100.0, 0.0])
    found = curvature.keskar_sharpness(
        lambda w: jnp.sum((w - point) ** 2), jnp.asarray(point, jnp.float32), 0.01, subspace=2, key=key
    )
    signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1]])
    corners = basis @ (np.array([[1.01], [0.01]]) * signs)
    assert found.maximum == pytest.approx(np.max(np.sum(corners**2, axis=0)), rel=2e-2)


@pytest.mark.parametrize(
    ("rows", "columns", "way"),
    [(20, 20, "lstsq"), (79, 20, "lstsq"), (80, 20, "cho_factor"), (400, 100, "cho_factor"), (50000, 7, "cho_factor")],
)
@pytest.mark.parametrize("inside", [True, False])
def test_the_coordinates_in_a_subspace_are_those_of_least_squares(rows, columns, way, inside, monkeypatch):
    basis, away, at = (
        jax.random.normal(jax.random.key(seed), shape)
        for seed, shape in enumerate([(rows, columns), (rows,), (columns,)])
    )
    x = basis @ at if inside else away
    expected = np.linalg.lstsq(np.asarray(basis, np.float64), np.asarray(x, np.float64))[0]
    used = []
    for module, name in ((jnp.linalg, "lstsq"), (jax.scipy.linalg, "cho_factor")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, name=name: used.append(name) or real(*a))
    found = sharpness._coordinates(basis, x)
    assert used == [way]
    # A square Gaussian matrix is badly conditioned.
    tolerance = 1e-5 if rows > columns else 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@cache
def _relu_network():
    rng = np.random.default_rng(0)
    batch = Batch(jnp.asarray(rng.normal(size=(60, 5)), jnp.float32), jnp.asarray(rng.integers(0, 3, 60)))
    apply, params, state = models.build(input_size=5, output_size=3, hidden_sizes=(8,), key=jax.random.key(0))
    loss_fn = losses.objective(apply, losses.cross_entropy, state)
    tx = optax.adam(0.02)

    @jax.jit
    def train(params):
        def step(carry, _):
            params, opt_state = carry
            updates, opt_state = tx.update(jax.grad(loss_fn)(params, batch), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=500)[0][0]

    return loss_fn, train(params), batch


def test_rescaling_a_relu_layer_moves_keskars_measure_and_not_the_relative_one():
    loss_fn, params, batch = _relu_network()
    rescaled = {
        "linear_0": jax.tree.map(lambda w: 10 * w, params["linear_0"]),
        "linear_1": {"kernel": params["linear_1"]["kernel"] / 10, "bias": params["linear_1"]["bias"]},
    }
    np.testing.assert_allclose(loss_fn(params, batch), loss_fn(rescaled, batch), rtol=1e-5)
    key = jax.random.key(0)
    keskar = [curvature.keskar_sharpness(loss_fn, p, 1e-3, batches=[batch], key=key).value for p in (params, rescaled)]
    assert keskar[1] > 1.5 * keskar[0] or keskar[0] > 1.5 * keskar[1], keskar
    relative = [
        curvature.relative_sharpness(curvature.hessian(loss_fn, p, [batch]), p, key=key, tol=1e-5)
        for p in (params, rescaled)
    ]
    assert all(r.converged.all() for r in relative)
    np.testing.assert_allclose(relative[0].values, relative[1].values, rtol=1e-3)
    dense = np.asarray(curvature.dense(curvature.hessian(loss_fn, params, [batch])))
    sizes = np.abs(jax.flatten_util.ravel_pytree(params)[0])
    expected = np.linalg.eigvalsh(sizes[:, None] * dense * sizes[None])[-1]
    np.testing.assert_allclose(relative[0].values[0], expected, rtol=1e-3)


def test_the_surface_of_the_lectures_saddle():
    surface = curvature.error_surface(
        lambda w: (1 - w[0] * w[1]) ** 2,
        jnp.zeros(2),
        (jnp.array([1.0, 1.0]), jnp.array([1.0, -1.0])),
        radius=0.5,
        points=11,
    )
    a, b = np.meshgrid(surface.first, surface.second)
    np.testing.assert_allclose(surface.losses, (1 - (a**2 - b**2)) ** 2, atol=1e-6)
    middle = surface.losses[5, 5]
    assert surface.losses[5, -1] < middle < surface.losses[-1, 5]


def test_the_surface_over_batches_is_that_of_all_examples():
    loss_fn, params, batch = _relu_network()
    directions = tuple(curvature.filter_normalized_direction(params, jax.random.key(i)) for i in range(2))
    parts = [jax.tree.map(lambda x: x[:45], batch), jax.tree.map(lambda x: x[45:], batch)]
    split = curvature.error_surface(loss_fn, params, directions, batches=parts, points=5)
    whole = curvature.error_surface(loss_fn, params, directions, batches=[batch], points=5)
    np.testing.assert_allclose(split.losses, whole.losses, rtol=1e-5)
    np.testing.assert_allclose(whole.losses[2, 2], loss_fn(params, batch), rtol=1e-6)


def test_filters_have_the_norms_of_the_network():
    params = jax.tree.map(jnp.asarray, _relu_network()[1])
    params["linear_0"]["kernel"] = params["linear_0"]["kernel"].at[:, 2].set(0)
    direction = curvature.filter_normalized_direction(params, jax.random.key(0))
    for layer, own in params.items():
        np.testing.assert_allclose(
            jnp.linalg.norm(direction[layer]["kernel"], axis=0), jnp.linalg.norm(own["kernel"], axis=0), rtol=1e-5
        )
        np.testing.assert_allclose(jnp.linalg.norm(direction[layer]["bias"]), jnp.linalg.norm(own["bias"]), rtol=1e-5)
    assert not direction["linear_0"]["kernel"][:, 2].any()


WRONG = [
    (lambda: curvature.keskar_sharpness(_bowl, jnp.ones(3), 0.0, key=jax.random.key(0)), "epsilon is 0.0"),
    (lambda: curvature.keskar_sharpness(_bowl, jnp.ones(3), subspace=4, key=jax.random.key(0)), "subspace is 4"),
    (lambda: curvature.keskar_sharpness(_bowl, jnp.ones(3), iterations=0, key=jax.random.key(0)), "iterations is 0"),
    (
        lambda: curvature.keskar_sharpness(lambda w: jnp.log(-jnp.sum(w)), jnp.ones(3), key=jax.random.key(0)),
        "the loss is not finite",
    ),
    (lambda: curvature.error_surface(_bowl, jnp.ones(3), (jnp.ones(2), jnp.ones(3))), "directions[0] has shape (2,)"),
    (lambda: curvature.error_surface(_bowl, jnp.ones(3), (jnp.ones(3),)), "directions has 1 members; allowed: 2"),
    (lambda: curvature.error_surface(lambda w: w, jnp.ones(3), (jnp.ones(3),) * 2), "an array of shape (3,)"),
    (lambda: curvature.keskar_sharpness(lambda w: w, jnp.ones(3), key=jax.random.key(0)), "an array of shape (3,)"),
    (
        lambda: curvature.keskar_sharpness(lambda w: jnp.sum(w) - 9, jnp.ones(3), key=jax.random.key(0)),
        "the loss is -6 at params; allowed: above -1",
    ),
    (
        lambda: curvature.keskar_sharpness(lambda w: jnp.sum(w) - 4, jnp.ones(3), key=jax.random.key(0)),
        "the loss is -1 at params; allowed: above -1",
    ),
    (lambda: curvature.error_surface(_bowl, jnp.ones(3), (jnp.ones(3),) * 2, points=1), "points is 1"),
    (lambda: curvature.error_surface(_bowl, jnp.ones(3), (jnp.ones(3),) * 2, radius=-1), "radius is -1"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_input_is_named(make, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        make()
    assert message in str(raised.value)


@cache
def _normalized_network():
    rng = np.random.default_rng(1)
    batch = Batch(jnp.asarray(rng.normal(size=(40, 5))), jnp.asarray(rng.integers(0, 3, 40)))
    apply, params, state = models.build(
        input_size=5,
        output_size=3,
        hidden_sizes=(6,),
        activation="tanh",
        batch_norm=True,
        dropout=0.5,
        key=jax.random.key(0),
    )
    return apply, *jax.tree.map(lambda x: x.astype(jnp.float64), (params, state)), batch


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({}, "running statistics, no dropout"),
        ({"batch_statistics": True}, "batch statistics, no dropout"),
        ({"dropout_key": jax.random.key(7)}, "running statistics, a fixed dropout mask"),
    ],
)
def test_modes_of_normalization_and_dropout_are_kept_and_are_what_they_say(options, mode):
    with jax.enable_x64(True):
        apply, params, state, batch = _normalized_network()
        loss_fn = losses.objective(apply, losses.cross_entropy, state, **options)
        result = curvature.classify(loss_fn, params, [batch], key=jax.random.key(0))
        assert result.mode == mode
        matrix = curvature.dense(curvature.hessian(loss_fn, params, [batch]))
        flat, unravel = jax.flatten_util.ravel_pytree(params)

        # By hand from the weights, so that the modes cannot be mixed up.
        def by_hand(flat):
            p = unravel(flat)
            z = batch.features @ p["linear_0"]["kernel"]
            norm, moments = p["norm_0"], state["norm_0"]
            batch_wise = options.get("batch_statistics", False)
            mean = z.mean(axis=0) if batch_wise else moments["mean"]
            variance = z.var(axis=0) if batch_wise else moments["var"]
            z = (z - mean[None]) / jnp.sqrt(variance + 1e-5)[None] * norm["scale"][None] + norm["bias"][None]
            hidden = jnp.tanh(z)
            if "dropout_key" in options:
                hidden = noise.drop(hidden, 0.5, jax.random.fold_in(options["dropout_key"], 0))
            outputs = hidden @ p["linear_1"]["kernel"] + p["linear_1"]["bias"][None]
            return optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets).mean()

        np.testing.assert_allclose(matrix, jax.jit(jax.hessian(by_hand))(flat), atol=1e-9)
