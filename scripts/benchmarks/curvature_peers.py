"""The ends of the same spectrum by packages for PyTorch, each as its users call it and at its very best."""

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

_Pairs = tuple[np.ndarray, np.ndarray]
_PATIENCE = 30.0


class Found(NamedTuple):
    """What a peer found and how long it took."""

    peer: str
    seconds: float
    values: np.ndarray
    """(2 k,), the k smallest and then the k largest, each ascending."""
    vectors: np.ndarray
    """(2 k, n), in the order of the parameters of the PyTorch network."""


def searches(
    weights: list[tuple[np.ndarray, np.ndarray]],
    features: np.ndarray,
    targets: np.ndarray,
    k: int,
    tol: float,
    values: np.ndarray,
) -> Iterator[Found]:
    """Runs every installed peer, a few times while that is quick; one that is missing is skipped with a word.

    Its fastest run counts. The best of each uses what a user does not know beforehand: the values, or the number of
    steps that suffices.

    Args:
        weights: kernel and bias of each layer of a tanh network with a softmax cross-entropy.
        features: (n, inputs).
        targets: (n,), classes.
        k: pairs at each end.
        tol: of the residuals.
        values: (2 k,), what is to be found.
    """
    found = [name for name in ("torch", "curvlinops", "hessian_eigenthings") if importlib.util.find_spec(name)]
    for missing in {"torch", "curvlinops", "hessian_eigenthings"} - set(found):
        print(f"{missing} is not installed; skipped (requirements-bench.txt)")
    if "torch" not in found:
        return
    import torch

    network, batch = _network(weights), (torch.tensor(features), torch.tensor(targets).long())
    if "curvlinops" in found:
        yield from _curvlinops(network, batch, k, tol, values)
    if "hessian_eigenthings" in found:
        yield from _hessian_eigenthings(network, batch, k, tol, values)


def _network(weights: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    import torch

    layers: list[Any] = []
    for kernel, bias in weights:
        layer = torch.nn.Linear(*kernel.shape)
        layer.weight.data = torch.tensor(kernel.T)
        layer.bias.data = torch.tensor(bias)
        layers += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def _timed(peer: str, package: str, search: Callable[[], tuple[_Pairs, _Pairs]]) -> Found:
    measured: list[float] = []
    # A loaded machine makes single runs three times as long, so those that are short enough are repeated.
    while len(measured) < 3 and sum(measured) < _PATIENCE:
        start = time.perf_counter()
        ends = search()
        measured.append(time.perf_counter() - start)
    values, vectors = [], []
    for found, of_found in ends:
        order = np.argsort(found)
        values.append(found[order])
        vectors.append(of_found[order])
    name = f"{package} {importlib.metadata.version(package)}, {peer}"
    return Found(name, min(measured), np.concatenate(values), np.concatenate(vectors))


def _curvlinops(network: Any, batch: Any, k: int, tol: float, values: np.ndarray) -> Iterator[Found]:
    import torch
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import eigsh

    parameters = [p for p in network.parameters() if p.requires_grad]
    operator = HessianLinearOperator(network, torch.nn.CrossEntropyLoss(), parameters, [batch])
    matrix = operator.to_scipy(np.float32)
    # The first product loads half of PyTorch.
    matrix @ np.ones(matrix.shape[1], np.float32)
    start = np.random.default_rng(0).normal(size=matrix.shape[1]).astype(np.float32)

    def end(which: str, tol: float) -> _Pairs:
        found, vectors = eigsh(matrix, k=k, which=which, tol=tol, v0=start)
        return found, vectors.T

    # eigsh takes the tolerance relative to each value, which at the lower end asks for far more.
    largest = np.abs(values).max()
    allowed = [tol * largest / np.abs(part).max() for part in (values[:k], values[k:])]
    package = "curvlinops-for-pytorch"
    yield _timed("eigsh", package, lambda: (end("SA", tol), end("LA", tol)))
    yield _timed("eigsh, tolerance of ours", package, lambda: (end("SA", allowed[0]), end("LA", allowed[1])))


def _hessian_eigenthings(network: Any, batch: Any, k: int, tol: float, values: np.ndarray) -> Iterator[Found]:
    import hessian_eigenthings
    import torch

    loss = hessian_eigenthings.supervised_loss(torch.nn.CrossEntropyLoss())
    operator = hessian_eigenthings.HessianOperator(network, [batch], loss)

    def end(which: str, steps: int) -> Any:
        # Beyond 50 steps its default gives up orthogonality, and then finds values twice.
        return hessian_eigenthings.lanczos(
            operator, k=k, max_iter=steps, tol=tol, which=which, seed=0, reorthogonalize=True
        )

    def doubled(which: str) -> _Pairs:
        steps = 2 * k
        found = end(which, steps)
        while not found.converged.all() and steps < operator.size:
            steps = min(2 * steps, operator.size)
            found = end(which, steps)
        return _pairs(found)

    least = _least_steps(operator, k, tol * np.abs(values).max())
    package = "hessian-eigenthings"
    yield _timed("steps doubled until converged", package, lambda: (doubled("SA"), doubled("LA")))
    yield _timed(
        f"{least['SA']} and {least['LA']} steps known to suffice",
        package,
        lambda: (_pairs(end("SA", least["SA"])), _pairs(end("LA", least["LA"]))),
    )


def _pairs(found: Any) -> _Pairs:
    return found.eigenvalues.numpy(), found.eigenvectors.numpy()


def _least_steps(operator: Any, k: int, allowed: float, most: int = 320) -> dict[str, int]:
    """The fewest Lanczos steps after which all residuals at an end are within what is allowed."""
    import torch
    from hessian_eigenthings import lanczos_tridiagonal

    start = torch.randn(operator.size, generator=torch.Generator().manual_seed(0))
    least: dict[str, int] = {}
    steps = 40
    while len(least) < 2 and steps <= most:
        run = lanczos_tridiagonal(operator, start, steps)
        betas = np.append(run.betas.numpy(), run.last_beta)
        matrix = np.diag(run.alphas.numpy()) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
        for m in range(k, run.iterations + 1):
            residuals = betas[m - 1] * np.abs(np.linalg.eigh(matrix[:m, :m])[1][-1])
            for which, part in (("SA", residuals[:k]), ("LA", residuals[-k:])):
                if which not in least and part.max() <= allowed:
                    least[which] = m
        steps *= 2
    return {which: least.get(which, most) for which in ("SA", "LA")}
