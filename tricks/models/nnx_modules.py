"""Modules of Flax NNX as networks."""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.extend.random
import jax.numpy as jnp
from flax import nnx

from tricks.models import plain
from tricks.models.network import ModelState, Network, Params
from tricks.models.switches import JOINT, Mode, choose, parameters_of, stream_key

__all__ = ["from_nnx"]


class _Variable(NamedTuple):
    """One variable of a module, or array among its attributes."""

    kind: str  # params, state, key or count
    names: tuple[plain.Names, ...]  # Of the arrays in its value, which is one array as a rule.
    structure: Any
    shape: tuple[int, ...]  # Of keys and counts.

    @property
    def stream(self) -> str:
        return ".".join(self.names[0][:-1])


class _Layout(NamedTuple):
    """What a module is but for its numbers."""

    graphs: dict[Mode, Any]
    variables: tuple[_Variable, ...]
    arguments: Mapping[str, Any]

    def names(self, kind: str) -> list[plain.Names]:
        return [names for variable in self.variables if variable.kind == kind for names in variable.names]

    def count(self, kind: str) -> int:
        return sum(variable.kind == kind for variable in self.variables)


def from_nnx(make_module: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """A module of Flax NNX as a network.

    Its `nnx.Param`s are the parameters; all other variables, and arrays among its attributes, are the model state.
    Names are those of the attributes, with the places in lists as text; a parameter that is shared is there once.
    Training and evaluation set `deterministic` and `use_running_average` of all its modules, as `train()` and `eval()`
    of Flax do, and pass those of `deterministic`, `use_running_average`, `train`, `training`, `is_training` and `rngs`
    that its `__call__` has. A step gives every random stream a key of its own, `fold_in(rng, place of the stream)`;
    in evaluation a stream can be split, but nothing can be drawn from it. What the module writes into its parameters
    counts for that call alone, and what it sows is dropped.

    Args:
        make_module: gets `nnx.Rngs(key)` and gives the module, of the same structure each time; its `__call__` takes
            one batch, also where that is a dict.

    Returns:
        A `Network` whose `init(key)` draws as `make_module(nnx.Rngs(key))` does.

    Raises:
        ValueError: the module has no parameters or some that are not floating, holds a random key outside of streams,
            or cannot be called; when it is used first. From `apply`: it draws in evaluation, makes variables while it
            is called, or one switch means both of what was asked for apart.

    >>> class Classifier(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.conv = nnx.Conv(1, 4, kernel_size=(3, 3), rngs=rngs)
    ...         self.norm = nnx.BatchNorm(4, rngs=rngs)
    ...         self.dropout = nnx.Dropout(0.5, rngs=rngs)
    ...         self.head = nnx.Linear(4, 2, rngs=rngs)
    ...     def __call__(self, x):
    ...         x = nnx.relu(self.norm(self.conv(x)))
    ...         return self.head(self.dropout(x.mean(axis=(1, 2))))
    >>> network = from_nnx(Classifier)
    >>> params, state = network.init(jax.random.key(0))
    >>> sorted(params), sorted(state["norm"])
    (['conv', 'head', 'norm'], ['mean', 'var'])
    >>> outputs, state = network.apply(params, state, jnp.ones((3, 8, 8, 1)), rng=jax.random.key(1))
    >>> outputs.shape
    (3, 2)

    Source: https://flax.readthedocs.io/en/latest/guides/randomness.html and batch_norm.html.
    """
    if isinstance(make_module, nnx.Module) or not callable(make_module):
        raise ValueError(
            f"make_module is a {type(make_module).__name__}; allowed: a function of nnx.Rngs that makes the module, "
            "such as its class"
        )
    lay_out = functools.cache(functools.partial(_lay_out, make_module))

    def init(key: jax.Array) -> tuple[Params, ModelState]:
        layout, leaves = lay_out(), _leaves(make_module(nnx.Rngs(key)))
        return _collect(layout, "params", leaves), _collect(layout, "state", leaves)

    def apply(
        params: Params,
        model_state: ModelState,
        x: Any,
        *,
        rng: jax.Array | None = None,
        batch_statistics: bool | None = None,
    ) -> tuple[Any, ModelState]:
        layout, mode = lay_out(), choose(rng, batch_statistics)
        module = nnx.unflatten(layout.graphs[mode], _values(layout, params, model_state, rng))
        outputs = module(x, **_arguments(layout, mode, rng))
        return outputs, model_state if mode.is_evaluation else _state_after(layout, model_state, module)

    return Network(init, apply)


def _lay_out(make_module: Callable[[nnx.Rngs], nnx.Module]) -> _Layout:
    found: list[_Layout] = []

    def describe(key: jax.Array) -> list[jax.Array]:
        module = make_module(nnx.Rngs(key))
        if not isinstance(module, nnx.Module) or not callable(module):
            raise ValueError(f"make_module gave {module!r:.80}; allowed: an nnx.Module with a __call__ of one batch")
        leaves = _leaves(module)
        layout = _Layout(_graphs(module), _variables(module), parameters_of(type(module).__call__))
        for kind in ("params", "state"):
            names, of_kind = layout.names(kind), _of_kind(layout, kind, leaves)
            plain.require_distinct(kind, names)
            plain.require_arrays(kind, names, of_kind, "static attributes are no variables")
        found.append(layout)
        return _of_kind(layout, "params", leaves)

    params = jax.eval_shape(describe, jax.random.key(0))
    (layout,) = found
    plain.require_floating(layout.names("params"), params)
    return layout


def _graphs(module: nnx.Module) -> dict[Mode, Any]:
    for _, part in nnx.iter_modules(module, graph=True):
        # What a capture of nothing leaves: Flax then drops what is sown, where it would make variables, and warn.
        part.__captures__ = ()  # type: ignore[attr-defined]
    graphs = {}
    for random, batch_statistics in itertools.product((False, True), repeat=2):
        mode = Mode(random, batch_statistics)
        module.set_attributes(raise_if_not_found=False, graph=True, **mode.attributes())
        graphs[mode] = nnx.flatten(module, graph=True)[0]
    return graphs


def _variables(module: nnx.Module) -> tuple[_Variable, ...]:
    variables = []
    for place, variable in nnx.flatten(module, graph=True)[1]:
        outer = tuple(map(plain.name_of, place))
        paths, structure = jax.tree_util.tree_flatten_with_path(_value(variable))
        names = tuple((*outer, *map(plain.name_of, path)) for path, _ in paths)
        kind = next(
            kind
            for kind, types in (("params", nnx.Param), ("key", nnx.RngKey), ("count", nnx.RngState), ("state", object))
            if isinstance(variable, types)
        )
        shape = _value(variable).shape if kind in ("key", "count") else ()
        variables.append(_Variable(kind, names, structure, shape))
    return tuple(variables)


def _value(variable: Any) -> Any:
    return variable.get_value() if isinstance(variable, nnx.Variable) else variable


def _leaves(module: nnx.Module) -> list[Any]:
    return jax.tree.leaves([_value(variable) for _, variable in nnx.flatten(module, graph=True)[1]])


def _of_kind(layout: _Layout, kind: str, leaves: list[Any]) -> list[Any]:
    kinds = [variable.kind for variable in layout.variables for _ in variable.names]
    return [leaf for leaf, of in zip(leaves, kinds, strict=True) if of == kind]


def _collect(layout: _Layout, kind: str, leaves: list[Any]) -> dict[str, Any]:
    return plain.nest(layout.names(kind), map(plain.strong, _of_kind(layout, kind, leaves)))


def _values(layout: _Layout, params: Params, model_state: ModelState, rng: jax.Array | None) -> list[Any]:
    given = {
        "params": iter(plain.pick("params", params, layout.names("params"))),
        "state": iter(plain.pick("model_state", model_state, layout.names("state"))),
    }
    streams = itertools.count()
    values: list[Any] = []
    for variable in layout.variables:
        if variable.kind == "key":
            key = _unusable_key(variable.stream) if rng is None else stream_key(rng, next(streams))
            # One for each layer of a stack.
            values.append(jax.random.split(key, variable.shape) if variable.shape else key)
        elif variable.kind == "count":
            values.append(jnp.zeros(variable.shape, jnp.uint32))
        else:
            values.append(jax.tree.unflatten(variable.structure, [next(given[variable.kind]) for _ in variable.names]))
    return values


def _arguments(layout: _Layout, mode: Mode, rng: jax.Array | None) -> dict[str, Any]:
    arguments: dict[str, Any] = mode.arguments(layout.arguments)
    joint = [name for name in JOINT if name in arguments]
    if joint and mode.is_mixed:
        if layout.count("key") and layout.names("state"):
            raise ValueError(
                f"batch_statistics is {mode.batch_statistics} {'with' if mode.random else 'without'} a key, but "
                f"__call__ of the module has one argument {joint[0]!r} for both; allowed: `deterministic` and "
                "`use_running_average` in its place, or neither, as Flax sets the attributes of these names"
            )
        arguments |= dict.fromkeys(joint, mode.random if layout.count("key") else mode.batch_statistics)
    if "rngs" in layout.arguments:
        key = _unusable_key("rngs") if rng is None else stream_key(rng, layout.count("key"))
        arguments["rngs"] = nnx.Rngs(key)
    return arguments


def _state_after(layout: _Layout, before: ModelState, module: nnx.Module) -> ModelState:
    after = _variables(module)
    if [variable.names for variable in after] != [variable.names for variable in layout.variables]:
        changed = {*itertools.chain(*(variable.names for variable in after))}
        changed ^= {*itertools.chain(*(variable.names for variable in layout.variables))}
        raise ValueError(
            f"the module made or lost the variable {'/'.join(min(changed))!r} while it was called; allowed: variables "
            "that it makes in __init__"
        )
    names = layout.names("state")
    old = plain.pick("model_state", before, names)
    return plain.nest(names, plain.settle(names, old, _of_kind(layout, "state", _leaves(module))))


@functools.cache
def _unusable_key(stream: str) -> jax.Array:
    """A key that can be split, but from which nothing can be drawn: what a stream has in evaluation."""

    def refuse(*_: Any) -> jax.Array:
        raise ValueError(
            f"the module draws from its random stream {stream!r} in evaluation mode (rng=None), where nothing may be "
            "random; allowed: to follow its attribute `deterministic`, as nnx.Dropout does, which is True there"
        )

    unchanged = jax.extend.random.define_prng_impl(
        name=f"evaluation of {stream}",
        tag="evaluation",
        key_shape=(1,),
        seed=lambda seed: jnp.zeros(1, jnp.uint32),
        split=lambda key, shape: jnp.broadcast_to(key, (*shape, 1)),
        fold_in=lambda key, _: key,
        random_bits=refuse,
    )
    with jax.ensure_compile_time_eval():
        return jax.random.key(0, impl=unchanged)
