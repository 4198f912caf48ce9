"""Convolutions in loops, as fast on a CPU as outside of them.

XLA for CPUs has fast code for one order of a convolution's axes. It turns others into that one, but not in the body of
a loop, where it falls back to code that is ten times slower: https://github.com/jax-ml/jax/issues/12868. Gradients of
convolutions have other orders, and whole epochs are loops here.
"""

from typing import Any

from jax import lax

_CONVOLUTION = lax.conv_general_dilated_p


def enable() -> None:
    """Lets all convolutions of this process come to XLA in the order that it is fast for; harmless when repeated.

    Only the order of axes is another. Nothing changes where JAX has no such place, and on other devices.

    >>> enable()
    """
    try:
        from jax.interpreters import mlir

        rules = mlir._platform_specific_lowerings["cpu"]
        entry = rules.get(_CONVOLUTION) or mlir._lowerings[_CONVOLUTION]
        lower = entry.rule
    except (ImportError, AttributeError, KeyError):
        return
    if getattr(lower, "orders_axes", False):
        return
    ordered = mlir.lower_fun(_ordered, multiple_results=False)

    def rule(context: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
        fast = params["batch_group_count"] != 1 or params["dimension_numbers"] == _fast(context.avals_in[0].ndim)
        return (lower if fast else ordered)(context, lhs, rhs, **params)

    rule.orders_axes = True  # type: ignore[attr-defined]
    mlir.register_lowering(_CONVOLUTION, rule, platform="cpu")


def _fast(dimensions: int) -> lax.ConvDimensionNumbers:
    last = dimensions - 1
    places = tuple(range(1, last))
    kernel = (last, last - 1, *range(dimensions - 2))
    return lax.ConvDimensionNumbers((0, last, *places), kernel, (0, last, *places))


def _ordered(lhs: Any, rhs: Any, **params: Any) -> Any:
    of_lhs, of_rhs, of_out = params["dimension_numbers"]
    lhs = lax.transpose(lhs, (of_lhs[0], *of_lhs[2:], of_lhs[1]))
    rhs = lax.transpose(rhs, (*of_rhs[2:], of_rhs[1], of_rhs[0]))
    out = _CONVOLUTION.bind(lhs, rhs, **{**params, "dimension_numbers": _fast(lhs.ndim)})
    # Axis i of the result comes from the place of i in the order that it was computed in.
    order = (of_out[0], *of_out[2:], of_out[1])
    return lax.transpose(out, tuple(order.index(axis) for axis in range(lhs.ndim)))
