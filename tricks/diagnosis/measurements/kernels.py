"""Kernel ridge regression whose held-out predictions need one factorization for all folds."""

import numpy as np
from scipy.linalg import lapack


def squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """|a - b|^2 of all pairs of rows.

    >>> squared_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
    [[25.0]]
    """
    squares = np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)[None]
    return np.maximum(squares - 2 * (left @ right.T), 0, out=squares)


def gaussian(distances: np.ndarray) -> np.ndarray:
    """k(a, b) = exp(-|a - b|^2 / m), where m is the median of the squared distances.

    Args:
        distances: squared, (n, n).

    Returns:
        (n, n).
    """
    some = distances[: min(len(distances), 500)]
    return np.exp(-distances / max(float(np.median(some[some > 0])) if (some > 0).any() else 1.0, 1e-30))


def held_out(kernel: np.ndarray, targets: np.ndarray, ridge: float, folds: np.ndarray) -> np.ndarray:
    """Predicts each fold by kernel ridge regression on the others, with an intercept.

    With G = (K + 1 + ridge I)^-1 the errors on a fold F are (G_FF)^-1 (G Y)_F, exactly: predictions are linear in Y.

    Args:
        kernel: (n, n), positive semidefinite.
        targets: (n, m).
        ridge: positive.
        folds: (n,): the fold of each example.

    Returns:
        (n, m): the predictions.
    """
    system = kernel.astype(np.float32) + np.float32(1)
    system[np.diag_indices_from(system)] += np.float32(ridge)
    factor, failed = lapack.spotrf(system, lower=1, overwrite_a=1)
    assert not failed, "the kernel is not positive"
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    solved = inverse @ targets.astype(np.float32)
    predictions = np.empty_like(solved)
    for fold in np.unique(folds):
        own = np.flatnonzero(folds == fold)
        predictions[own] = targets[own] - np.linalg.solve(inverse[np.ix_(own, own)], solved[own])
    return predictions
