"""Networks of the corpus: perceptrons with any start, convolutions, recurrence, and families with few parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tricks import models

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": nnx.relu, "tanh": jnp.tanh, "gelu": nnx.gelu}


def perceptron(
    example: Any,
    outputs: int,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: str = "relu",
    batch_norm: bool = False,
    initializer: str = "he",
    scale: float = 1.0,
    last_scale: float = 1.0,
    bias: float = 0.0,
    last_bias: float = 0.0,
) -> models.Network:
    """The built-in one from another start: kernels times `scale`, the last also times `last_scale`, biases as given."""
    network = models.perceptron(
        example,
        outputs,
        hidden_sizes=hidden_sizes,
        activation=activation,
        batch_norm=batch_norm,
        initializer=initializer,
    )
    last = f"linear_{len(hidden_sizes)}"

    def init(key: jax.Array) -> Any:
        params, state = network.init(key)
        for name, layer in params.items():
            if name.startswith("linear"):
                layer["kernel"] = layer["kernel"] * scale * (last_scale if name == last else 1.0)
                if "bias" in layer:
                    layer["bias"] = layer["bias"] + (last_bias if name == last else bias)
        return params, state

    return models.Network(init, network.apply)


class _Convolutions(nnx.Module):
    def __init__(self, shape: tuple[int, ...], outputs: int, rngs: nnx.Rngs, options: dict[str, Any]) -> None:
        self.activation: str = options["activation"]
        self.strided: bool = options["strided"]
        first, second = options["channels"]
        start = {
            "kernel_init": _kernel(options["scale"]),
            "bias_init": nnx.initializers.constant(options["bias"]),
            "rngs": rngs,
        }
        self.first = nnx.Conv(shape[-1], first, (3, 3), **start)
        self.second = nnx.Conv(first, second, (3, 3), 2 if self.strided else 1, **start)
        self.norm = nnx.BatchNorm(second, momentum=0.9, rngs=rngs) if options["batch_norm"] else None
        self.dropout = nnx.Dropout(options["dropout"], rngs=rngs)
        size = second * (shape[0] // 2) * (shape[1] // 2)
        self.last = nnx.Linear(size, outputs, rngs=rngs, kernel_init=_kernel(options["scale"] * options["last_scale"]))

    def __call__(self, x: jax.Array) -> jax.Array:
        act = ACTIVATIONS[self.activation]
        x = self.second(act(self.first(x)))
        x = act(self.norm(x) if self.norm else x)
        if not self.strided:
            x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        return self.last(self.dropout(x.reshape(len(x), -1)))


def convolutions(
    example: Any,
    outputs: int,
    channels: tuple[int, ...] = (8, 16),
    activation: str = "relu",
    strided: bool = False,
    batch_norm: bool = False,
    dropout: float = 0.0,
    scale: float = 1.0,
    last_scale: float = 1.0,
    bias: float = 0.0,
) -> models.Network:
    """Two convolutions of 3 x 3, halved once by pooling or by a stride, and a linear layer."""
    options = {"channels": channels, "activation": activation, "strided": strided, "batch_norm": batch_norm}
    options |= {"dropout": dropout, "scale": scale, "last_scale": last_scale, "bias": bias}
    return models.from_nnx(lambda rngs: _Convolutions(example.shape[1:], outputs, rngs, options))


def _kernel(scale: float) -> Any:
    return nnx.initializers.variance_scaling(2.0 * scale**2, "fan_in", "normal")


def recurrent(
    example: Any, outputs: int, width: int = 32, gain: float = 1.0, activation: str = "tanh"
) -> models.Network:
    """Reads the rows of an image one after another: h <- act(W h + U x), W a rotation times `gain`."""
    act = {**ACTIVATIONS, "linear": lambda x: x}[activation]
    columns = example.shape[2]

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, 3)
        step = gain * jax.random.orthogonal(keys[0], width)
        read = jax.random.normal(keys[1], (columns, width)) / columns**0.5
        last = jax.random.normal(keys[2], (width, outputs)) / width**0.5
        return {
            "recurrent": {"kernel": step, "bias": jnp.zeros(width)},
            "input": {"kernel": read},
            "output": {"kernel": last, "bias": jnp.zeros(outputs)},
        }, {}

    def apply(params: Any, state: Any, x: jax.Array, *, rng: Any = None) -> Any:
        def read_row(h: jax.Array, row: jax.Array) -> Any:
            return act(
                h @ params["recurrent"]["kernel"] + row @ params["input"]["kernel"] + params["recurrent"]["bias"][None]
            ), None

        rows = jnp.moveaxis(x.reshape(len(x), -1, columns), 1, 0)
        h, _ = jax.lax.scan(read_row, jnp.zeros((len(x), width), x.dtype), rows)
        return h @ params["output"]["kernel"] + params["output"]["bias"][None], state

    return models.from_functions(init, apply)


def residual(example: Any, outputs: int, width: int = 32, depth: int = 8, gain: float = 0.3) -> models.Network:
    """x <- x + gain * W relu(V x) in each of `depth` blocks, without normalization."""
    size = 1
    for n in example.shape[1:]:
        size *= n

    def init(key: jax.Array) -> Any:
        make = lambda key, rows, columns: {  # noqa: E731
            "kernel": jax.random.normal(key, (rows, columns)) * (2 / rows) ** 0.5,
            "bias": jnp.zeros(columns),
        }
        keys = jax.random.split(key, 2 * depth + 2)
        params = {"first": make(keys[0], size, width), "last": make(keys[1], width, outputs)}
        for block in range(depth):
            params[f"inner_{block}"] = make(keys[2 * block + 2], width, width)
            params[f"outer_{block}"] = make(keys[2 * block + 3], width, width)
        return params, {}

    def apply(params: Any, state: Any, x: jax.Array, *, rng: Any = None) -> Any:
        linear = lambda name, x: x @ params[name]["kernel"] + params[name]["bias"][None]  # noqa: E731
        x = linear("first", x.reshape(len(x), -1))
        for block in range(depth):
            x = x + gain * linear(f"outer_{block}", nnx.relu(linear(f"inner_{block}", x)))
        return linear("last", x), state

    return models.from_functions(init, apply)


def wave(example: Any, outputs: int, frequency: float = 8.0, spread: float = 0.05) -> models.Network:
    """a sin(w x + b) of the features as they come, w from near `frequency`: its loss has a minimum for every few w."""

    def init(key: jax.Array) -> Any:
        w, a = jax.random.normal(key, (2,))
        return {
            "inner": {"kernel": (frequency + spread * w).reshape(1, 1), "bias": jnp.zeros(1)},
            "outer": {"kernel": (0.5 + 0.1 * a).reshape(1, 1)},
        }, {}

    def apply(params: Any, state: Any, x: jax.Array, *, rng: Any = None) -> Any:
        inner = x @ params["inner"]["kernel"] + params["inner"]["bias"][None]
        return jnp.sin(inner) @ params["outer"]["kernel"], state

    return models.from_functions(init, apply)


def bumps(example: Any, outputs: int, start: tuple[float, ...] = (0.9, 0.9), spread: float = 0.1) -> models.Network:
    """A sum of Gaussian bumps of one width with a height each, the centres from near `start`."""
    centres = jnp.array(start).reshape(-1, example.shape[-1])

    def init(key: jax.Array) -> Any:
        drawn = spread * jax.random.normal(key, centres.shape)
        return {
            "inner": {"centres": centres + drawn},
            "outer": {"kernel": jnp.ones((len(centres), outputs)), "bias": jnp.zeros(outputs)},
        }, {}

    def apply(params: Any, state: Any, x: jax.Array, *, rng: Any = None) -> Any:
        away = ((x[:, None] - params["inner"]["centres"][None]) ** 2).sum(axis=-1)
        # The features have a deviation of 1 for 3.46 of the target's.
        return jnp.exp(-6 * away) @ params["outer"]["kernel"] + params["outer"]["bias"][None], state

    return models.from_functions(init, apply)


def polynomial(example: Any, outputs: int, depth: int = 3, start: float = 0.0) -> models.Network:
    """A linear model whose weights are the product of `depth` ones, W x = (w_1 * ... * w_depth) x, all from `start`."""
    size = example.shape[-1]

    def init(key: jax.Array) -> Any:
        return {f"factor_{i}": {"kernel": jnp.full((size, outputs), start)} for i in range(depth)}, {}

    def apply(params: Any, state: Any, x: jax.Array, *, rng: Any = None) -> Any:
        product = 1.0
        for layer in params.values():
            product = product * layer["kernel"]
        return x @ product, state

    return models.from_functions(init, apply)
