"""A way out of a saddle along negative curvature, that never makes the loss worse."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require, require_boolean, require_integer, require_key, require_known
from tricks.curvature import trees
from tricks.curvature.attempt import ESCAPED, NO_DERIVATIVE, PERTURBED, Escape, Options, attempt
from tricks.curvature.batches import grouped, mean_over
from tricks.curvature.division import Division, division_of
from tricks.curvature.eigenpairs import require_symmetric
from tricks.curvature.products import Loss, explained, hessian, of_loss
from tricks.curvature.snapshot import Snapshot, snapshot
from tricks.masks import marked
from tricks.memory import require_memory

_MOST_PRODUCTS = 2**30


def escape(
    loss_fn: Loss,
    params: Any,
    batches: Sequence[Any] | None = None,
    *,
    held_out: Sequence[Any] | None = None,
    key: jax.Array,
    min_decrease: float = 0.01,
    max_products: int = 120,
    basis_size: int = 40,
    noise: bool = False,
    mask: Any = None,
) -> tuple[Any, Escape]:
    """Leaves a saddle along its most negative curvature, where that lowers the loss; else gives the parameters back.

    Lanczos from a random start finds a direction u of negative curvature, by Hessian-vector products. On the held-out
    batches its curvature must be at least half as negative. Then both ways along u are tried, shorter and longer, and
    a step is taken only where the loss falls enough on both, as measured. One call costs about as much as a dozen
    gradients at a clear saddle, and `max_products` of them at most where there is no way out.

    Args:
        loss_fn: `loss_fn(params) -> scalar`, or with `batches` `loss_fn(params, batch) -> scalar`, the mean over the
            batch; the same at every call (no dropout, or one mask). It is traced at every call of `escape`, and
            compiled where it differs from those before in more than the arrays that it closes over.
        params: the point, any pytree of floating-point arrays.
        batches: pytrees of arrays whose first dimension counts examples; None for a loss of the parameters alone.
        held_out: other batches of the same kind. None takes the loss as exact: right for all the data, wrong for a
            sample, whose curvature is always partly its own.
        key: of the random start.
        min_decrease: share of what can be gained that a step must bring. That is the loss, or what the curvature gives
            over a tenth of the length of the parameters that move, |eigenvalue| / 2 times (1 + length / 10)^2, where
            that is less, as it is where the loss has a large constant in it. (Where they are hundreds long, take the
            constant away, or ask for less.)
        max_products: of Hessian-vector products.
        basis_size: vectors of the size of the parameters that are kept in memory; 8 more at most.
        noise: where derivatives vanish, take Gaussian noise instead: as much of it as raises the loss by 1 % at most.
            It alone leaves such points, as of deep networks from zero.
        mask: the part of the parameters that may move: a pytree of booleans (or a prefix of one); None for all.

    Returns:
        The new parameters (bit for bit the old ones where there is no way out), and the evidence, whose `reason` is
        one of `OUTCOMES`.

    Raises:
        ValueError: for arguments out of range, parameters that are not floating-point, a loss that is not a scalar, or
            batches without examples, or a loss that is not the same at every call, or whose Hessian is not symmetric.

    >>> new, found = escape(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2), key=jax.random.key(0))
    >>> found.reason, bool(found.loss_after < 0.1), int(found.products)
    ('escaped', True, 2)

    Source: the lectures on critical points; Royer et al., arXiv 1803.02924, for Lanczos in place of the matrix.
    """
    require_key("key", key)
    require_options(min_decrease, max_products, basis_size, noise)
    if held_out is not None and batches is None:
        raise ValueError("held_out is given without batches; allowed: with batches of the same kind")
    chosen, _ = trees.split(params, mask)
    trees.require_floating("params", chosen)
    require_memory("basis_size", min(basis_size, trees.size(chosen)), chosen)
    options = Options(min_decrease, basis_size, noise)
    groups = [None if part is None else grouped(part) for part in (batches, held_out)]
    marks = None if mask is None else tuple(jax.tree.leaves(marked(mask, params)))
    kinds = [list(itertools.chain(*parts)) for parts in zip(*(part for part in groups if part), strict=True)]
    with explained():
        losses = snapshot(of_loss(loss_fn), *trees.split(trees.widened(params), mask), *kinds)
    if losses.calls_back:
        hessian(loss_fn, params, batches, mask=mask)  # Which refuses one that is not the same at every call.
    new, found = _escape(losses, params, *groups, key, max_products, options, marks, division_of(chosen))
    if not isinstance(found.outcome, jax.core.Tracer) and found.outcome == NO_DERIVATIVE:
        require_symmetric(hessian(loss_fn, params, batches, mask=mask), key)
        raise ValueError("the Hessian is not symmetric; is a gradient custom or stopped?")
    return new, found


def require_options(min_decrease: Any, max_products: Any, basis_size: Any, noise: Any) -> None:
    """Refuses what is out of range.

    Raises:
        ValueError: with the name, the value, and what is allowed.
    """
    require_known("min_decrease", min_decrease)
    require_known("basis_size", basis_size)
    require("min_decrease", min_decrease, "0 <= min_decrease < 1", lambda x: 0 <= x < 1)
    require_integer("max_products", max_products, least=3, most=_MOST_PRODUCTS)
    require_integer("basis_size", basis_size, least=5)
    require_boolean("noise", noise)


@partial(jax.jit, static_argnames=("options", "marks", "division"))
def _escape(
    losses: Snapshot,
    params: Any,
    batches: Any,
    held_out: Any,
    key: jax.Array,
    max_products: jax.Array,
    options: Options,
    marks: Any,
    division: Division | None,
) -> tuple[Any, Escape]:
    mask = None if marks is None else jax.tree.unflatten(jax.tree.structure(params), marks)

    def over(part: Any) -> Callable[[Any], jax.Array]:
        return lambda p: mean_over(partial(losses.loss, *trees.split(trees.widened(p), mask)), *part)

    value_fn = over((None, None) if batches is None else batches)
    held_out_value_fn = None if held_out is None else over(held_out)
    step, found = attempt(value_fn, held_out_value_fn, params, key, max_products, options, mask, division=division)
    moved = (found.outcome == ESCAPED) | (found.outcome == PERTURBED)
    new = optax.apply_updates(params, step)
    return jax.tree.map(lambda after, before: jnp.where(moved, after, before), new, params), found
