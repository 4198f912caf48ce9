"""A linear layer in half a precision, whose gradients are sums in float32."""

import jax
import jax.numpy as jnp
from flax import nnx

__all__ = ["applied"]


def applied(linear: nnx.Linear, x: jax.Array) -> jax.Array:
    """A linear layer of its input: that of Flax itself, but where inputs and kernel are narrower than float32.

    There the gradients by kernel and bias add up the examples in float32, on every platform and over all devices. By
    themselves XLA's sums over devices are in the type of the layer, and so are parts of its sums on CPU.

    Args:
        linear: the layer.
        x: (..., inputs).

    Returns:
        (..., outputs), in the type that Flax gives.

    >>> linear = nnx.Linear(2, 3, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    >>> applied(linear, jnp.ones((4, 2), jnp.bfloat16)).dtype
    dtype(bfloat16)
    """
    kernel = linear.kernel[...]
    if max(jnp.finfo(part.dtype).bits for part in (x, kernel)) >= 32:
        return linear(x)
    outputs = _product(x, kernel)
    if linear.bias is None:
        return outputs
    # As if added in their own type: a single sum is rounded alike.
    bias = linear.bias[...].astype(jnp.float32).reshape((1,) * (x.ndim - 1) + (-1,))
    return (outputs.astype(jnp.float32) + bias).astype(outputs.dtype)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _backward(held: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = held
    examples = tuple(range(x.ndim - 1))
    by_kernel = jax.lax.dot_general(x, gradient, ((examples, examples), ((), ())), preferred_element_type=jnp.float32)
    return (gradient @ kernel.T).astype(x.dtype), by_kernel.astype(kernel.dtype)


_product.defvjp(_forward, _backward)
