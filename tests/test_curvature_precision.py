"""Half precision, in the parameters or inside: verdicts that hold, what is measured of rounding, what is refused."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_curvature_verdicts as planted
from jax.flatten_util import ravel_pytree

from tricks import curvature
from tricks.curvature import jaxprs
from tricks.curvature.rounding import precision_of

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(7), (30, 4))
BATCH = X, jnp.sin(X.sum(1))
P0 = {
    "w": 0.5 * jax.random.normal(jax.random.key(1), (4, 5)),
    "v": 0.5 * jax.random.normal(jax.random.key(2), (5,)),
}


def mlp(p, batch):
    return jnp.mean((jnp.tanh(batch[0] @ p["w"]) @ p["v"] - batch[1]) ** 2)


def half_inside(p, batch):
    x, p = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (batch[0], p))
    return jnp.mean(((jnp.tanh(x @ p["w"]) @ p["v"]).astype(jnp.float32) - batch[1]) ** 2)


def half_quadratic(point, batch):
    matrix, center = batch
    away = (point - center[0]).astype(jnp.bfloat16)
    return (away @ (matrix[0].astype(jnp.bfloat16) @ away)).astype(jnp.float32) / 2


@pytest.mark.parametrize("dense_up_to", [1024, 0])
@pytest.mark.parametrize("kind", ["parameters", "inside"])
def test_no_verdict_on_a_planted_point_is_wrong_in_half_precision(kind, dense_up_to):
    cases, rng = 140, np.random.default_rng(dense_up_to)
    found, wrong = Counter(), []
    for case in range(cases):
        name = planted.KINDS[case % len(planted.KINDS)]
        matrix, center, point, values = planted._planted(name, 24, rng)
        # What the parameters can be: the critical point itself.
        center, point = (np.asarray(jnp.asarray(part, jnp.bfloat16), np.float32) for part in (center, point))
        if name != "not critical":
            point = center
        batch = jnp.asarray(matrix[None], np.float32), jnp.asarray(center[None])
        result = curvature.classify(
            half_quadratic if kind == "inside" else planted.quadratic,
            jnp.asarray(point, jnp.bfloat16 if kind == "parameters" else np.float32),
            [batch],
            key=jax.random.key(case),
            dense_up_to=dense_up_to,
        )
        found[result.verdict == "undecided"] += 1
        if result.verdict not in (planted.TRUTH.get(name, name), "undecided"):
            wrong.append((name, result.verdict, result.reason, np.sort(values)))
    assert not wrong, wrong[:3]
    # Half precision tells little, but something; narrow parameters nearly as much as wide ones.
    assert found[False] >= (0.3 if kind == "inside" else 0.7) * cases, found


def test_narrow_parameters_are_judged_as_wide_ones():
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), P0)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), narrow)
    one, other = (curvature.classify(mlp, p, [BATCH], key=KEY) for p in (narrow, wide))
    assert other.negative.value > 0
    assert one.verdict == other.verdict == "not critical"
    np.testing.assert_allclose(
        (one.smallest, one.largest, one.negative.value),
        (other.smallest, other.largest, other.negative.value),
        rtol=1e-5,
    )
    operator = curvature.hessian(mlp, narrow, [BATCH])
    product = operator(jax.tree.map(jnp.ones_like, narrow))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(product)} == {"float32"}
    alone = curvature.hvp(mlp, narrow, jax.tree.map(jnp.ones_like, narrow), [BATCH])
    np.testing.assert_allclose(ravel_pytree(alone)[0], ravel_pytree(product)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("reduced", "epsilon"),
    [
        (lambda a: jax.lax.reduce_precision(a, 8, 10), 2**-10),
        (lambda a: jnp.dot(a, a, precision=jax.lax.DotAlgorithmPreset.TF32_TF32_F32), 2**-10),
        (lambda a: jnp.dot(a, a, precision=jax.lax.DotAlgorithmPreset.BF16_BF16_F32), 2**-7),
        (lambda a: jnp.dot(a, a, precision=jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X3), 2**-15),
        (lambda a: jnp.dot(a, a, precision=jax.lax.DotAlgorithmPreset.F32_F32_F32), 2**-23),
        (lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST), 2**-23),
    ],
)
def test_numbers_that_hold_less_than_their_type_are_coarse(reduced, epsilon):
    traced = jax.make_jaxpr(lambda w: jnp.sum(reduced(w) ** 2))(jnp.ones((3, 3)))
    assert jaxprs.coarsest(traced) == epsilon


@pytest.mark.parametrize(
    ("device", "default", "high"), [("cpu", 2**-23, 2**-23), ("gpu", 2**-10, 2**-10), ("tpu", 2**-7, 2**-15)]
)
def test_products_of_matrices_keep_what_the_device_makes_of_them(monkeypatch, device, default, high):
    asked = ((jax.lax.Precision.DEFAULT, default), (jax.lax.DotAlgorithmPreset.DEFAULT, default))
    for precision, epsilon in (*asked, (jax.lax.Precision.HIGH, high)):
        traced = jax.make_jaxpr(lambda w, precision=precision: jnp.dot(w, w, precision=precision))(jnp.ones((3, 3)))
        monkeypatch.setattr(jax, "default_backend", lambda: device)
        assert jaxprs.coarsest(traced) == epsilon
        monkeypatch.undo()


@pytest.mark.parametrize("seed", range(3))
def test_a_flat_direction_that_reduced_precision_bends_is_no_saddle(seed):
    """TensorFloat-32 by hand: 24 parameters, with five eigenvalues of 0."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(24, 24)))
    q, values = jnp.float32(q), jnp.float32(np.r_[np.zeros(5), rng.uniform(0.1, 1, 19)])

    def loss_fn(w):
        narrow, matrix = (jax.lax.reduce_precision(a, 8, 10) for a in (w, q))
        return jnp.sum(values * (narrow @ matrix) ** 2) / 2

    for dense_up_to in (0, 1024):
        found = curvature.classify(loss_fn, jnp.zeros(24), key=jax.random.key(seed), dense_up_to=dense_up_to)
        assert found.verdict in ("undecided", "degenerate"), found.reason


def test_half_precision_inside_is_taken_and_told():
    operator, exact = (curvature.hessian(loss_fn, P0, [BATCH]) for loss_fn in (half_inside, mlp))
    assert precision_of(operator) == 2**-7
    assert precision_of(exact) == float(jnp.finfo(np.float32).eps)
    found, truth = (curvature.eigenpairs(each, which="largest", key=KEY, tol=1e-5) for each in (operator, exact))
    assert found.residuals[0] > 1e-4 * found.values[0] > truth.residuals[0]
    np.testing.assert_allclose(found.values, truth.values, atol=float(found.residuals[0]) + 2**-5 * truth.values[0])
    curvature.trace(operator, key=KEY)
    point = curvature.classify(half_inside, P0, [BATCH], key=KEY, gradient_tolerance=10.0)
    assert point.tolerance >= 2**-5 * max(abs(point.smallest), abs(point.largest))


def test_products_of_one_vector_agree_however_they_are_asked_for():
    batches = [(X[:20], BATCH[1][:20]), (X[20:], BATCH[1][20:])]
    v = jax.tree.map(jnp.ones_like, P0)
    whole, parts = curvature.hvp(lambda p: mlp(p, BATCH), P0, v), curvature.hvp(mlp, P0, v, batches)
    np.testing.assert_allclose(ravel_pytree(parts)[0], ravel_pytree(whole)[0], rtol=1e-4, atol=1e-6)


@jax.custom_vjp
def reversed_gradient(x):
    return x


reversed_gradient.defvjp(lambda x: (x, None), lambda _, g: (-g,))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "use",
    [
        lambda operator, _: curvature.trace(operator, key=KEY),
        lambda operator, _: curvature.spectral_density(operator, key=KEY),
        lambda operator, _: curvature.eigenpairs(operator, key=KEY),
        lambda _, loss_fn: curvature.escape(loss_fn, P0, [BATCH], key=KEY),
        lambda _, loss_fn: curvature.classify(loss_fn, P0, [BATCH], key=KEY, dense_up_to=0, spectrum=True),
        lambda _, loss_fn: curvature.classify(loss_fn, P0, [BATCH], key=KEY),
    ],
    ids=["trace", "density", "eigenpairs", "escape", "search", "dense"],
)
def test_what_is_no_derivative_is_refused(use, dtype):
    def loss_fn(p, batch):
        x, p = jax.tree.map(lambda leaf: leaf.astype(dtype), (batch[0], p))
        outputs = jnp.tanh(reversed_gradient(x @ p["w"])) @ p["v"]
        return jnp.mean((outputs.astype(jnp.float32) - batch[1]) ** 2)

    with pytest.raises(ValueError, match="not symmetric"):
        use(curvature.hessian(loss_fn, P0, [BATCH]), loss_fn)


@pytest.mark.parametrize(
    "use",
    [
        curvature.hessian,
        lambda loss_fn, w: curvature.escape(loss_fn, w, key=KEY),
        lambda loss_fn, w: curvature.keskar_sharpness(loss_fn, w, key=KEY),
    ],
    ids=["hessian", "escape", "keskar_sharpness"],
)
def test_a_loss_that_asks_python_for_random_numbers_is_refused(use):
    rng = np.random.default_rng(0)

    def loss_fn(w):
        drawn = jax.pure_callback(
            lambda _: np.float32(rng.random()), jax.ShapeDtypeStruct((), jnp.float32), jax.lax.stop_gradient(w)
        )
        return drawn * jnp.sum(w**2)

    with pytest.raises(ValueError, match="the loss is not deterministic: it calls Python"):
        use(loss_fn, jnp.ones(3))
    same = curvature.hessian(
        lambda w: (
            jnp.sum(w**2)
            * jax.pure_callback(
                lambda _: np.float32(2), jax.ShapeDtypeStruct((), jnp.float32), jax.lax.stop_gradient(w)
            )
        ),
        jnp.ones(3),
    )
    assert same(jnp.ones(3)).tolist() == [4, 4, 4]


def test_of_many_keys_none_overlooks_what_is_no_derivative():
    def loss_fn(p, batch):
        return jnp.mean((jnp.tanh(reversed_gradient(batch[0] @ p["w"])) @ p["v"] - batch[1]) ** 2)

    operator = curvature.hessian(loss_fn, P0, [BATCH])
    for seed in range(60):
        with pytest.raises(ValueError, match="not symmetric"):
            curvature.trace(operator, key=jax.random.key(seed))
