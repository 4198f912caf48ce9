"""Modules of Flax Linen as networks."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors, linen

from tricks.models import plain
from tricks.models.network import ModelState, Network, Params
from tricks.models.streams import stream_key
from tricks.models.switches import Mode, choose, parameters_of

__all__ = ["from_linen"]


def from_linen(module: linen.Module, example: Any, *, streams: Sequence[str] = ("dropout",)) -> Network:
    """A module of Flax Linen as a network.

    Its collection `params` holds the parameters; all others are the model state. Of `train`, `training`, `is_training`,
    `deterministic` and `use_running_average` those that its `__call__` has are passed by name, and those among its own
    fields are set. Where dropout and batch statistics are asked for apart, the modules inside that have the fields
    `deterministic` and `use_running_average` get them, whatever they were made or called with.

    Args:
        module: with a `__call__` of one batch and the switches above.
        example: one batch of features: an array or a pytree of arrays, or of `jax.ShapeDtypeStruct`.
        streams: names of the random streams that it draws from in training, each with the key
            `fold_in(rng, its place)`.

    Returns:
        A `Network` whose `init(key)` draws as `module.init(key, zeros like the example)` in evaluation mode does.

    Raises:
        ValueError: the module has no parameters, or some that are not floating; when it is used first. From `apply`:
            it draws in evaluation, or from a stream that has no name here.

    >>> class Classifier(linen.Module):
    ...     @linen.compact
    ...     def __call__(self, x, train):
    ...         x = linen.relu(linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x)))
    ...         return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))
    >>> network = from_linen(Classifier(), jax.ShapeDtypeStruct((32, 4), jnp.float32))
    >>> params, state = network.init(jax.random.key(0))
    >>> list(state)
    ['batch_stats']
    >>> network.apply(params, state, jnp.ones((3, 4)), rng=jax.random.key(1))[0].shape
    (3, 2)

    Source: https://flax-linen.readthedocs.io/en/latest/guides/training_techniques/batch_norm.html
    """
    if not isinstance(module, linen.Module):
        raise ValueError(f"module is {module!r:.80}; allowed: a module of flax.linen, made but not yet initialized")
    arguments = parameters_of(type(module).__call__)
    fields = {name: None for name in type(module).__dataclass_fields__ if name not in arguments}
    at_rest = Mode(random=False, batch_statistics=False)

    def switched(mode: Mode) -> linen.Module:
        settings = mode.arguments(fields)
        return module.clone(**settings) if settings else module

    def draw(key: jax.Array) -> tuple[Any, dict[str, Any]]:
        keys = {"params": key, **{name: stream_key(key, place) for place, name in enumerate(streams)}}
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), example)
        variables = linen.meta.unbox(dict(switched(at_rest).init(keys, zeros, **at_rest.arguments(arguments))))
        return variables.pop("params", {}), variables

    @functools.cache
    def forms() -> tuple[plain.Form, plain.Form]:
        return plain.forms_of(draw, "sow what is no array into a collection that init leaves out")

    def init(key: jax.Array) -> tuple[Params, ModelState]:
        of_params, of_state = forms()
        params, model_state = draw(key)
        return of_params.to_plain(params), of_state.to_plain(model_state)

    def apply(
        params: Params,
        model_state: ModelState,
        x: Any,
        *,
        rng: jax.Array | None = None,
        batch_statistics: bool | None = None,
    ) -> tuple[Any, ModelState]:
        mode = choose(rng, batch_statistics)
        of_params, of_state = forms()
        collections = of_state.from_plain(model_state)
        keys = {} if rng is None else {name: stream_key(rng, place) for place, name in enumerate(streams)}
        with _set_apart(mode), _streams_by_name(streams, rng):
            outputs, changed = switched(mode).apply(
                {"params": of_params.from_plain(params), **collections},
                x,
                rngs=keys,
                mutable=[] if mode.is_evaluation else list(collections),
                **mode.arguments(arguments),
            )
        if mode.is_evaluation:
            return outputs, model_state
        return outputs, of_state.settle(model_state, {**collections, **linen.meta.unbox(changed)})

    return Network(init, apply)


@contextlib.contextmanager
def _streams_by_name(streams: Sequence[str], rng: jax.Array | None) -> Any:
    try:
        yield
    except errors.InvalidRngError as error:
        if rng is None:
            raise ValueError(
                f"the module draws in evaluation mode (rng=None), where nothing may be random; allowed: to follow its "
                f"argument `train` or `deterministic` ({error})"
            ) from error
        raise ValueError(f"streams are {tuple(streams)}; allowed: all that the module draws from ({error})") from error


def _set_apart(mode: Mode) -> Any:
    return linen.intercept_methods(_setting(mode.attributes())) if mode.is_mixed else contextlib.nullcontext()


def _setting(attributes: dict[str, bool]) -> Callable[..., Any]:
    def call(function: Callable[..., Any], args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        module = context.module
        own = {name: value for name, value in attributes.items() if name in type(module).__dataclass_fields__}
        if context.method_name != "__call__" or not own:
            return function(*args, **kwargs)
        given = inspect.signature(function).bind(*args, **kwargs)
        for name, value in own.items():
            given.arguments.pop(name, None)
            # As Linen's own __setattr__ refuses it outside of setup.
            object.__setattr__(module, name, value)
        return function(*given.args, **given.kwargs)

    return call
