"""Modules of Flax NNX as networks."""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tricks.models import plain, statistics
from tricks.models.network import ModelState, Network, Params
from tricks.models.streams import stream_key, unusable_key
from tricks.models.switches import JOINT, Mode, choose, parameters_of

__all__ = ["from_nnx"]


class _Variable(NamedTuple):
    """One variable of a module, or array among its attributes."""

    place: tuple[Any, ...]  # Of attributes and indices, from the module.
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
        layout, variables = lay_out(), _variables(_make(make_module, key))
        return _collect(layout, "params", variables), _collect(layout, "state", variables)

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
        module = _make(make_module, key)
        variables = _variables(module)
        described = tuple(itertools.starmap(_describe, variables))
        layout = _Layout(_graphs(module), described, parameters_of(type(module).__call__))
        for kind in ("params", "state"):
            plain.require_distinct(kind, layout.names(kind))
            plain.require_arrays(
                kind, layout.names(kind), _leaves(layout, kind, variables), "static attributes of others"
            )
        found.append(layout)
        return _leaves(layout, "params", variables)

    params = jax.eval_shape(describe, jax.random.key(0))
    (layout,) = found
    plain.require_floating(layout.names("params"), params)
    return layout


def _make(make_module: Callable[[nnx.Rngs], nnx.Module], key: jax.Array) -> nnx.Module:
    module = make_module(nnx.Rngs(key))
    if not isinstance(module, nnx.Module) or not callable(module):
        raise ValueError(f"make_module gave {module!r:.80}; allowed: an nnx.Module with a __call__ of one batch")
    for _, part in nnx.iter_modules(module, graph=True):
        for name, value in vars(part).items():
            # Flax takes arrays among the attributes for data, but in a trace for part of the graph.
            if isinstance(value, jax.core.Tracer):
                setattr(part, name, nnx.data(value))
    return module


def _graphs(module: nnx.Module) -> dict[Mode, Any]:
    for _, part in nnx.iter_modules(module, graph=True):
        # What a capture of nothing leaves: Flax then drops what is sown, where it would make variables, and warn.
        part.__captures__ = ()  # type: ignore[attr-defined]
        if isinstance(part, nnx.BatchNorm):
            statistics.keep_apart(part)
    graphs = {}
    for random, batch_statistics in itertools.product((False, True), repeat=2):
        mode = Mode(random, batch_statistics)
        module.set_attributes(raise_if_not_found=False, graph=True, **mode.attributes())
        graphs[mode] = nnx.flatten(module, graph=True)[0]
    return graphs


def _describe(place: tuple[Any, ...], variable: Any) -> _Variable:
    kinds = {nnx.Param: "params", nnx.RngKey: "key", nnx.RngState: "count", object: "state"}
    kind = next(kind for types, kind in kinds.items() if isinstance(variable, types))
    value = _value(variable)
    paths, structure = jax.tree_util.tree_flatten_with_path(value)
    names = tuple(tuple(map(plain.name_of, (*place, *path))) for path, _ in paths)
    return _Variable(place, kind, names, structure, value.shape if kind in ("key", "count") else ())


def _value(variable: Any) -> Any:
    return variable.get_value() if isinstance(variable, nnx.Variable) else variable


def _variables(module: nnx.Module) -> list[tuple[tuple[Any, ...], Any]]:
    return list(nnx.flatten(module, graph=True)[1])


def _leaves(layout: _Layout, kind: str, variables: Iterable[tuple[Any, Any]]) -> list[Any]:
    leaves: list[Any] = []
    for described, (_, variable) in zip(layout.variables, variables, strict=True):
        if described.kind == kind:
            value = _value(variable)
            if jax.tree.structure(value) != described.structure:
                raise ValueError(
                    f"the value of variable {_spelled(described.place)!r} is of structure {jax.tree.structure(value)} "
                    f"after a call; allowed: that from __init__, {described.structure}"
                )
            leaves.extend(jax.tree.leaves(value))
    return leaves


def _collect(layout: _Layout, kind: str, variables: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    return plain.nest(layout.names(kind), map(plain.strong, _leaves(layout, kind, variables)))


def _values(layout: _Layout, params: Params, model_state: ModelState, rng: jax.Array | None) -> list[Any]:
    # Arrays of NumPy, as stored ones are, would be written in place.
    given = {
        "params": map(jnp.asarray, plain.pick("params", params, layout.names("params"))),
        "state": map(jnp.asarray, plain.pick("model_state", model_state, layout.names("state"))),
    }
    streams = itertools.count()
    values: list[Any] = []
    for variable in layout.variables:
        if variable.kind == "key":
            key = unusable_key(variable.stream) if rng is None else stream_key(rng, next(streams))
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
    draws = layout.count("key") > 0 or "rngs" in layout.arguments
    if joint and mode.is_mixed:
        if draws and layout.names("state"):
            raise ValueError(
                f"batch_statistics is {mode.batch_statistics} {'with' if mode.random else 'without'} a key, but "
                f"__call__ of the module has one argument {joint[0]!r} for both; allowed: `deterministic` and "
                "`use_running_average` in its place, or neither, as Flax sets the attributes of these names"
            )
        arguments |= dict.fromkeys(joint, mode.random if draws else mode.batch_statistics)
    if "rngs" in layout.arguments:
        key = unusable_key("rngs") if rng is None else stream_key(rng, layout.count("key"))
        arguments["rngs"] = nnx.Rngs(key)
    return arguments


def _state_after(layout: _Layout, before: ModelState, module: nnx.Module) -> ModelState:
    variables = _variables(module)
    changed = {described.place for described in layout.variables} ^ {place for place, _ in variables}
    if changed:
        raise ValueError(
            f"the module made or lost the variable {_spelled(min(changed, key=str))!r} while it was called; allowed: "
            "variables that it makes in __init__ (what a call changes belongs into an nnx.Variable)"
        )
    names = layout.names("state")
    old = plain.pick("model_state", before, names)
    return plain.nest(names, plain.settle(names, old, _leaves(layout, "state", variables)))


def _spelled(place: tuple[Any, ...]) -> str:
    return "/".join(map(plain.name_of, place))
