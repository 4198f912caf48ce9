"""Networks as pure functions over plain dicts. The only module that imports Flax."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tricks.random_words import random_words

Params = dict[str, Any]
ModelState = dict[str, Any]
Apply = Callable[..., tuple[jax.Array, ModelState]]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "linear": lambda x: x,
}
INITIALIZERS = ("he", "glorot", "zeros", "identical")


class _MLP(nnx.Module):
    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: Callable[[jax.Array], jax.Array],
        batch_norm: bool,
        batch_norm_momentum: float,
        dropout: float,
        initializer: str,
        rngs: nnx.Rngs,
    ) -> None:
        self.layers = len(sizes) - 1
        self.activation = activation
        self.dropout = dropout
        for i in range(self.layers):
            hidden = i < self.layers - 1
            normalized = hidden and batch_norm
            # A bias before batch normalization has no effect and a gradient of pure rounding noise, which Adam
            # would amplify.
            linear = nnx.Linear(
                sizes[i],
                sizes[i + 1],
                use_bias=not normalized,
                kernel_init=_kernel_init(initializer, first=i == 0, last=not hidden),
                rngs=rngs,
            )
            setattr(self, f"linear_{i}", linear)
            if normalized:
                # The fast variance E[x^2] - E[x]^2 loses most of its digits when the mean is large.
                norm = nnx.BatchNorm(
                    sizes[i + 1], momentum=batch_norm_momentum, use_fast_variance=False, use_bias=True, rngs=rngs
                )
                setattr(self, f"norm_{i}", norm)

    def __call__(self, x: jax.Array, rng: jax.Array | None, batch_statistics: bool) -> jax.Array:
        for i in range(self.layers):
            x = getattr(self, f"linear_{i}")(x)
            if i < self.layers - 1:
                if hasattr(self, f"norm_{i}"):
                    x = getattr(self, f"norm_{i}")(x, use_running_average=not batch_statistics)
                x = self.activation(x)
                if rng is not None and self.dropout > 0:
                    x = _drop(x, self.dropout, jax.random.fold_in(rng, i))
        return x


def build(
    *,
    input_size: int,
    output_size: int,
    hidden_sizes: tuple[int, ...] = (128, 128),
    activation: str = "relu",
    batch_norm: bool = False,
    batch_norm_momentum: float = 0.9,
    dropout: float = 0.0,
    initializer: str = "he",
    key: jax.Array,
) -> tuple[Apply, Params, ModelState]:
    """Builds a multilayer perceptron: linear, batch normalization, activation, dropout, ..., linear.

    Args:
        input_size: features of one example.
        output_size: outputs of one example.
        hidden_sizes: units of each hidden layer; empty for a linear model.
        activation: one of `ACTIVATIONS`.
        batch_norm: normalize each hidden layer before its activation.
        batch_norm_momentum: p of the moving averages: mean <- p mean + (1 - p) batch mean.
        dropout: probability that a hidden unit is dropped in training; survivors are scaled by 1 / (1 - dropout).
        initializer: of the kernels: `he` or `glorot` (normal), `zeros`, or `identical`: all units of a hidden layer
            alike, incoming and outgoing, so that gradients keep them alike forever (He's scale). Biases start at zero.
        key: a JAX random key for the initial weights.

    Returns:
        `apply(params, model_state, x, *, rng=None, batch_statistics=None) -> (outputs, new_model_state)` with x of
        shape (batch, input_size) and outputs of shape (batch, output_size), and the initial `params` and
        `model_state`, plain nested dicts. `rng=None` means evaluation: moving averages and no dropout, and
        `model_state` comes back as it was. With a key: batch statistics and dropout. `batch_statistics` True or False
        chooses those apart from dropout.

    Raises:
        ValueError: for an unknown activation or initializer, a size below 1, or a dropout outside [0, 1).

    >>> apply, params, state = build(input_size=4, output_size=2, hidden_sizes=(8,), key=jax.random.key(0))
    >>> outputs, _ = apply(params, state, jnp.ones((3, 4)))
    >>> outputs.shape
    (3, 2)
    >>> sorted(params)
    ['linear_0', 'linear_1']

    Source: the lectures; He et al., arXiv 1502.01852; Glorot and Bengio 2010; Ioffe and Szegedy, arXiv 1502.03167;
    Srivastava et al. 2014.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed: {', '.join(ACTIVATIONS)}")
    if initializer not in INITIALIZERS:
        raise ValueError(f"initializer is {initializer!r}; allowed: {', '.join(INITIALIZERS)}")
    sizes = (input_size, *hidden_sizes, output_size)
    if min(sizes) < 1:
        raise ValueError(f"sizes are {sizes}; allowed: 1 or more each")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; allowed: 0 <= dropout < 1")
    module = _MLP(
        sizes, ACTIVATIONS[activation], batch_norm, batch_norm_momentum, dropout, initializer, nnx.Rngs(params=key)
    )
    graphdef, params, model_state = nnx.split(module, nnx.Param, nnx.BatchStat)  # type: ignore[misc]

    def apply(
        params: Params,
        model_state: ModelState,
        x: jax.Array,
        *,
        rng: jax.Array | None = None,
        batch_statistics: bool | None = None,
    ) -> tuple[jax.Array, ModelState]:
        if batch_statistics is None:
            batch_statistics = rng is not None
        module: _MLP = nnx.merge(graphdef, params, model_state)
        outputs = module(x, rng, batch_statistics)
        if not batch_statistics:
            return outputs, model_state
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    return apply, nnx.to_pure_dict(params), nnx.to_pure_dict(model_state)


def _drop(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    # Sixteen random bits a unit. The rate is thereby rounded to a multiple of 2^-16, and the survivors are scaled by
    # what it was rounded to.
    units = x.shape[-1]
    words = _random_words(key, (*x.shape[:-1], -(-units // 2)))
    halves = jnp.concatenate([words & 0xFFFF, words >> 16], axis=-1)[..., :units]
    kept = max(round((1 - rate) * 2**16), 1)
    return jnp.where(halves < kept, x * (2**16 / kept), 0)


def _random_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    # jax.random.bits spends some sixty operations a word, a tenth of a small step. A mask needs less.
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    return random_words(first, second, shape)


def count_parameters(params: Params) -> int:
    """Number of scalars in a pytree of arrays.

    >>> count_parameters({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
    9
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _kernel_init(name: str, *, first: bool, last: bool) -> Callable[..., jax.Array]:
    if name == "he":
        return jax.nn.initializers.he_normal()
    if name == "glorot":
        return jax.nn.initializers.glorot_normal()
    if name == "zeros":
        return jax.nn.initializers.zeros

    def identical(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        fan_in, fan_out = shape
        # Inputs and outputs of the whole network stay distinct; units of hidden layers do not.
        drawn = jax.random.normal(key, (fan_in if first else 1, fan_out if last else 1), dtype)
        return jnp.broadcast_to(drawn * jnp.sqrt(2 / fan_in).astype(dtype), shape)

    return identical
