"""Minimum, maximum, saddle, degenerate, not critical: what a point is, with its evidence."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from tricks.arguments import require, require_integer, require_key, require_not_negative
from tricks.curvature import trees
from tricks.curvature.dense import LARGEST
from tricks.curvature.density import SpectralDensity
from tricks.curvature.products import Loss, Operator, hessian
from tricks.curvature.rounding import SMALL, rounding_of_gradient
from tricks.curvature.signs import Interval
from tricks.curvature.spectrum_ends import Ends, dense_ends, glimpsed_ends, lanczos_ends

_CLEARLY = 10  # How much larger than a dozen products show the norm may be.
VERDICTS = ("minimum", "maximum", "saddle", "degenerate", "not critical", "undecided")


class CriticalPoint(NamedTuple):
    """A verdict on a point and what it rests on. Numbers are Python floats; vectors have the parameters' structure."""

    verdict: str
    """One of `VERDICTS`."""
    reason: str
    """The evidence in a sentence."""
    loss: float
    gradient_norm: float
    gradient_tolerance: float
    """Up to which the gradient counts as zero."""
    smallest: float
    largest: float
    residuals: tuple[float, float]
    """|H v - value v| of the two; an eigenvalue lies within that distance."""
    smallest_vector: Any
    """A unit vector; where `smallest` is negative, the way out, in either direction."""
    largest_vector: Any
    positive: Interval
    """Number of eigenvalues above `tolerance`."""
    zero: Interval
    negative: Interval
    tolerance: float
    """Up to which |eigenvalue| counts as zero."""
    bounds: tuple[float, float]
    """No eigenvalue lies outside these, at the confidence given."""
    minimum_ratio: Interval
    """Eigenvalues above 0 as a share of all, as in the lectures."""
    significant_minimum_ratio: Interval
    """The same without those that count as zero."""
    confidence: float
    """Of what the verdict says: 1 where it was computed and not estimated."""
    held_out_curvature: float | None
    """u.Hu of the smallest one's vector on the held-out batches."""
    spectrum: SpectralDensity | None
    """All eigenvalues with equal weights, where they were computed; otherwise quadratures from random vectors."""
    products: int
    """How often the Hessian was applied to a vector."""
    mode: str
    """What batch normalization and dropout did."""


def classify(
    loss_fn: Loss,
    params: Any,
    batches: Sequence[Any] | None = None,
    *,
    held_out: Sequence[Any] | None = None,
    key: jax.Array,
    mask: Any = None,
    mode: str | None = None,
    gradient_tolerance: float | None = None,
    tolerance: float | None = None,
    confidence: float = 0.99,
    dense_up_to: int = 1024,
    spectrum: bool = False,
    recompute: bool = False,
) -> CriticalPoint:
    """What kind of point this is: a minimum, a maximum, a saddle, degenerate, not critical, or undecided.

    With gradient g and Hessian H: |g| above its tolerance, not critical. Otherwise eigenvalues of both signs: a saddle;
    all above zero: a minimum; all below: a maximum; of one sign and zero: degenerate, since second derivatives do not
    tell. Undecided where the evidence allows two of these.

    Of a small problem the whole spectrum is computed. Of a large one Lanczos finds both ends: a negative eigenvalue
    that is found is certain; that there is none further out holds at the `confidence`, over the random starts. Where
    the gradient alone decides, that search is left out, unless `spectrum` asks for it.

    Args:
        loss_fn: as for `hessian`.
        params: the point.
        batches: as for `hessian`.
        held_out: other batches of the same kind, disjoint from `batches`, where those are a sample of the data: a
            negative curvature counts only if it is at least half as negative on them. None takes the loss as exact.
        key: of the random vectors.
        mask: restricts to a part of the parameters, as for `hessian`.
        mode: as for `hessian`.
        gradient_tolerance: |g| up to this counts as zero. By default 100 epsilon |H| |params| + 8 epsilon (2 |H|
            |loss|)^(1/2), epsilon the precision: what rounding makes of it. Training rarely comes that near; a larger
            one asks what the point would be if the gradient did not count.
        tolerance: |eigenvalue| up to this share of |H| counts as zero. By default what rounding can do where the
            spectrum is computed, and 1e-3 to 1e-2 where it is estimated, as it resolves what is near zero; the
            smaller it is, the more products that takes.
        confidence: at which it is claimed that no eigenvalue lies further out, above 0 and below 1.
        dense_up_to: number of parameters up to which the whole spectrum is computed.
        spectrum: the whole picture also of a large problem whose gradient alone decides. Otherwise a dozen products
            tell |H|, and where the gradient is clearly above its tolerance, they are all: ends that may lie further
            out, no counts (NaN), no `spectrum` (None).
        recompute: as for `hessian`.

    Returns:
        `CriticalPoint`.

    Raises:
        ValueError: as `hessian` and `eigenpairs`, or for a tolerance or confidence out of range.

    >>> import jax.numpy as jnp
    >>> point = classify(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2), key=jax.random.key(0))
    >>> point.verdict, round(point.smallest, 4), round(point.largest, 4), point.minimum_ratio.value
    ('saddle', -2.0, 2.0, 0.5)

    Source: the lectures on critical points; Kuczynski and Wozniakowski 1992 for the confidence.
    """
    operator = hessian(loss_fn, params, batches, mask=mask, mode=mode, recompute=recompute)
    other = None
    if held_out is not None and batches is None:
        raise ValueError("held_out is given without batches; allowed: with batches of the same kind")
    if held_out is not None:
        other = hessian(loss_fn, params, held_out, mask=mask, mode=mode, recompute=recompute)
    return classify_operator(
        operator,
        trees.split(params, mask)[0],
        held_out=other,
        key=key,
        gradient_tolerance=gradient_tolerance,
        tolerance=tolerance,
        confidence=confidence,
        dense_up_to=dense_up_to,
        spectrum=spectrum,
    )


def classify_operator(
    operator: Operator,
    params: Any,
    *,
    held_out: Operator | None = None,
    key: jax.Array,
    gradient_tolerance: float | None = None,
    tolerance: float | None = None,
    confidence: float = 0.99,
    dense_up_to: int = 1024,
    spectrum: bool = False,
) -> CriticalPoint:
    """`classify` for an operator that is there already.

    Args:
        operator: as `hessian` makes it, with a gradient.
        params: the point, of the structure of the operator's vectors.
        held_out: the same on held-out batches.
        key: as for `classify`, and so the others.
        gradient_tolerance: likewise.
        tolerance: likewise.
        confidence: likewise.
        dense_up_to: likewise.
        spectrum: likewise.

    Returns:
        `CriticalPoint`.

    Raises:
        ValueError: as `classify`, or for an operator without a gradient.

    >>> import jax.numpy as jnp
    >>> operator = hessian(lambda w: jnp.sum(w**2), jnp.zeros(3))
    >>> classify_operator(operator, jnp.zeros(3), key=jax.random.key(0)).verdict
    'minimum'
    """
    if operator.gradient is None or operator.loss is None:
        raise ValueError("operator has no gradient; allowed: one that hessian or gauss_newton made")
    require_key("key", key)
    trees.require_like("params", params, operator.like)
    if gradient_tolerance is not None:
        require_not_negative("gradient_tolerance", gradient_tolerance)
    if tolerance is not None:
        require("tolerance", tolerance, "a number between 0 and 1", lambda x: 0 < x < 1)
    require("confidence", confidence, "a number between 0 and 1", lambda x: 0 < x < 1)
    require_integer("dense_up_to", dense_up_to, least=0)
    if dense_up_to > LARGEST:
        raise ValueError(f"dense_up_to is {dense_up_to}; allowed: 0 to {LARGEST}")
    gradient_norm, confirmed = float(trees.norm(operator.gradient)), None

    def tolerances(norm: float) -> tuple[float, float]:
        given = gradient_tolerance
        return rounding_of_gradient(operator, norm, params) if given is None else (given, given)

    if operator.size <= max(dense_up_to, 2):
        ends, signs = dense_ends(operator, key, tolerance)
    else:
        glimpse = None if spectrum else glimpsed_ends(operator, key)
        if glimpse is not None and gradient_norm > tolerances(_CLEARLY * glimpse[0].norm)[1]:
            ends, signs = glimpse
        else:
            ends, signs = lanczos_ends(operator, key, tolerance, confidence)
            ends = ends._replace(products=ends.products + (0 if glimpse is None else glimpse[0].products))
    zero_up_to, gradient_tolerance = tolerances(ends.norm)
    if held_out is not None:
        u = ends.smallest_vector
        confirmed = float(trees.dot(u, held_out(u)))
    verdict, reason = verdict_of(ends, gradient_norm, gradient_tolerance, confirmed)
    if verdict != "not critical" and gradient_norm > zero_up_to:
        verdict, reason = _of_a_doubtful_gradient(gradient_norm, gradient_tolerance, reason)
    certain = verdict in ("saddle", "not critical") or ends.confidence == 1
    return CriticalPoint(
        verdict=verdict,
        reason=reason,
        loss=float(operator.loss),
        gradient_norm=gradient_norm,
        gradient_tolerance=gradient_tolerance,
        smallest=ends.smallest,
        largest=ends.largest,
        residuals=ends.residuals,
        smallest_vector=ends.smallest_vector,
        largest_vector=ends.largest_vector,
        **signs._asdict(),
        tolerance=ends.tolerance,
        bounds=ends.bounds,
        confidence=1.0 if certain else ends.confidence,
        held_out_curvature=confirmed,
        spectrum=ends.spectrum,
        products=ends.products + (confirmed is not None),
        mode=operator.mode,
    )


def verdict_of(ends: Ends, gradient_norm: float, gradient_tolerance: float, confirmed: float | None) -> tuple[str, str]:
    """The verdict that both ends of a spectrum and a gradient allow, as `classify` says it.

    Args:
        ends: of the spectrum.
        gradient_norm: of the gradient there.
        gradient_tolerance: up to which it counts as zero.
        confirmed: curvature along the smallest eigenvector on held-out batches; None where there are none.

    Returns:
        One of `VERDICTS`, and the evidence in a sentence.
    """
    low, high = ends.bounds
    found = f"eigenvalues from {ends.smallest:.3g} to {ends.largest:.3g}"
    if gradient_norm > gradient_tolerance:
        return "not critical", (
            f"the gradient norm {gradient_norm:.3g} is above {gradient_tolerance:.3g}: the loss still falls along the "
            f"gradient; {found}"
        )
    if ends.norm == 0:
        return "degenerate", "the Hessian is zero, and so is the gradient"
    negative, positive = ends.smallest < -ends.sign_tolerance, ends.largest > ends.sign_tolerance
    if negative and confirmed is not None and confirmed > ends.smallest / 2:
        return "undecided", (
            f"a curvature of {ends.smallest:.3g} on the batches is {confirmed:.3g} on the held-out ones: it may be "
            "theirs alone; take more examples"
        )
    if (not negative and ends.seen[0] < -ends.sign_tolerance) or (not positive and ends.seen[1] > ends.sign_tolerance):
        return "undecided", (
            f"{found}, but values from {ends.seen[0]:.3g} to {ends.seen[1]:.3g} were seen, and their vectors not found"
        )
    if negative and positive:
        return "saddle", f"both signs, {found}: the loss falls both ways along the eigenvector of the smallest"
    if negative:
        if high < -ends.sign_tolerance:
            return "maximum", f"all negative, {found}"
        return _degenerate(ends, ends.largest >= -ends.tolerance and high <= ends.tolerance, found, "positive")
    if confirmed is not None and confirmed < -ends.sign_tolerance:
        return "undecided", (
            f"none is negative on the batches, {found}, and along the vector of the smallest the held-out ones have a "
            f"curvature of {confirmed:.3g}; take more examples"
        )
    if low > ends.sign_tolerance:
        return "minimum", f"all positive, {found}"
    return _degenerate(ends, ends.smallest <= ends.tolerance and low >= -ends.tolerance, found, "negative")


def _of_a_doubtful_gradient(gradient_norm: float, gradient_tolerance: float, otherwise: str) -> tuple[str, str]:
    return "undecided", (
        f"the gradient norm {gradient_norm:.3g} is below {gradient_tolerance:.3g}, which rounding may make of "
        f"zero, and may be more than that; compute in float32, or give gradient_tolerance; otherwise: {otherwise}"
    )


def _degenerate(ends: Ends, is_certain: bool, found: str, absent: str) -> tuple[str, str]:
    if ends.tolerance > SMALL * ends.norm * (1 + 1e-6):
        return "undecided", (
            f"none is {absent} beyond {ends.tolerance:.3g}, which is much beside the largest, {found}, as the loss "
            "computes in half precision: take float32"
        )
    if is_certain:
        return "degenerate", (
            f"none is {absent} and some are zero within {ends.tolerance:.3g}, {found}: second derivatives do not tell"
        )
    return "undecided", (
        f"none that is {absent} was found, {found}, and whether the last is zero was not settled: bounds "
        f"{ends.bounds[0]:.3g} to {ends.bounds[1]:.3g}; a smaller tolerance takes more products and tells more"
    )
