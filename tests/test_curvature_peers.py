"""Ends of the spectrum of a small network's Hessian beside those that other packages find."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tricks import curvature

SIZES = (6, 5, 3)
RNG = np.random.default_rng(7)
FEATURES = RNG.normal(size=(64, SIZES[0])).astype(np.float32)
TARGETS = RNG.integers(0, SIZES[-1], 64)
WEIGHTS = [
    (RNG.normal(size=(m, n)).astype(np.float32), RNG.normal(size=n).astype(np.float32))
    for m, n in itertools.pairwise(SIZES)
]
K = 3


def _loss(params, batch):
    x, targets = batch
    for kernel, bias in params[:-1]:
        x = jnp.tanh(x @ kernel + bias[None])
    kernel, bias = params[-1]
    return optax.softmax_cross_entropy_with_integer_labels(x @ kernel + bias[None], targets).mean()


def _operator():
    params = [(jnp.asarray(kernel), jnp.asarray(bias)) for kernel, bias in WEIGHTS]
    return curvature.hessian(_loss, params, [(jnp.asarray(FEATURES), jnp.asarray(TARGETS))])


def _values():
    found = curvature.eigenpairs(_operator(), K, "both", key=jax.random.key(0), tol=1e-5)
    assert found.converged.all()
    return np.asarray(found.values)


def _assert_same(theirs, ours):
    np.testing.assert_allclose(np.sort(theirs), ours, rtol=0, atol=1e-4 * abs(ours).max())


def test_ends_against_matfree():
    decomp, eig = pytest.importorskip("matfree.decomp"), pytest.importorskip("matfree.eig")
    operator = _operator()
    start = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), leaf.dtype), operator.like)
    values, _ = jax.jit(lambda start: eig.eigh_partial(decomp.tridiag_sym(40))(operator, start))(start)
    _assert_same(np.concatenate([values[:K], values[-K:]]), _values())


def test_trace_against_matfree():
    funm, decomp = pytest.importorskip("matfree.funm"), pytest.importorskip("matfree.decomp")
    stochtrace = pytest.importorskip("matfree.stochtrace")
    operator = _operator()
    quadrature = funm.monte_carlo_funm_sym(funm.dense_funm_sym_eigh(jnp.square), decomp.tridiag_sym(30))
    estimate = stochtrace.estimator_monte_carlo(quadrature, stochtrace.sampler_signs(operator.like, num=400))
    density = curvature.spectral_density(operator, key=jax.random.key(1), probes=400, steps=30)
    ours = density.mean_of(density.nodes**2)
    theirs = jax.jit(lambda key: estimate(operator, key))(jax.random.key(2)) / operator.size
    # Two estimates of the same number of probes, four standard errors of their difference.
    assert abs(theirs - ours.mean) < 4 * 2**0.5 * ours.stderr


@pytest.fixture
def network():
    torch = pytest.importorskip("torch")
    layers = []
    for kernel, bias in WEIGHTS:
        layer = torch.nn.Linear(*kernel.shape)
        layer.weight.data, layer.bias.data = torch.tensor(kernel.T), torch.tensor(bias)
        layers += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def test_ends_against_curvlinops(network):
    import torch

    with warnings.catch_warnings():
        # It imports what PyTorch deprecates.
        warnings.simplefilter("ignore")
        curvlinops = pytest.importorskip("curvlinops")
        linalg = pytest.importorskip("scipy.sparse.linalg")
        batch = torch.tensor(FEATURES), torch.tensor(TARGETS)
        parameters = [p for p in network.parameters() if p.requires_grad]
        operator = curvlinops.HessianLinearOperator(network, torch.nn.CrossEntropyLoss(), parameters, [batch])
        matrix = operator.to_scipy(np.float32)
        ends = [linalg.eigsh(matrix, k=K, which=which, v0=np.ones(matrix.shape[0]))[0] for which in ("SA", "LA")]
    _assert_same(np.concatenate(ends), _values())


def test_ends_against_hessian_eigenthings(network):
    import torch

    eigenthings = pytest.importorskip("hessian_eigenthings")
    batch = torch.tensor(FEATURES), torch.tensor(TARGETS)
    loss = eigenthings.supervised_loss(torch.nn.CrossEntropyLoss())
    operator = eigenthings.HessianOperator(network, [batch], loss)
    ends = [
        eigenthings.lanczos(operator, k=K, max_iter=operator.size, which=which, seed=0, reorthogonalize=True)
        for which in ("SA", "LA")
    ]
    _assert_same(np.concatenate([end.eigenvalues.numpy() for end in ends]), _values())
