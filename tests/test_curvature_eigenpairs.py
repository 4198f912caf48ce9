"""Ends of planted spectra: separated, clustered, repeated, rank-deficient, indefinite; operators that are refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks import curvature
from tricks.curvature import Operator
from tricks.curvature.lanczos import lanczos

RNG = np.random.default_rng(3)
# Most of one size, and all tests with the same k, so that they share what is compiled.
SPECTRA = {
    "both signs": [2.0, -2.0, 2.0],
    "three": [0.0, 0.0, 5.0],
    "separated": np.linspace(-1, 2, 200),
    "one negative": np.concatenate([np.linspace(0.1, 1, 199), [-1e-3]]),
    "tiny negative": np.concatenate([np.linspace(0, 1, 199), [-1e-5]]),
    "clustered": np.concatenate([-1e-3 + 1e-5 * RNG.normal(size=100), 1e-6 * RNG.normal(size=95), [1, 2, 3, 4, 5]]),
    "repeated": np.concatenate([[-1, -1, -1], np.zeros(195), [2, 2]]),
    "rank deficient": np.concatenate([np.zeros(198), [-0.5, 3]]),
    "identity": np.ones(200),
    "zero": np.zeros(200),
    "network-like": np.concatenate([1e-4 * RNG.normal(size=170), -0.1 * RNG.random(20), 10 * RNG.random(10)]),
}


def _apply(matrix, vector):
    return matrix @ vector


def _planted(values, dtype, seed=0):
    n = len(values)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    matrix = (q * np.asarray(values)) @ q.T
    return jnp.asarray((matrix + matrix.T) / 2, dtype)


def _operator(matrix):
    return Operator(jax.tree_util.Partial(_apply, matrix), matrix[0])


@pytest.mark.parametrize("which", ["smallest", "largest", "both"])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("name", SPECTRA)
def test_ends_of_planted_spectra(name, k, which):
    values = np.sort(SPECTRA[name])
    k = min(k, len(values) // 2)
    for dtype, tol in ((np.float32, 1e-4), (np.float64, 1e-5)):
        with jax.enable_x64(dtype == np.float64):
            matrix = _planted(values, dtype)
            for seed in range(2):
                found = curvature.eigenpairs(_operator(matrix), k, which, key=jax.random.key(seed), tol=tol)
                wanted = np.concatenate([values[:k]] * (which != "largest") + [values[-k:]] * (which != "smallest"))
                np.testing.assert_allclose(found.values, wanted, atol=tol * max(abs(values)) + 1e-12, rtol=0)
                _assert_true_pairs(found, matrix, values)


def _assert_true_pairs(found, matrix, values):
    """An eigenvalue within each residual, and residuals that are none too small."""
    assert found.converged.all(), found
    true = np.asarray(found.vectors, np.float64)
    exact = np.asarray(matrix, np.float64) @ true.T - true.T * np.asarray(found.values)
    assert (np.linalg.norm(exact, axis=0) <= 1.01 * np.asarray(found.residuals)).all()
    for value, residual in zip(found.values, found.residuals, strict=True):
        assert abs(values - float(value)).min() <= residual
    gram = true @ true.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5 if found.values.dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("name", ["repeated", "clustered", "identity"])
def test_two_of_an_eigenvalue_that_is_repeated_at_one_end(name):
    for seed in range(2):
        matrix = _planted(SPECTRA[name], np.float32, seed)
        found = curvature.eigenpairs(_operator(matrix), 2, "smallest", key=jax.random.key(seed))
        _assert_true_pairs(found, matrix, np.sort(SPECTRA[name])[:2])


def test_says_so_when_it_has_not_converged():
    matrix = _planted(np.linspace(-1, 1, 200), np.float32)
    found = curvature.eigenpairs(_operator(matrix), 4, "both", key=jax.random.key(0), tol=1e-6, max_products=20)
    assert not found.converged.any()
    assert int(found.products) == 20
    true = np.asarray(found.vectors, np.float64)
    exact = np.asarray(matrix, np.float64) @ true.T - true.T * np.asarray(found.values)
    np.testing.assert_allclose(np.linalg.norm(exact, axis=0), found.residuals, rtol=0.05, atol=1e-5)


@pytest.mark.parametrize("basis_size", [8, 12, 27])
def test_restarts_in_a_small_basis_find_the_same(basis_size):
    values = np.linspace(-1, 2, 200)
    with jax.enable_x64(True):
        found = curvature.eigenpairs(
            _operator(_planted(values, np.float64)),
            2,
            "smallest",
            key=jax.random.key(0),
            tol=1e-6,
            basis_size=basis_size,
            max_products=3000,
        )
    assert found.converged.all()
    np.testing.assert_allclose(found.values, values[:2], atol=2e-6)


@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.0])
def test_new_starts_beside_close_clusters_still_converge(spread):
    # Each new start finds another member; what the ones before left behind must not keep the search from its end.
    rng = np.random.default_rng(0)
    for seed in range(15):
        values = rng.normal(size=200) * 10.0 ** rng.uniform(-3, 0)
        values[:4] = -2 + spread * rng.normal(size=4)
        values[-3:] = rng.uniform(2, 4, 3)
        matrix = _planted(values, np.float32, seed)
        for which, wanted in (
            ("smallest", np.sort(values)[:4]),
            ("both", np.sort(values)[[0, 1, 2, 3, -4, -3, -2, -1]]),
        ):
            found = curvature.eigenpairs(_operator(matrix), 4, which, key=jax.random.key(seed))
            assert found.converged.all(), (seed, which, found)
            np.testing.assert_allclose(found.values, wanted, atol=4e-3)
            true = np.asarray(found.vectors, np.float64)
            exact = np.asarray(matrix, np.float64) @ true.T - true.T * np.asarray(found.values)
            assert (np.linalg.norm(exact, axis=0) <= 1.01 * np.asarray(found.residuals)).all()


@pytest.mark.parametrize("scale", [1e-33, 1e-24, 1e24, 1e33])
def test_operators_whose_squares_are_out_of_range(scale):
    values = np.linspace(-1, 2, 200)
    operator = _operator(_planted(values, np.float32) * np.float32(scale))
    found = curvature.eigenpairs(operator, which="both", key=jax.random.key(0))
    assert found.converged.all()
    np.testing.assert_allclose(np.asarray(found.values) / scale, [-1, 2], atol=2e-3)
    for kept in (True, False):
        density = curvature.spectral_density(operator, key=jax.random.key(0), probes=20, steps=40, reorthogonalize=kept)
        np.testing.assert_allclose(np.asarray([density.nodes.min(), density.nodes.max()]) / scale, [-1, 2], atol=0.02)


@pytest.mark.parametrize(("k", "which", "basis_size"), [(1, "smallest", 20), (5, "both", 50)])
def test_memory_is_the_basis_and_eight_vectors(k, which, basis_size):
    params = [jnp.ones((300, 300)), jnp.ones((300, 300))]
    operator = curvature.hessian(lambda p: jnp.sum(jnp.tanh(jnp.tanh(jnp.ones((2, 300)) @ p[0]) @ p[1])), params)
    options = {"k": k, "which": which, "basis_size": basis_size, "max_products": 100}
    search = lanczos.lower(operator.apply, operator.like, jax.random.key(0), 1e-3, **options).compile()
    memory = search.memory_analysis()
    vectors = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / (2 * 300 * 300 * 4)
    assert basis_size - 2 <= vectors <= basis_size + 8


def test_a_gradient_of_zero_is_no_obstacle_at_the_lectures_saddle():
    operator = curvature.hessian(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))
    found = curvature.eigenpairs(operator, which="both", key=jax.random.key(0))
    np.testing.assert_allclose(found.values, [-2, 2], rtol=1e-6)
    np.testing.assert_allclose(abs(found.vectors), 0.5**0.5, rtol=1e-5)
    _assert_true_pairs(found, curvature.dense(operator), np.array([-2.0, 2.0]))
    # The way out belongs to -2: both weights move the same way.
    assert found.vectors[0][0] * found.vectors[0][1] > 0


@pytest.mark.parametrize("seed", range(3))
def test_trace_lies_within_its_standard_error(seed):
    values = np.linspace(-1, 3, 100)
    estimate = curvature.trace(_operator(_planted(values, np.float32)), key=jax.random.key(seed), probes=100)
    assert 0 < estimate.stderr < 5
    assert abs(estimate.mean - values.sum()) < 4 * estimate.stderr


@pytest.mark.parametrize("name", ["separated", "rank deficient", "network-like"])
def test_density_covers_the_truth_in_95_percent_of_seeds(name):
    values = np.asarray(SPECTRA[name])
    operator = _operator(_planted(values, np.float32))
    middle = (values.min() + values.max()) / 2
    hits = {"mean": 0, "square": 0, "share": 0}
    seeds = 40
    for seed in range(seeds):
        density = curvature.spectral_density(operator, key=jax.random.key(seed), probes=20, steps=40)
        np.testing.assert_allclose(density.weights.sum(axis=1), 1, rtol=1e-5)
        for kind, estimate, truth in (
            ("mean", density.mean_of(density.nodes), values.mean()),
            ("square", density.mean_of(density.nodes**2), (values**2).mean()),
            ("share", density.share_between(middle, jnp.inf), (values > middle).mean()),
        ):
            hits[kind] += abs(estimate.mean - truth) <= 4 * estimate.stderr
    assert min(hits.values()) >= 0.95 * seeds, hits


def test_density_of_the_whole_space_is_exact_for_its_vector():
    values = np.array([-2.0, -1.0, 0.5, 3.0])
    matrix = np.diag(values)
    density = curvature.spectral_density(_operator(jnp.asarray(matrix, jnp.float32)), key=jax.random.key(0), steps=9)
    np.testing.assert_allclose(density.nodes, np.tile(values, (10, 1)), atol=1e-5)
    points = jnp.linspace(-20, 20, 4001)
    smoothed = density.smoothed(points, 0.5)
    assert float(jnp.sum(smoothed.mean) * 0.01) == pytest.approx(1, rel=1e-4)


@jax.custom_jvp
def _straight_through(w):
    return jnp.sum(w**4)


@_straight_through.defjvp
def _(primals, tangents):
    (w,), (t,) = primals, tangents
    return jnp.sum(w**4), jnp.sum(jnp.roll(w, 1) ** 3 * w * t)


_CALLS = itertools.count()
FAULTS = {
    "not symmetric": lambda v: jax.jvp(jax.grad(_straight_through), (jnp.arange(1.0, 6.0),), (v,))[1],
    "not deterministic": lambda v: jax.pure_callback(lambda v: v + np.float32(next(_CALLS)), v, v),
    r"a product is not finite at \['b'\]": lambda v: v.at[3].divide(0),
}


def _faulty(which, vector):
    # One function, so that it is compiled for once.
    flat, unravel = jax.flatten_util.ravel_pytree(vector)
    return unravel(jax.lax.switch(which, list(FAULTS.values()), flat))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_operator_is_refused(fault):
    which = jnp.int32(list(FAULTS).index(fault))
    operator = Operator(jax.tree_util.Partial(_faulty, which), {"a": jnp.ones(2), "b": jnp.ones(3)})
    with pytest.raises(ValueError, match=fault):
        curvature.eigenpairs(operator, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; allowed: an integer, 1 or more"),
        ({"k": 11}, "k is 11 with which 'smallest', and the operator has 10 eigenvalues"),
        ({"k": 6, "which": "both"}, "k is 6 with which 'both'"),
        ({"which": "biggest"}, "which is 'biggest'; allowed: smallest, largest, both"),
        ({"tol": 0.0}, "tol is 0.0; allowed: a number between 0 and 1"),
        ({"max_products": 0}, "max_products is 0"),
        ({"sharding": jax.sharding.PartitionSpec("data")}, "allowed: a NamedSharding of one dimension, or None"),
        ({"basis_size": 3}, "basis_size is 3; allowed: an integer, 5 or more"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    operator = _operator(_planted(np.arange(10.0), np.float32))
    with pytest.raises(ValueError, match=message):
        curvature.eigenpairs(operator, **{"k": 1, **options}, key=jax.random.key(0))


def test_more_vectors_than_memory_are_refused_before_they_are_made():
    operator = Operator(lambda v: v, jnp.ones(10**6))
    with pytest.raises(ValueError, match=r"basis_size is 1000000, .* GiB are free: choose fewer"):
        curvature.eigenpairs(operator, key=jax.random.key(0), basis_size=10**6)


def test_a_dense_matrix_of_too_many_rows_is_refused():
    with pytest.raises(ValueError, match="8192 at most"):
        curvature.dense(Operator(lambda v: v, jnp.ones(10_000)))
