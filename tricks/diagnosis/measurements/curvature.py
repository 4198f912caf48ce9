"""The curvature where a run stands: both ends of the Hessian, what lies along them, and the learning rate beside it."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.curvature import Operator, hessian, trees
from tricks.curvature.critical_point import verdict_of
from tricks.curvature.density import orthogonal_run
from tricks.curvature.krylov import flattened, matmul
from tricks.curvature.rounding import rounding_of_gradient
from tricks.curvature.spectrum_ends import Ends
from tricks.diagnosis.measurements.descent import Descent
from tricks.losses import Batch, Loss, objective
from tricks.memory import bytes_of
from tricks.training.feed import make_mesh
from tricks.training.programs import quickly_compiled, run_once
from tricks.training.state import Weights

_STEPS, _FEWEST = 36, 12
_BYTES = 2**31  # Of the vectors of all runs.
_DISTANCES, _FARTHEST = 20, 4.0  # Each half of the one before, from so many times the length of the weights on.
_POINTS = 25
_SMALL = 100_000  # Parameters below which the products take less time than the compilation.
_ZERO = 1e-2  # Share of the largest |eigenvalue| up to which one counts as zero.
_ROUNDING = 1e-4

LossFn = Callable[[Any, Any], jax.Array]


class Point(NamedTuple):
    """Where curvature is looked at. The loss is of parameters and a batch, the same at every call."""

    loss_fn: LossFn
    params: Any
    batch: Any
    held_out: Any
    """As many other examples: what is said of the batch alone is no finding."""


class Found(NamedTuple):
    """What the search came to, with what the pictures need."""

    numbers: dict[str, Any]
    """Plain values, as `measure` gives them."""
    smallest_vector: Any
    largest_vector: Any


def point_of(apply: Callable[..., Any], loss: Loss, weights: Weights, batch: Batch, held_out: Batch) -> Point:
    """A network at rest: running statistics, no dropout.

    Args:
        apply: of a `tricks.models.Network`.
        loss: what is minimized.
        weights: of the network.
        batch: some hundred examples or more.
        held_out: as many others.

    Returns:
        The point.
    """
    loss_fn = jax.tree_util.Partial(_loss_of(apply, loss), weights.model_state)
    return Point(loss_fn, weights.params, batch, held_out)


@functools.lru_cache(maxsize=8)
def _loss_of(apply: Callable[..., Any], loss: Loss) -> Callable[..., jax.Array]:
    def loss_fn(model_state: Any, params: Any, batch: Batch) -> jax.Array:
        return objective(apply, loss, model_state)(params, batch)

    return loss_fn


def measure(point: Point, *, descent: Descent | None = None, key: jax.Array) -> Found:
    """Both ends of the Hessian, what can be gained along the smallest eigenvector and against the gradient, and whether
    the learning rate is too large for the largest.

    Three Lanczos runs of 36 products: two of the Hessian H, one of P^-1/2 H P^-1/2 as the optimizer sees it.

    Args:
        point: where.
        descent: the optimizer as it is there; None where it is not known.
        key: of the random starts.

    Returns:
        `Found`, whose numbers are `verdict` and `reason` as of `tricks.curvature.classify`, as far as they can be told
        without bounds (a minimum is then `undecided`); `flat_verdict` and `flat_reason`, the same if the gradient did
        not count; `loss`, `gradient_norm`, `gradient_tolerance`, `smallest`, `largest`, `residuals`,
        `held_out_curvature`; `escape_gain` and `descent_gain`, by how much the loss falls on both samples at the best
        distance along the smallest eigenvector and against the gradient; `learning_rate`, `stability`,
        `peak_stability` and `stability_limit`; `spectrum`, `nodes` and `weights` of two quadratures of the density;
        `minimum_ratio`, the share of the positive ones among the eigenvalues beyond a hundredth of the largest;
        `examples` and `products`. None for what there is not.

    >>> point = Point(lambda w, batch: jnp.mean(batch) * (1 - w[0] * w[1]) ** 2, jnp.zeros(2), jnp.ones(4), jnp.ones(4))
    >>> numbers = measure(point, descent=Descent(0.1, 0.1, 2.0), key=jax.random.key(0)).numbers
    >>> numbers["flat_verdict"], round(numbers["smallest"], 3), round(numbers["stability"], 3)
    ('saddle', -2.0, 0.2)

    Source: the lectures on critical points; Cohen et al., arXiv 2103.00065 and 2207.14484.
    """
    params = trees.widened(point.params)
    steps = _steps(params)
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), params)
    scale = ones if descent is None or descent.scale is None else descent.scale
    keys = jax.random.split(key, 2)
    runs = jax.tree.map(lambda one, other: np.stack([one, one, np.asarray(other, one.dtype)]), ones, scale)
    loss_fn, is_small = _as_pytree(point.loss_fn), trees.size(params) < _SMALL
    starts = jnp.stack([keys[0], keys[1], keys[0]])
    here = _compiled(_runs, is_small, "steps")(loss_fn, params, point.batch, runs, starts, steps=steps)
    projected, betas = (np.asarray(part, np.float64) for part in (here["projected"], here["betas"]))
    spectra = [np.linalg.eigh(matrix) for matrix in projected]
    # The outermost of both runs, each with its vector in the basis of its run.
    low, high = int(np.argmin([s[0][0] for s in spectra[:2]])), int(np.argmax([s[0][-1] for s in spectra[:2]]))
    ends = [
        (float(spectra[run][0][side]), float(betas[run] * abs(spectra[run][1][-1, side])))
        for run, side in ((low, 0), (high, -1))
    ]
    rows = jnp.asarray([spectra[low][1][:, 0], spectra[high][1][:, -1]], here["basis"].dtype)
    places = here["gradient"], here["basis"], jnp.array([low, high]), rows
    beside = _compiled(_along, is_small)(loss_fn, params, point.batch, point.held_out, *places)
    numbers = _numbers(point, params, ends, jax.device_get({**_scalars(here), **_scalars(beside)}), 3 * steps)
    nodes = np.stack([spectra[i][0] for i in (0, 1)])
    weights = np.stack([spectra[i][1][0] ** 2 for i in (0, 1)])
    numbers |= _stability(descent, float(spectra[2][0][-1]))
    numbers |= _spectrum(nodes, weights, max(abs(ends[0][0]), abs(ends[1][0])))
    return Found({name: _plain(value) for name, value in numbers.items()}, *beside["vectors"])


def surface(point: Point, found: Found) -> dict[str, Any]:
    """The loss on the plane of the outermost eigenvectors.

    Args:
        point: as for `measure`.
        found: as `measure` gives it.

    Returns:
        The distances `first` along the eigenvector of the smallest and `second` along that of the largest, `losses` by
        rows of the second, None where they are not finite, and the `names` of both directions.
    """
    sizes = [_length(found.numbers[name], found.numbers["loss"], point.params) for name in ("smallest", "largest")]
    sides = [np.linspace(-size, size, _POINTS) for size in sizes]
    places = (jnp.asarray(side, jnp.float32) for side in sides)
    is_small = trees.size(point.params) < _SMALL
    losses = _compiled(_grid, is_small)(
        _as_pytree(point.loss_fn), trees.widened(point.params), point.batch, found[1:], *places
    )
    return {
        "first": sides[0].tolist(),
        "second": sides[1].tolist(),
        "losses": [[_plain(float(loss)) for loss in row] for row in np.asarray(losses)],
        "names": [f"along the eigenvector of {found.numbers[name]:.3g}" for name in ("smallest", "largest")],
    }


@functools.cache
def _compiled(function: Callable[..., Any], is_small: bool, *static: str) -> Callable[..., Any]:
    options = quickly_compiled if is_small else run_once
    return jax.jit(function, static_argnames=static, compiler_options=options(make_mesh()))


def _as_pytree(loss_fn: LossFn) -> Any:
    if isinstance(loss_fn, jax.tree_util.Partial):
        return loss_fn
    # One may close over what has changed since it was traced: a new function is traced anew.
    return jax.tree_util.Partial(lambda params, batch: loss_fn(params, batch))


def _steps(params: Any) -> int:
    return min(max(min(_STEPS, _BYTES // max(3 * bytes_of(params), 1) - 1), _FEWEST), trees.size(params))


def _runs(loss_fn: LossFn, params: Any, batch: Any, scales: Any, keys: jax.Array, *, steps: int) -> dict[str, Any]:
    operator = hessian(loss_fn, params, [batch])

    # One program for the Hessian as it is and as the optimizer sees it.
    def run(start: tuple[Any, jax.Array]) -> Any:
        scale, key = start

        def apply(vector: Any) -> Any:
            product = operator.apply(jax.tree.map(jnp.multiply, scale, vector))
            return jax.tree.map(jnp.multiply, scale, product)

        return orthogonal_run(flattened(apply, operator.like), key, steps)

    projected, betas, basis = jax.lax.map(run, (scales, keys))
    return {
        "loss": operator.loss,
        "gradient": operator.gradient,
        "gradient_norm": trees.norm(operator.gradient),
        "params_norm": trees.norm(params),
        "projected": projected,
        "betas": betas,
        "basis": basis[:2],
    }


def _along(
    loss_fn: LossFn,
    params: Any,
    batch: Any,
    held_out: Any,
    gradient: Any,
    basis: jax.Array,
    runs: jax.Array,
    rows: jax.Array,
) -> dict[str, Any]:
    """The eigenvectors, and the losses of both samples along the smallest one's and against the gradient."""
    to_tree = flattened(lambda v: v, params).to_tree

    def vector(run: jax.Array, row: jax.Array) -> Any:
        return to_tree(matmul(jnp.pad(row, (0, 1)), basis[run]))

    low, high = (vector(runs[i], rows[i]) for i in (0, 1))
    down = trees.scale(-1 / jnp.maximum(trees.norm(gradient), jnp.finfo(jnp.float32).tiny), gradient)
    # Weights that are all but 0 say nothing of how far to go.
    lengths = _FARTHEST * jnp.maximum(trees.norm(params), 1.0) / 2.0 ** jnp.arange(_DISTANCES)

    def at(place: tuple[jax.Array, jax.Array]) -> jax.Array:
        point = trees.add(trees.add(params, low, place[0]), down, place[1])
        return jnp.stack([loss_fn(point, batch), loss_fn(point, held_out)])

    none = jnp.zeros(2 * _DISTANCES)
    one_way = jnp.concatenate([lengths, -lengths])
    places = jnp.concatenate([jnp.zeros(1), one_way, none]), jnp.concatenate([jnp.zeros(1), none, one_way])
    losses = jax.lax.map(at, places)
    curvature = trees.dot(low, hessian(loss_fn, params, [held_out]).apply(low))
    return {"vectors": (low, high), "losses": losses, "held_out_curvature": curvature}


def _grid(loss_fn: LossFn, params: Any, batch: Any, directions: Any, first: jax.Array, second: jax.Array) -> jax.Array:
    def at(place: tuple[jax.Array, jax.Array]) -> jax.Array:
        return loss_fn(trees.add(trees.add(params, directions[0], place[1]), directions[1], place[0]), batch)

    b, a = jnp.meshgrid(second, first, indexing="ij")
    return jax.lax.map(at, (b.ravel(), a.ravel())).reshape(b.shape)


def _scalars(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in found if name not in ("gradient", "basis", "projected", "vectors")}


def _numbers(
    point: Point, params: Any, ends: list[tuple[float, float]], here: Mapping[str, Any], products: int
) -> dict[str, Any]:
    (smallest, low_residual), (largest, high_residual) = ends
    norm, gradient_norm = max(abs(smallest), abs(largest)), float(here["gradient_norm"])
    like = Operator(jax.tree_util.Partial(jnp.add), params, here["loss"], None, "", trees.epsilon(params))
    tolerance = rounding_of_gradient(like, norm, params)[1]
    held_out = float(here["held_out_curvature"])
    found = Ends(
        smallest=smallest,
        largest=largest,
        residuals=(low_residual, high_residual),
        smallest_vector=None,
        largest_vector=None,
        bounds=(-math.inf, math.inf),
        seen=(smallest, largest),
        confidence=0.0,
        sign_tolerance=_ROUNDING * norm,
        tolerance=_ROUNDING * norm,
        spectrum=None,
        products=products,
    )
    verdict, reason = verdict_of(found, gradient_norm, tolerance, held_out)
    flat_verdict, flat_reason = verdict_of(found, 0.0, tolerance, held_out)
    losses = here["losses"]
    half = 2 * _DISTANCES
    return {
        "verdict": verdict,
        "reason": reason,
        "flat_verdict": flat_verdict,
        "flat_reason": flat_reason,
        "loss": float(here["loss"]),
        "gradient_norm": gradient_norm,
        "gradient_tolerance": float(tolerance),
        "smallest": smallest,
        "largest": largest,
        "residuals": [low_residual, high_residual],
        "held_out_curvature": held_out,
        "escape_gain": _gain(losses[0], losses[1 : half + 1]) if smallest < 0 else 0.0,
        "descent_gain": _gain(losses[0], losses[half + 1 :]),
        "examples": len(jax.tree.leaves(point.batch)[0]),
        "products": products,
    }


def _gain(before: np.ndarray, losses: np.ndarray) -> float:
    falls = np.where(np.isfinite(losses), before - losses, -np.inf)
    return max(float(np.max(np.min(falls, axis=1))), 0.0)


def _stability(descent: Descent | None, largest: float) -> dict[str, Any]:
    if descent is None:
        return dict.fromkeys(("learning_rate", "stability", "peak_stability", "stability_limit"))
    return {
        "learning_rate": descent.learning_rate,
        "stability": descent.learning_rate * largest,
        "peak_stability": descent.peak_learning_rate * largest,
        "stability_limit": descent.limit,
    }


def _spectrum(nodes: np.ndarray, weights: np.ndarray, norm: float) -> dict[str, Any]:
    positive, negative = weights[nodes > _ZERO * norm].sum(), weights[nodes < -_ZERO * norm].sum()
    return {
        "spectrum": {"nodes": nodes.tolist(), "weights": weights.tolist()},
        "minimum_ratio": float(positive / (positive + negative)) if positive + negative > 0 else None,
    }


def _length(value: float, loss: float, params: Any) -> float:
    from tricks.diagnosis.spectrum import picture_length

    return picture_length(value, loss, params)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
