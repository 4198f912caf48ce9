"""Ends of the spectrum of a Hessian beside PyTorch's packages, one product beside one gradient, memory and growth."""

import itertools
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import curvature_peers
from benchmarks.harness import Comparison, seconds
from tricks import curvature, data
from tricks.curvature import trees
from tricks.curvature.lanczos import lanczos
from tricks.errors import UserError

_SIZES = (784, 128, 64, 10)
_K, _TOL = 5, 1e-3
_PRODUCT_LIMIT, _COLD_FACTOR, _WARM_FACTOR = 1.3, 8, 15


class _Problem(NamedTuple):
    params: Any
    features: jax.Array
    targets: jax.Array

    @property
    def batch(self) -> tuple[jax.Array, jax.Array]:
        return self.features, self.targets


def compare(rounds: int) -> list[Comparison]:
    """Measures a product, the search of both ends beside each peer, its memory, and how a product grows.

    Prints what is no comparison: residuals, disagreements, memory and exponents.
    """
    problem = _trained(*_examples())
    rows = [_one_product(problem, rounds), *_both_ends(problem, rounds)]
    _print_memory(problem)
    _print_growth(min(rounds, 5))
    if jax.default_backend() == "gpu":
        _print_large(10**8, min(rounds, 5))
    return rows


def _examples() -> tuple[np.ndarray, np.ndarray]:
    try:
        mnist = data.load("mnist")
    except UserError:
        return _digits()
    features = (mnist.test.features * mnist.feature_scale + mnist.feature_mean) / 255
    return np.clip(features.reshape(len(features), -1), 0, 1).astype(np.float32), mnist.test.targets


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    print("MNIST is not prepared (make prepare); scikit-learn's digits, enlarged and repeated, stand in for it")
    features, targets = load_digits(return_X_y=True)
    images = np.kron(features.reshape(-1, 8, 8) / 16, np.ones((4, 4)))[:, 2:30, 2:30]
    chosen = np.arange(10_000) % len(images)
    return images[chosen].reshape(len(chosen), -1).astype(np.float32), targets[chosen].astype(np.int32)


def _loss(params: Any, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    x, targets = batch
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"][None])
    outputs = x @ params[-1]["kernel"] + params[-1]["bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def _params(sizes: tuple[int, ...]) -> list[dict[str, jax.Array]]:
    rng = np.random.default_rng(0)
    return [
        {
            "kernel": jnp.asarray(rng.normal(scale=(2 / (m + n)) ** 0.5, size=(m, n)), jnp.float32),
            "bias": jnp.zeros(n, jnp.float32),
        }
        for m, n in itertools.pairwise(sizes)
    ]


def _trained(features: np.ndarray, targets: np.ndarray) -> _Problem:
    # At random weights the spectrum is not the one that anybody asks for.
    problem = _Problem(_params(_SIZES), jnp.asarray(features), jnp.asarray(targets))
    adam = optax.adam(1e-3)

    def step(carry: Any, rows: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        loss, gradient = jax.value_and_grad(_loss)(params, (problem.features[rows], problem.targets[rows]))
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(params, updates), state), loss

    count = len(targets) // 128 * 128
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(targets))[:count] for _ in range(3)]).reshape(-1, 128)
    (params, _), _ = jax.jit(partial(jax.lax.scan, step))((problem.params, adam.init(problem.params)), order)
    return problem._replace(params=params)


def _gradient_of(params: Any, batch: Any) -> Callable[[], object]:
    # The precision of a product, so that accelerators do not compare unlike things.
    with jax.default_matmul_precision("highest"):
        compiled = jax.jit(jax.grad(_loss)).lower(params, batch).compile()
    return lambda: jax.block_until_ready(compiled(params, batch))


def _product_of(operator: curvature.Operator) -> Callable[[], object]:
    vector = trees.random_normal(jax.random.key(0), operator.like)
    return lambda: jax.block_until_ready(operator(vector))


def _one_product(problem: _Problem, rounds: int) -> Comparison:
    operator = curvature.hessian(_loss, problem.params, [problem.batch])
    cases = {"product": _product_of(operator), "gradient": _gradient_of(problem.params, problem.batch)}
    spent = seconds(cases, max(rounds, 9))
    product, gradient = 1e3 * spent["product"], 1e3 * spent["gradient"]
    print(f"one product takes {product / gradient:.2f} gradients; required: {_PRODUCT_LIMIT} at most")
    case = f"one product, {trees.size(problem.params):,} parameters, {len(problem.targets):,} examples"
    return Comparison(case, "one gradient", product, gradient, gradient / product, "ms")


def _search(problem: _Problem) -> curvature.Eigenpairs:
    operator = curvature.hessian(_loss, problem.params, [problem.batch])
    found = curvature.eigenpairs(operator, _K, "both", key=jax.random.key(0), tol=_TOL)
    return jax.block_until_ready(found)


def _both_ends(problem: _Problem, rounds: int) -> list[Comparison]:
    cold: list[float] = []
    warm: list[float] = []
    for _ in range(min(rounds, 3)):
        jax.clear_caches()
        for measured in (cold, warm):
            start = time.perf_counter()
            found = _search(problem)
            measured.append(time.perf_counter() - start)
    print(f"ours: {found.products} products, converged: {bool(found.converged.all())}")
    _print_quality("ours", problem, found, found.values, found.vectors)
    rows = []
    weights = [(np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in problem.params]
    examples = np.asarray(problem.features), np.asarray(problem.targets)
    for theirs in curvature_peers.searches(weights, *examples, _K, _TOL, np.asarray(found.values)):
        _print_quality(theirs.peer, problem, found, jnp.asarray(theirs.values), _as_trees(theirs.vectors))
        for how, spent in (("with compiling", median(cold)), ("compiled", median(warm))):
            case = f"smallest and largest {_K}, {how}"
            rows.append(Comparison(case, theirs.peer, spent, theirs.seconds, theirs.seconds / spent, "s"))
    if rows:
        print(f"required: {_COLD_FACTOR} with compiling and {_WARM_FACTOR} compiled, beside the fastest peer")
    return rows


def _as_trees(vectors: np.ndarray) -> list[dict[str, jax.Array]]:
    """Rows in PyTorch's order, in which a kernel is transposed, as pytrees with a first dimension."""
    layers, start = [], 0
    for m, n in itertools.pairwise(_SIZES):
        kernel = vectors[:, start : start + m * n].reshape(-1, n, m).transpose(0, 2, 1)
        bias = vectors[:, start + m * n : start + m * n + n]
        layers.append({"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)})
        start += m * n + n
    return layers


def _print_quality(
    name: str, problem: _Problem, ours: curvature.Eigenpairs, values: jax.Array, vectors: list[dict[str, jax.Array]]
) -> None:
    operator = curvature.hessian(_loss, problem.params, [problem.batch])
    largest = jnp.max(jnp.abs(ours.values))
    residuals = []
    for i, value in enumerate(values):
        vector = jax.tree.map(lambda leaf, i=i: leaf[i], vectors)
        residuals.append(trees.norm(trees.add(operator(vector), vector, -value)) / largest)
    apart = jnp.max(jnp.abs(values - ours.values)) / largest
    print(f"{name}: values {apart:.1g} of the largest from ours at the most; residuals, of the largest value: ", end="")
    print(*(f"{residual:.1g}" for residual in residuals))


def _print_memory(problem: _Problem) -> None:
    operator = curvature.hessian(_loss, problem.params, [problem.batch])
    vector = 4 * operator.size
    product = _held(jax.jit(lambda apply, v: apply(v)).lower(operator.apply, operator.like)) / vector
    # In a loop XLA keeps what is the same in every product, and takes no more time for it.
    looped = _held(jax.jit(_hundred_products).lower(operator.apply, operator.like)) / vector
    print(f"in vectors of the parameters, a product takes {product:.1f}, products in a loop {looped:.1f}")
    for basis_size in (3 * 2 * _K + 2, 50, 100):
        lowered = lanczos.lower(
            operator.apply,
            operator.like,
            jax.random.key(0),
            _TOL,
            k=_K,
            which="both",
            basis_size=basis_size,
            max_products=1000,
        )
        held = _held(lowered) / vector
        print(f"basis_size {basis_size}: the search takes {held:.1f}, {held - looped:.1f} more than products in a loop")
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(operator.apply))
    gradient: Any = jax.jit(jax.grad(_loss)).lower(problem.params, problem.batch).compile().memory_analysis()
    print(f"kept linearization {kept / 1e6:.1f} MB; examples {problem.features.nbytes / 1e6:.1f} MB; ", end="")
    print(f"a gradient takes {gradient.temp_size_in_bytes / 1e6:.1f} MB for a while")


def _hundred_products(apply: Callable[[Any], Any], vector: Any) -> Any:
    return jax.lax.fori_loop(0, 100, lambda _, v: apply(v), vector)


def _held(lowered: Any) -> int:
    memory = lowered.compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def _random_operator(size: int, examples: int) -> curvature.Operator:
    """The Hessian of a network of three layers, about `size` parameters, at random weights."""
    width = max(10, round((size / 2) ** 0.5))
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(examples, width)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, 10, examples), jnp.int32)
    return curvature.hessian(_loss, _params((width, width, width, 10)), [(features, targets)])


def _print_growth(rounds: int) -> None:
    sizes, examples = np.logspace(4, 7, 7).astype(int), np.logspace(3, 5, 7).astype(int)
    for label, shapes in (
        ("parameters, 1,000 examples", [(n, 1000) for n in sizes]),
        ("examples, 30,000 parameters", [(30_000, n) for n in examples]),
    ):
        xs, spent = [], []
        # One after the other: together they would not lie in the memory of a small machine.
        for size, count in shapes:
            operator = _random_operator(size, count)
            xs.append(operator.size if label.startswith("parameters") else count)
            spent.append(seconds({"product": _product_of(operator)}, rounds)["product"])
        half = len(xs) // 2
        print(f"time of a product against {label}, ms:", *(f"{1e3 * s:.3g}" for s in spent))
        print(f"  exponent {_slope(xs, spent):.2f} from {xs[0]:,} to {xs[-1]:,}, ", end="")
        print(f"{_slope(xs[half:], spent[half:]):.2f} from {xs[half]:,} on")


def _slope(xs: list[int], ys: list[float]) -> float:
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def _print_large(size: int, rounds: int) -> None:
    operator = _random_operator(size, 1000)
    product = seconds({"product": _product_of(operator)}, rounds)["product"]
    spent = []
    for _ in range(2):
        start = time.perf_counter()
        found = jax.block_until_ready(curvature.eigenpairs(operator, key=jax.random.key(0), tol=_TOL))
        spent.append(time.perf_counter() - start)
    print(f"{operator.size:,} parameters: a product {1e3 * product:.3g} ms; the smallest eigenvalue ", end="")
    print(
        f"{found.values[0]:.3g} in {found.products} products, {spent[0]:.3g} s with compiling, {spent[1]:.3g} s after"
    )
