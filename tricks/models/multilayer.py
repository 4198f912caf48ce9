"""The multilayer perceptron that is built in."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tricks.arguments import require_choice, require_decay, require_not_negative
from tricks.models import statistics
from tricks.models.linear import applied
from tricks.models.network import Apply, ModelState, Network, Params
from tricks.models.noise import disturb, drop, is_on

__all__ = ["ACTIVATIONS", "INITIALIZERS", "build", "multilayer_perceptron", "perceptron"]

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
        initializer: str,
        rngs: nnx.Rngs,
    ) -> None:
        self.layers = len(sizes) - 1
        self.activation = activation
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
                # The fast variance E[x^2] - E[x]^2 loses most of its digits when the mean is large. A momentum of 0
                # leaves the statistics of the batch, which `_moved` mixes in.
                norm = nnx.BatchNorm(sizes[i + 1], momentum=0.0, use_fast_variance=False, use_bias=True, rngs=rngs)
                statistics.keep_apart(norm)
                setattr(self, f"norm_{i}", norm)

    def __call__(
        self,
        x: jax.Array,
        rng: jax.Array | None,
        batch_statistics: bool,
        dropout: float | jax.Array,
        noise: float | jax.Array,
        input_noise: float | jax.Array,
    ) -> jax.Array:
        # A key that no mask has.
        noise_key = None if rng is None else jax.random.fold_in(rng, self.layers)
        x = disturb(x, input_noise, noise_key, 0)
        for i in range(self.layers):
            x = applied(getattr(self, f"linear_{i}"), x)
            if i < self.layers - 1:
                if hasattr(self, f"norm_{i}"):
                    x = getattr(self, f"norm_{i}")(x, use_running_average=not batch_statistics)
                x = self.activation(disturb(x, noise, noise_key, i + 1))
                if rng is not None and is_on(dropout):
                    x = drop(x, dropout, jax.random.fold_in(rng, i))
        return x


def multilayer_perceptron(
    *,
    input_size: int,
    output_size: int,
    hidden_sizes: tuple[int, ...] = (128, 128),
    activation: str = "relu",
    batch_norm: bool = False,
    batch_norm_momentum: float | jax.Array = 0.9,
    dropout: float | jax.Array = 0.0,
    noise: float | jax.Array = 0.0,
    input_noise: float | jax.Array = 0.0,
    initializer: str = "he",
) -> Network:
    """A multilayer perceptron: linear, batch normalization, activation, dropout, ..., linear.

    Args:
        input_size: features of one example.
        output_size: outputs of one example.
        hidden_sizes: units of each hidden layer; empty for a linear model.
        activation: one of `ACTIVATIONS`.
        batch_norm: normalize each hidden layer before its activation.
        batch_norm_momentum: p of the moving averages: mean <- p mean + (1 - p) batch mean; a number, traced or not.
        dropout: probability that a hidden unit is dropped in training; survivors are scaled by 1 / (1 - dropout). A
            number, traced or not; the number 0 leaves dropout out of the program.
        noise: standard deviation of what is added in training to the input of every activation, which has one of 1
            where it is normalized; a number, traced or not; the number 0 leaves it out of the program.
        input_noise: likewise, to every feature.
        initializer: of the kernels: `he` or `glorot` (normal), `zeros`, or `identical`: all units of a hidden layer
            alike, incoming and outgoing, so that gradients keep them alike forever (He's scale). Biases start at zero.

    Returns:
        A `Network` with x of shape (batch, input_size) and outputs of shape (batch, output_size).

    Raises:
        ValueError: for an unknown activation or initializer, a size below 1, a dropout or momentum outside [0, 1), a
            negative noise.

    >>> network = multilayer_perceptron(input_size=4, output_size=2, hidden_sizes=(8,))
    >>> params, state = network.init(jax.random.key(0))
    >>> outputs, _ = network.apply(params, state, jnp.ones((3, 4)))
    >>> outputs.shape
    (3, 2)
    >>> sorted(params)
    ['linear_0', 'linear_1']

    Source: the lectures; He et al., arXiv 1502.01852; Glorot and Bengio 2010; Ioffe and Szegedy, arXiv 1502.03167;
    Srivastava et al. 2014; noise: Rasmus et al., arXiv 1507.02672, whose supervised baseline has it.
    """
    require_choice("activation", activation, ACTIVATIONS)
    require_choice("initializer", initializer, INITIALIZERS)
    sizes = (input_size, *hidden_sizes, output_size)
    if min(sizes) < 1:
        raise ValueError(f"sizes are {sizes}; allowed: 1 or more each")
    require_decay("dropout", dropout)
    require_not_negative("noise", noise)
    require_not_negative("input_noise", input_noise)
    require_decay("batch_norm_momentum", batch_norm_momentum)

    def init(key: jax.Array) -> tuple[Params, ModelState]:
        module = _MLP(sizes, ACTIVATIONS[activation], batch_norm, initializer, nnx.Rngs(params=key))
        _, params, model_state = nnx.split(module, nnx.Param, nnx.BatchStat)  # type: ignore[misc]
        return nnx.to_pure_dict(params), nnx.to_pure_dict(model_state)

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
        module: _MLP = nnx.merge(_graph(sizes, activation, batch_norm), params, model_state)
        outputs = module(x, rng, batch_statistics, dropout, noise, input_noise)
        if not batch_statistics:
            return outputs, model_state
        of_batch = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))
        return outputs, _moved(model_state, of_batch, batch_norm_momentum)

    return Network(init, apply)


def build(*, key: jax.Array, **options: Any) -> tuple[Apply, Params, ModelState]:
    """A multilayer perceptron with its initial weights.

    Args:
        key: a JAX random key for the initial weights.
        options: as for `multilayer_perceptron`.

    Returns:
        `apply`, `params` and `model_state` of its `Network`.

    Raises:
        ValueError: as `multilayer_perceptron`.

    >>> apply, params, state = build(input_size=4, output_size=2, hidden_sizes=(8,), key=jax.random.key(0))
    >>> apply(params, state, jnp.ones((3, 4)))[0].shape
    (3, 2)
    """
    network = multilayer_perceptron(**options)
    return network.apply, *network.init(key)


def perceptron(example: Any, outputs: int, **options: Any) -> Network:
    """The multilayer perceptron for features of any shape, made as a network of one's own is.

    Args:
        example: one batch of features, or its `jax.ShapeDtypeStruct`: one array of floating numbers whose first
            dimension is that of examples; the others are made one.
        outputs: of one example.
        options: as for `multilayer_perceptron`.

    Returns:
        A `Network` with x as the example and outputs of shape (batch, outputs).

    Raises:
        ValueError: the features are no such array; and as `multilayer_perceptron`.

    >>> network = perceptron(jax.ShapeDtypeStruct((32, 8, 8, 1), jnp.float32), 10, hidden_sizes=(16,))
    >>> params, state = network.init(jax.random.key(0))
    >>> params["linear_0"]["kernel"].shape, network.apply(params, state, jnp.ones((5, 8, 8, 1)))[0].shape
    ((64, 16), (5, 10))
    """
    if not isinstance(example, jax.Array | jax.ShapeDtypeStruct) and not hasattr(example, "dtype"):
        found = f"a {type(example).__name__} of {len(jax.tree.leaves(example))} arrays"
    elif not jnp.issubdtype(example.dtype, jnp.floating) or not example.shape:
        found = f"an array of {example.dtype} of shape {example.shape}"
    else:
        found = ""
    if found:
        raise ValueError(
            f"the features are {found}; the built-in perceptron takes one array of floating numbers of shape (batch, "
            "...): write a network for them and name it in model.build"
        )
    of_one = example.shape[1:]
    network = multilayer_perceptron(input_size=math.prod(of_one), output_size=outputs, **options)

    def apply(params: Params, model_state: ModelState, x: jax.Array, **mode: Any) -> tuple[jax.Array, ModelState]:
        return network.apply(params, model_state, x.reshape(*x.shape[: x.ndim - len(of_one)], -1), **mode)

    return Network(network.init, apply)


@functools.cache
def _graph(sizes: tuple[int, ...], activation: str, batch_norm: bool) -> Any:
    # Nothing is drawn for the graph alone, so its initializer does not matter.
    abstract = nnx.eval_shape(lambda: _MLP(sizes, ACTIVATIONS[activation], batch_norm, "zeros", nnx.Rngs(0)))
    return nnx.split(abstract, nnx.Param, nnx.BatchStat)[0]


def _moved(averages: ModelState, of_batch: ModelState, momentum: float | jax.Array) -> ModelState:
    def mixed(average: jax.Array, batch: jax.Array) -> jax.Array:
        return jnp.asarray(momentum, average.dtype) * average + jnp.asarray(1 - momentum, average.dtype) * batch

    return jax.tree.map(mixed, averages, of_batch)


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
