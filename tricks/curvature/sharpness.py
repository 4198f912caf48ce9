"""How fast the loss rises around a point: Keskar's measure, and one that rescaling does not move."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.arguments import require_integer, require_key, require_positive
from tricks.curvature import trees
from tricks.curvature.batches import grouped, mean_over
from tricks.curvature.captured import call, captured
from tricks.curvature.eigenpairs import eigenpairs
from tricks.curvature.jaxprs import calls_back
from tricks.curvature.lanczos import Eigenpairs
from tricks.curvature.placement import raveled
from tricks.curvature.products import Loss, Operator, Scalar, explained, require_same

# (1 + 1 / sqrt(4)) / (1 - 1 / sqrt(4)) = 3 is the condition number of a large Gaussian matrix of 4 rows to a column.
_TALL = 4


class Sharpness(NamedTuple):
    """Keskar's measure, and what it was made of."""

    value: float
    """100 (maximum - loss) / (1 + loss)."""
    loss: float
    maximum: float
    """The highest loss found in the box."""
    evaluations: int
    """Of the loss and its gradient."""


def keskar_sharpness(
    loss_fn: Loss,
    params: Any,
    epsilon: float = 1e-3,
    *,
    batches: Sequence[Any] | None = None,
    subspace: int | None = None,
    iterations: int = 10,
    key: jax.Array,
) -> Sharpness:
    """The rise of the loss in a small box around a point, in percent: 100 (max_y f(x + A y) - f(x)) / (1 + f(x)).

    The box is |y_i| <= epsilon (|(A^+ x)_i| + 1); A is the identity, or n x p of standard normal entries. L-BFGS-B
    seeks the maximum from a random point of the box: from its middle, at a critical point, there is no way to go. What
    it finds is the top of one slope, so the value changes with the key; take the largest of several.

    Args:
        loss_fn: f; `loss_fn(params) -> scalar`, or with `batches` `loss_fn(params, batch) -> scalar`.
        params: x.
        epsilon: half of the box's width where x is zero; the source takes 1e-3 and 5e-4.
        batches: as for `hessian`.
        subspace: p; the source takes 100. None for the full space.
        iterations: of L-BFGS-B; the source takes 10.
        key: of the start, and of A.

    Returns:
        `Sharpness`.

    Raises:
        ValueError: for an epsilon, subspace or number of iterations out of range, or a loss that is not finite.

    >>> sharp = keskar_sharpness(lambda w: 100 * w**2, jnp.zeros(()), 0.1, key=jax.random.key(0))
    >>> round(sharp.value, 3), round(sharp.maximum, 5)
    (100.0, 1.0)

    Source: Keskar et al. 2017, arXiv 1609.04836, metric 2.1.
    """
    from scipy import optimize  # Takes a third of a second to import.

    require_key("key", key)
    require_positive("epsilon", epsilon)
    require_integer("iterations", iterations, least=1)
    trees.require_floating("params", params)
    x, unravel = raveled(params)
    if subspace is not None:
        require_integer("subspace", subspace, least=1)
        if subspace > x.size:
            raise ValueError(f"subspace is {subspace}; allowed: {x.size} at most, the number of parameters")
    groups, shares = (None, None) if batches is None else grouped(batches)
    start_key, basis_key = jax.random.split(key)
    basis = None if subspace is None else jax.random.normal(basis_key, (x.size, subspace), x.dtype)

    def value_and_gradient(y: jax.Array, x: jax.Array, basis: Any, groups: Any, shares: Any) -> Any:
        def loss(y: jax.Array) -> jax.Array:
            point = unravel(x + (y if basis is None else basis @ y))
            return mean_over(partial(Scalar(loss_fn), point), groups, shares)

        return jax.value_and_grad(loss)(y)

    fixed = x, basis, groups, shares
    middle = jnp.zeros_like(x if basis is None else basis[0])
    with explained():
        function = captured(value_and_gradient, middle, *fixed)
    if calls_back(function.program.traced):
        require_same(*(call(function, middle, *fixed) for _ in range(2)))

    def falling(y: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = call(function, jnp.asarray(y, x.dtype), *fixed)
        # A point where the loss overflows is no maximum that can be compared.
        return -float(value) if np.isfinite(value) else np.inf, -np.nan_to_num(np.asarray(gradient, np.float64))

    coordinates = x if basis is None else _coordinates(basis, x)
    half = epsilon * (np.abs(np.asarray(coordinates, np.float64)) + 1)
    loss = -falling(np.zeros(len(half)))[0]
    if not np.isfinite(loss):
        raise ValueError("the loss is not finite at params; sharpness needs a point where it is")
    if loss <= -1:
        raise ValueError(f"the loss is {loss:g} at params; allowed: above -1, as the measure divides by 1 + loss")
    start = half * np.asarray(jax.random.uniform(start_key, half.shape, minval=-1, maxval=1), np.float64)
    found = optimize.minimize(
        falling,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(-half, half),
        options={"maxiter": iterations},
    )
    maximum = max(-float(found.fun), loss)
    return Sharpness(100 * (maximum - loss) / (1 + loss), loss, maximum, int(found.nfev) + 1)


def _coordinates(basis: jax.Array, x: jax.Array) -> jax.Array:
    """A^+ x, for a tall A of standard normal entries."""
    rows, columns = basis.shape
    if rows < _TALL * columns:
        return jnp.linalg.lstsq(basis, x)[0]
    # The singular values of such an A are within a factor of 3 of each other, so that A^T A, which squares it, loses
    # nothing in float32, and it takes a sixth of the time of a singular value decomposition.
    product = partial(jnp.matmul, basis.T, precision=jax.lax.Precision.HIGHEST)
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(product(basis)), product(x))


def relative_sharpness(operator: Operator, params: Any, *, key: jax.Array, tol: float = 1e-3) -> Eigenpairs:
    """Largest eigenvalue of |D| H |D|, D the diagonal matrix of the parameters: curvature for relative changes.

    Half of it times rho^2 is the highest rise of the loss, to second order, over all d with |d_i / w_i| of norm rho.
    Where a layer's weights are multiplied by s and the next one's divided by s, as a network of ReLUs allows without
    any change of what it computes, D H D stays the same.

    Args:
        operator: the Hessian at `params`.
        params: w.
        key: of the random start.
        tol: as for `eigenpairs`.

    Returns:
        `Eigenpairs` of one pair; the vector is in the units of relative changes.

    Raises:
        ValueError: as `eigenpairs`.

    >>> from tricks.curvature import hessian
    >>> params = jnp.array([3.0, 0.5])
    >>> operator = hessian(lambda w: jnp.sum(w**2), params)
    >>> round(float(relative_sharpness(operator, params, key=jax.random.key(0)).values[0]), 3)
    18.0

    Source: the second-order part of adaptive sharpness, Kwon et al., arXiv 2102.11600; the trap, Dinh et al., arXiv
    1703.04933.
    """
    trees.require_like("params", params, operator.like)
    scaled = Operator(jax.tree_util.Partial(_scaled_product, operator.apply, params), operator.like)
    return eigenpairs(scaled, which="largest", key=key, tol=tol)


def _scaled_product(apply: Any, params: Any, vector: Any) -> Any:
    sizes = jax.tree.map(jnp.abs, params)
    product = apply(jax.tree.map(jnp.multiply, sizes, vector))
    return jax.tree.map(jnp.multiply, sizes, product)
