"""Products against Hessians in closed form, dense ones in float64, finite differences; batches, masks, devices."""

import itertools
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.experimental import io_callback
from jax.flatten_util import ravel_pytree

from conftest import QUICKLY_COMPILED, run_python
from tricks import curvature, models

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(37, 5)), RNG.normal(size=37)
LABELS = RNG.integers(0, 3, 37)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _softmax(outputs):
    powers = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def linear(w, batch):
    x, z = batch
    return jnp.mean((x @ w - z) ** 2)


def logistic(w, batch):
    x, z = batch
    return jnp.mean(jax.nn.softplus(x @ w) - (z > 0) * (x @ w))


def softmax(w, batch):
    x, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(x @ w, labels).mean()


def network(params, batch):
    x, labels = batch
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"][None])
    outputs = x @ params[-1]["kernel"] + params[-1]["bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def _network_params(seed=1, sizes=(5, 4, 3)):
    rng = np.random.default_rng(seed)
    return [
        {"kernel": jnp.asarray(rng.normal(size=(m, n))), "bias": jnp.asarray(rng.normal(size=n))}
        for m, n in itertools.pairwise(sizes)
    ]


def _batches(*sizes):
    ends = np.cumsum(sizes)
    return [(jnp.asarray(X[e - s : e]), jnp.asarray(LABELS[e - s : e])) for s, e in zip(sizes, ends, strict=True)]


def test_linear_regression():
    h = curvature.dense(curvature.hessian(linear, jnp.ones(5), [(jnp.asarray(X), jnp.asarray(Z))]))
    np.testing.assert_allclose(h, 2 * X.T @ X / len(X), rtol=1e-12, atol=1e-14)


def test_logistic_regression():
    w = RNG.normal(size=5)
    p = 1 / (1 + np.exp(-X @ w))
    h = curvature.dense(curvature.hessian(logistic, jnp.asarray(w), [(jnp.asarray(X), jnp.asarray(Z))]))
    np.testing.assert_allclose(h, (X.T * (p * (1 - p))) @ X / len(X), rtol=1e-12, atol=1e-14)


def test_softmax_regression():
    w = RNG.normal(size=(5, 3))
    p = _softmax(X @ w)
    expected = sum(np.kron(np.outer(x, x), np.diag(q) - np.outer(q, q)) for x, q in zip(X, p, strict=True)) / len(X)
    h = curvature.dense(curvature.hessian(softmax, jnp.asarray(w), _batches(37)))
    np.testing.assert_allclose(h, expected, rtol=1e-12, atol=1e-14)


def test_the_lectures_example():
    operator = curvature.hessian(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))
    assert float(operator.loss) == 1
    assert operator.gradient.tolist() == [0, 0]
    assert curvature.dense(operator).tolist() == [[0, -2], [-2, 0]]
    assert operator(jnp.array([1.0, 1.0])).tolist() == [-2, -2]


def _of_flat(flat):
    return network(ravel_pytree(_network_params())[1](flat), _batches(37)[0])


# At the top, so that they are compiled for once.
gradient, whole_hessian = jax.jit(jax.grad(_of_flat)), jax.jit(jax.hessian(_of_flat))


@pytest.mark.parametrize("seed", range(3))
def test_a_network_against_the_dense_hessian_and_finite_differences(seed):
    params, batch = _network_params(seed), _batches(37)[0]
    operator = curvature.hessian(network, params, [batch])
    flat, unravel = ravel_pytree(params)
    np.testing.assert_allclose(curvature.dense(operator), whole_hessian(flat), rtol=1e-10, atol=1e-14)
    v = unravel(jnp.asarray(np.random.default_rng(seed).normal(size=flat.shape)))
    product = ravel_pytree(operator(v))[0]
    np.testing.assert_allclose(ravel_pytree(curvature.hvp(lambda p: network(p, batch), params, v))[0], product)
    step = 1e-5 * ravel_pytree(v)[0]
    difference = (gradient(flat + step) - gradient(flat - step)) / 2e-5
    np.testing.assert_allclose(product, difference, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(operator.loss, network(params, batch), rtol=1e-12)
    np.testing.assert_allclose(ravel_pytree(operator.gradient)[0], gradient(flat), rtol=1e-12)


@pytest.mark.parametrize("sizes", [(37,), (10, 10, 10, 7), (36, 1), (1,) * 37, (12, 5, 12, 8)])
def test_batches_count_by_their_examples(sizes):
    w = jnp.asarray(RNG.normal(size=(5, 3)))
    whole, parts = (curvature.hessian(softmax, w, _batches(*s)) for s in ((37,), sizes))
    np.testing.assert_allclose(curvature.dense(parts), curvature.dense(whole), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-13)


def test_recomputing_gives_the_same_products_and_keeps_nothing():
    params, batches = _network_params(), _batches(30, 7)
    kept, recomputed = (curvature.hessian(network, params, batches, recompute=recompute) for recompute in (False, True))
    np.testing.assert_allclose(curvature.dense(kept), curvature.dense(recomputed), rtol=1e-12, atol=1e-14)
    held = [sum(leaf.size for leaf in jax.tree.leaves(operator.apply)) for operator in (kept, recomputed)]
    data = sum(leaf.size for leaf in jax.tree.leaves((batches, params)))
    assert held[1] < data + 37 < held[0]  # Less than a number an example.


def test_gauss_newton_is_the_hessian_without_the_curvature_of_the_model():
    params, batches = _network_params(), _batches(10, 10, 10, 7)

    def outputs(params, batch):
        x = jnp.tanh(batch[0] @ params[0]["kernel"] + params[0]["bias"][None])
        return x @ params[1]["kernel"] + params[1]["bias"][None]

    def loss(z, batch):
        return optax.softmax_cross_entropy_with_integer_labels(z, batch[1]).mean()

    operator = curvature.gauss_newton(outputs, loss, params, batches)
    flat, unravel = ravel_pytree(params)
    jacobian = np.asarray(jax.jit(jax.jacobian(lambda f: outputs(unravel(f), (jnp.asarray(X),))))(flat))
    p = _softmax(np.asarray(outputs(params, (jnp.asarray(X),))))
    blocks = np.stack([np.diag(q) - np.outer(q, q) for q in p])
    expected = np.einsum("nkp,nkl,nlq->pq", jacobian, blocks, jacobian) / len(X)
    np.testing.assert_allclose(curvature.dense(operator), expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(operator.loss, network(params, _batches(37)[0]), rtol=1e-13)


def test_a_mask_restricts_to_a_layer():
    params, batches = _network_params(), _batches(30, 7)
    whole = np.asarray(curvature.dense(curvature.hessian(network, params, batches)))
    operator = curvature.hessian(network, params, batches, mask=[True, False])
    assert operator.size == 5 * 4 + 4
    np.testing.assert_allclose(curvature.dense(operator), whole[:24, :24], rtol=1e-12, atol=1e-15)
    kernels = curvature.hessian(network, params, batches, mask=[{"kernel": True, "bias": False}] * 2)
    assert [v["bias"] for v in kernels.like] == [None, None]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_second_operator_of_one_loss_is_not_compiled_for_again(batch_norm):
    apply, params, state = models.build(
        input_size=5, output_size=3, hidden_sizes=(4,), batch_norm=batch_norm, key=jax.random.key(0)
    )

    def loss(params, batch):
        outputs, _ = apply(params, state, batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(outputs, batch[1]).mean()

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    for scale in (1.0, 2.0):
        scaled = jax.tree.map(partial(jnp.multiply, scale), params)
        before = len(compiled)
        operator = curvature.hessian(loss, scaled, _batches(30, 7))
        found = curvature.eigenpairs(operator, key=jax.random.key(0))
        jax.block_until_ready((operator(operator.gradient), found))
    assert len(compiled) == before


@jax.custom_vjp
def _within(x):
    return 2 * x


# A gradient by another function with a gradient of its own, which has no forward derivative.
_within.defvjp(lambda x: (_within(x), None), lambda _, g: (_within(g),))


def _train_mode(copy, use=curvature.hessian):
    """A network of Flax NNX whose batch normalization counts while it is trained."""
    with jax.enable_x64(False):
        graph, params, state = nnx.split(nnx.BatchNorm(5, rngs=nnx.Rngs(0)), nnx.Param, ...)

        def loss_fn(p, batch):
            return jnp.mean(nnx.merge(graph, p, state, copy=copy)(batch[0]) ** 2)

        return use(loss_fn, params, [(jnp.asarray(X, jnp.float32),)])


def test_a_module_that_counts_is_taken_by_its_copy():
    assert np.isfinite(_train_mode(copy=True).loss)


def _hvp(loss_fn, params, batches):
    return curvature.hvp(loss_fn, params, params, batches)


def _surface(loss_fn, params, batches):
    return curvature.error_surface(loss_fn, params, (params, params), batches=batches)


def _closes_over(ref):
    return curvature.hessian(lambda w: jnp.sum(ref[...] * w**2), jnp.ones(3))


def _printing(w):
    io_callback(lambda loss: None, None, jnp.sum(w))
    return jnp.sum(w**2)


WRONG = [
    (lambda: curvature.hessian(linear, jnp.arange(3)), "params is int"),
    (lambda: curvature.hessian(linear, {}), "params has no leaves"),
    (
        lambda: curvature.hessian(lambda w: w**2, jnp.ones(3)),
        "an array of shape (3,); allowed: a scalar",
    ),
    (lambda: curvature.hessian(lambda w: (jnp.sum(w), w), jnp.ones(3)), "loss_fn returns a tuple"),
    (lambda: curvature.hessian(lambda w: jnp.sum(w > 0), jnp.ones(3)), "loss_fn returns int"),
    (lambda: curvature.hessian(linear, [jnp.ones((0, 3))]), "params has no entries"),
    (lambda: curvature.hessian(linear, jnp.ones(5), X), "batches is an array of shape (37, 5)"),
    (lambda: curvature.hessian(linear, jnp.ones(5), []), "batches is empty"),
    (lambda: curvature.hessian(linear, jnp.ones(5), [(X, Z[:3])]), "batches[0] has leaves of shapes [(37, 5), (3,)]"),
    (lambda: curvature.hessian(linear, jnp.ones(5), [(X[:0], Z[:0])]), "batches[0] has no examples"),
    (lambda: curvature.hessian(lambda w: jnp.log(w[0] - 1), jnp.ones(1)), "the loss is not finite"),
    (
        lambda: curvature.hessian(lambda w: jnp.sum(jnp.sqrt(w["a"])), {"a": jnp.zeros(2)}),
        "gradient is not finite at ['a']",
    ),
    (lambda: curvature.hessian(lambda w: w["a"], {"a": jnp.ones(())}, mask={"b": True}), "mask has the structure"),
    (lambda: curvature.hessian(lambda w: w["a"], {"a": jnp.ones(())}, mask={"a": False}), "mask chooses no parameters"),
    (lambda: curvature.hessian(linear, jnp.ones(5), (X, Z)), "look like the parts of one batch; allowed: a list"),
    (lambda: curvature.hessian(linear, jnp.ones(5), {"x": X, "y": Z}), "batches is a dict; allowed: a list of batches"),
    (lambda: curvature.hessian(linear, jnp.ones(5), [X, Z]), "look like the parts of one batch; allowed: a list"),
    (lambda: curvature.hvp(linear, jnp.ones(5), jnp.ones(5), (X, Z)), "look like the parts of one batch"),
    (lambda: curvature.hessian(lambda w: w["a"], {"a": 1.0, "f": jnp.tanh}), "params['f'] is a PjitFunction"),
    (
        lambda: curvature.hessian(lambda m: 1.0, eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0))),
        "eqx.partition(model, eqx.is_inexact_array)",
    ),
    (lambda: curvature.trace(curvature.hessian(jnp.sum, jnp.ones(3)), key=0), "key is 0; allowed: one key"),
    (lambda: curvature.spectral_density(curvature.hessian(jnp.sum, jnp.ones(3)), key=0), "key is 0; allowed: one key"),
    (lambda: curvature.eigenpairs(curvature.hessian(jnp.sum, jnp.ones(3)), key=0), "key is 0; allowed: one key"),
    (lambda: curvature.classify(jnp.sum, jnp.ones(3), key=None), "key is None; allowed: one key"),
    (lambda: curvature.escape(jnp.sum, jnp.ones(3), key=jnp.ones(2)), "allowed: one key"),
    (lambda: curvature.keskar_sharpness(jnp.sum, jnp.ones(3), key=jax.random.split(jax.random.key(0))), "one key"),
    (lambda: curvature.filter_normalized_direction(jnp.ones(3), 7), "key is 7; allowed: one key"),
    (
        lambda: curvature.gauss_newton(lambda w: jnp.int32(w), lambda z: jnp.sum(z) * 1.0, jnp.ones(3)),
        "model_fn returns int32; allowed: floating-point outputs",
    ),
    (lambda: curvature.hessian(lambda w: jnp.sum(_within(w) ** 2), jnp.ones(3)), "give it by jax.custom_jvp"),
    (lambda: curvature.escape(lambda w: jnp.sum(_within(w) ** 2), jnp.ones(3), key=jax.random.key(0)), "custom_jvp"),
    (lambda: _train_mode(copy=False), "nnx.merge(..., copy=True)"),
    (lambda: _train_mode(copy=False, use=_hvp), "nnx.merge(..., copy=True)"),
    (lambda: _train_mode(copy=False, use=_surface), "nnx.merge(..., copy=True)"),
    (lambda: curvature.hessian(lambda w: None, jnp.ones(3)), "loss_fn returns a NoneType; allowed: a scalar"),
    (lambda: _closes_over(jax.new_ref(jnp.ones(3))), "closes over a Ref; allowed: arrays and numbers"),
    (lambda: curvature.hessian(_printing, jnp.ones(3)), "put jax.lax.stop_gradient around them"),
    (lambda: curvature.hvp(lambda w: jnp.sum(w), jnp.ones(3), jnp.ones(2)), "vector has shape (2,); allowed: (3,)"),
    (lambda: curvature.hessian(lambda w: jnp.sum(w), jnp.ones(3))(jnp.ones(2)), "vector has shape (2,); allowed: (3,)"),
    (lambda: curvature.hessian(lambda w: jnp.sum(w), jnp.ones(3))({"a": 1.0}), "vector has the structure"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_input_is_named(make, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        make()
    assert message in str(raised.value)


_SHARDED = """
import jax, jax.numpy as jnp, numpy as np, sys
sys.path.insert(0, "tests")
from jax.sharding import NamedSharding, PartitionSpec as P
from tricks import curvature
import test_curvature_products as t
mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
for x64, tolerance in ((False, 1e-6), (True, 1e-12)):
    with jax.enable_x64(x64):
        rng = np.random.default_rng(0)
        kind = np.float64 if x64 else np.float32
        params = [{"kernel": jnp.asarray(rng.normal(size=s).astype(kind)), "bias": jnp.zeros(s[1], kind)}
                  for s in ((5, 16), (16, 3))]
        data = [(rng.normal(size=(n, 5)).astype(kind), rng.integers(0, 3, n)) for n in (64, 64, 16)]
        one = curvature.hessian(t.network, params, [jax.tree.map(jnp.asarray, b) for b in data])
        rows = NamedSharding(mesh, P("data"))
        placed = [jax.device_put(b, rows) for b in data]
        replicated = jax.device_put(params, NamedSharding(mesh, P()))
        many = curvature.hessian(t.network, replicated, placed)
        split = jax.device_put(params, [
            {"kernel": NamedSharding(mesh, P(None, "data")), "bias": rows},
            {"kernel": NamedSharding(mesh, P("data")), "bias": NamedSharding(mesh, P())}])
        vectors = curvature.hessian(t.network, split, [jax.device_put(b, NamedSharding(mesh, P())) for b in data])
        v = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=kind)).reshape(p.shape), params)
        flat = lambda tree: np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(tree)])
        expected = flat(one(v))
        for operator, like in ((many, replicated), (vectors, split)):
            found = flat(operator(jax.tree.map(lambda x, p: jax.device_put(x, p.sharding), v, like)))
            assert abs(found - expected).max() <= tolerance * abs(expected).max(), (x64, abs(found - expected).max())
        if not x64:
            ends = np.linalg.eigvalsh(np.asarray(curvature.dense(one), np.float64))[[0, -1]]
            b = curvature.eigenpairs(vectors, which="both", key=jax.random.key(0), tol=1e-4)
            assert b.converged.all()
            assert abs(ends - np.asarray(b.values)).max() <= 10 * tolerance * abs(ends).max()
            # A small basis, so that it is restarted with its vectors divided.
            c = curvature.eigenpairs(many, which="both", key=jax.random.key(0), tol=1e-4, basis_size=10, sharding=rows)
            assert c.converged.all()
            assert abs(ends - np.asarray(c.values)).max() <= 20 * tolerance * abs(ends).max()
from tricks.curvature.lanczos import lanczos
wide = curvature.hessian(lambda w: jnp.sum(w**3), jax.device_put(jnp.ones(80_000), NamedSharding(mesh, P())))
search = lanczos.lower(wide.apply, wide.like, jax.random.key(0), 1e-3, k=1, which="smallest", basis_size=40,
                       max_products=100, sharding=rows)
vectors = search.compile().memory_analysis().temp_size_in_bytes / 80_000 / 4
assert 40 / 8 <= vectors < 40 / 8 + 8, vectors
print("done")
"""


def test_one_device_and_eight_give_the_same_products():
    done = run_python("-c", _SHARDED, XLA_FLAGS=f"{QUICKLY_COMPILED} --xla_force_host_platform_device_count=8")
    assert done.status == 0, done.error[-2000:]
    assert done.output == "done\n"
