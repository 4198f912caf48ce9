"""How the eigenvalues are spread, estimated without computing them: stochastic Lanczos quadrature."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tricks.arguments import require_integer, require_key, require_positive
from tricks.curvature.eigenpairs import require_symmetric
from tricks.curvature.krylov import Flat, extended, flattened, is_rounding, length, matmul, next_unit
from tricks.curvature.products import Operator, is_traced
from tricks.curvature.trace import Estimate
from tricks.memory import bytes_of, require_memory

_KEPT = 2**30  # Bytes of vectors up to which runs are orthogonalized, which resolves finer.


class SpectralDensity(NamedTuple):
    """For each random vector the nodes and weights of a quadrature of the spectrum; weights of a row sum to 1."""

    nodes: jax.Array
    """(probes, steps)."""
    weights: jax.Array
    """(probes, steps)."""
    residuals: jax.Array
    """(probes, steps): an eigenvalue lies within this distance of the node."""

    def mean_of(self, values: jax.Array) -> Estimate:
        """Mean over all eigenvalues of a function of them, with its standard error over the probes.

        Where a few eigenvalues dominate, the samples are skewed: with 20 probes and one eigenvalue six times the next,
        2 standard errors covered the truth in 88 % of 200 seeds and 4 in 97 %; with evenly spread ones 2 in 96 %.

        Args:
            values: the function at the nodes, (probes, steps) or (probes, steps, points).

        Returns:
            Mean and standard error, scalars or (points,).

        >>> density = SpectralDensity(jnp.array([[1.0, 3.0]] * 2), jnp.array([[0.25, 0.75]] * 2), jnp.zeros((2, 2)))
        >>> float(density.mean_of(density.nodes).mean)
        2.5
        """
        weights = self.weights if values.ndim == 2 else self.weights[..., None]
        samples = jnp.sum(weights * values, axis=1)
        return Estimate(jnp.mean(samples, axis=0), jnp.std(samples, axis=0, ddof=1) / len(samples) ** 0.5)

    def share_between(self, lower: Any, upper: Any) -> Estimate:
        """Share of the eigenvalues in (lower, upper].

        Args:
            lower: a number, or -inf.
            upper: a number, or inf.

        Returns:
            Mean and standard error, scalars.

        >>> density = SpectralDensity(jnp.array([[1.0, 3.0]] * 2), jnp.array([[0.25, 0.75]] * 2), jnp.zeros((2, 2)))
        >>> float(density.share_between(2.0, jnp.inf).mean)
        0.75
        """
        return self.mean_of(((self.nodes > lower) & (self.nodes <= upper)).astype(self.nodes.dtype))

    def smoothed(self, points: jax.Array, width: float) -> Estimate:
        """The density, each node widened to a Gaussian.

        Args:
            points: (points,), where it is wanted.
            width: standard deviation of the Gaussians, above 0.

        Returns:
            Mean and standard error, (points,) each; the mean integrates to 1.

        Raises:
            ValueError: for a width that is not above 0.

        >>> density = SpectralDensity(jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.zeros((2, 1)))
        >>> round(float(density.smoothed(jnp.zeros(1), 1.0).mean[0]), 4)
        0.3989
        """
        require_positive("width", width)
        away = (points[None, None] - self.nodes[..., None]) / width
        return self.mean_of(jnp.exp(-(away**2) / 2) / (width * (2 * jnp.pi) ** 0.5))


def spectral_density(
    operator: Operator, *, key: jax.Array, probes: int = 10, steps: int = 80, reorthogonalize: bool | None = None
) -> SpectralDensity:
    """The spread of all eigenvalues, from Lanczos runs of random vectors.

    The Ritz values of a run from a random unit vector v, weighted by the squared first entries of their vectors, are a
    Gauss quadrature of sum_i (u_i.v)^2 f(lambda_i), whose expectation is the mean of f over the spectrum.

    Args:
        operator: symmetric.
        key: of the random vectors.
        probes: runs, 2 or more; the standard error falls as the root of their number.
        steps: products a run, 1 or more; more of them resolve finer.
        reorthogonalize: keep all vectors of a run and orthogonalize twice against them. Otherwise three vectors are
            all that is kept, and an eigenvalue may appear as several nodes that share its weight. None keeps them where
            they take 1 GiB at most.

    Returns:
        `SpectralDensity`.

    Raises:
        ValueError: for too few probes or steps, more vectors than the memory holds, or an operator that is not finite,
            not deterministic or not symmetric.

    >>> from tricks.curvature import hessian
    >>> density = spectral_density(hessian(lambda w: jnp.sum(w**2), jnp.ones(5)), key=jax.random.key(0), steps=1)
    >>> round(float(density.mean_of(density.nodes).mean), 4)
    2.0

    Source: Golub and Meurant 2010; Ghorbani et al., arXiv 1901.10159; Chen, Trogdon and Ubaru, arXiv 2105.06595.
    """
    require_key("key", key)
    require_integer("probes", probes, least=2)
    require_integer("steps", steps, least=1)
    if not is_traced(operator):
        require_symmetric(operator, jax.random.fold_in(key, 1))
    return density_of(operator, key=key, probes=probes, steps=steps, reorthogonalize=reorthogonalize)


def density_of(
    operator: Operator, *, key: jax.Array, probes: int, steps: int, reorthogonalize: bool | None = None
) -> SpectralDensity:
    """`spectral_density` of an operator that is known to be symmetric."""
    if reorthogonalize is None:
        reorthogonalize = min(steps, operator.size) * bytes_of(operator.like) <= _KEPT
    if reorthogonalize:
        steps = min(steps, operator.size)
        of_vector = None if operator.division is None else operator.division.of_vector
        require_memory("steps", steps, operator.like, of_vector)
    return _density(operator, key, probes, steps, reorthogonalize)


@partial(jax.jit, static_argnums=(2, 3, 4))
def _density(operator: Operator, key: jax.Array, probes: int, steps: int, reorthogonalize: bool) -> SpectralDensity:
    flat = flattened(operator.apply, operator.like, operator.division)
    run: Callable[..., Any] = orthogonal_run if reorthogonalize else _three_term_run

    def quadrature(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        projected, beta, *_ = run(flat, key, steps)
        nodes, vectors = jnp.linalg.eigh(projected)
        return nodes, vectors[0] ** 2, beta * jnp.abs(vectors[-1])

    return SpectralDensity(*jax.lax.map(quadrature, jax.random.split(key, probes)))


def orthogonal_run(flat: Flat, key: jax.Array, steps: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A Lanczos run from a random vector, every vector orthogonalized against all before.

    Args:
        flat: the operator.
        key: of the start.
        steps: products.

    Returns:
        The projected operator (steps, steps); the length of what is left outside, 0 once the space is complete; and the
        basis (steps + 1, n), of which the projection has the first rows.

    >>> from tricks.curvature.krylov import flattened
    >>> projected, beta, _ = orthogonal_run(flattened(lambda v: 3 * v, jnp.ones(4)), jax.random.key(0), 1)
    >>> round(float(projected[0, 0]), 4), float(beta)
    (3.0, 0.0)

    Source: Lanczos 1950; Parlett 1980.
    """

    def grow(row: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        basis, projected, _ = carry
        w, projected = extended(flat.apply, basis, projected, row)
        beta = length(w)
        # Once the space is invariant, what lies outside has no weight in this run.
        complete = is_rounding(beta, length(projected[row]))
        following = next_unit(w, basis, complete, lambda: flat.random(jax.random.fold_in(key, row)))
        basis = jax.lax.dynamic_update_index_in_dim(basis, following, row + 1, 0)
        return basis, projected, jnp.where(complete, 0, beta)

    basis = flat.zeros(steps + 1).at[0].set(flat.random(key))
    start = basis, jnp.zeros((steps, steps), flat.dtype), jnp.zeros([], flat.dtype)
    basis, projected, beta = jax.lax.fori_loop(0, steps, grow, start)
    return projected, beta, basis


def _three_term_run(flat: Flat, key: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    def grow(carry: _ThreeTerms, _: None) -> tuple[_ThreeTerms, tuple[jax.Array, jax.Array]]:
        w = flat.apply(carry.v) - carry.beta * carry.before
        # After the space is complete v is 0; nodes of no weight then stand where another stood, inside the spectrum.
        alpha = jnp.where(carry.complete, carry.alpha, matmul(carry.v, w))
        w = w - alpha * carry.v
        norm = jnp.maximum(carry.norm, jnp.abs(alpha) + carry.beta)
        beta = length(w)
        complete = carry.complete | is_rounding(beta, norm)
        beta = jnp.where(complete, 0, beta)
        following = jnp.where(complete, 0, w / jnp.maximum(beta, jnp.finfo(w.dtype).tiny))
        return _ThreeTerms(carry.v, following, alpha, beta, norm, complete), (alpha, beta)

    zero, v = jnp.zeros([], flat.dtype), flat.random(key)
    start = _ThreeTerms(jnp.zeros_like(v), v, zero, zero, zero, jnp.bool_(False))
    _, (alphas, betas) = jax.lax.scan(grow, start, length=steps)
    return jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1), betas[-1]


class _ThreeTerms(NamedTuple):
    before: jax.Array
    v: jax.Array
    alpha: jax.Array
    beta: jax.Array
    norm: jax.Array
    complete: jax.Array
