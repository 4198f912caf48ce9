"""One of two computations, chosen by a value."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["when"]


def when(condition: Any, then: Callable[..., Any], otherwise: Callable[..., Any], *operands: Any) -> Any:
    """Computes one of two, and nothing of the other, inside `jit` and outside.

    Args:
        condition: a boolean scalar.
        then: of the operands, where the condition holds.
        otherwise: of the operands, where it does not; returns the same types.
        operands: pytrees of arrays.

    Returns:
        What the chosen one returns.

    >>> double = jax.jit(lambda x: when(x > 0, lambda: 2 * x, lambda: x))
    >>> int(double(3)), int(double(-3)), when(True, lambda x: 2 * x, lambda x: x, 3)
    (6, -3, 6)
    """
    if isinstance(condition, jax.core.Tracer):
        return jax.lax.cond(condition, then, otherwise, *operands)
    # Outside jit a conditional would be compiled anew at every call.
    return then(*operands) if condition else otherwise(*operands)
