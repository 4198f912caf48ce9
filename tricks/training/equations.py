"""A traced function as the row of its steps: calls within it are opened, loops and branches stay whole."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
_VIEWS = frozenset({"convert_element_type", "reshape", "transpose", "broadcast_in_dim", "squeeze", "copy", "copy_p"})


class Step(NamedTuple):
    """One equation, with the places of what it takes and gives."""

    equation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of the primitive."""
        return str(self.equation.primitive.name)

    @property
    def call(self) -> str:
        """Name of the function, where the step is a call of one; else empty."""
        # `custom_jvp` has it one call further in.
        body = body_of(self.equation)
        name = self.equation.params.get("name", "")
        if not name and body is not None and len(body.eqns) == 1:
            name = body.eqns[0].params.get("name", "")
        return str(name) if body is not None else ""


class Flat(NamedTuple):
    """A function of its arguments, whose values have numbered places."""

    inputs: tuple[int, ...]
    """Places of the arguments' leaves."""
    constants: Mapping[int, Any]
    """Numbers and arrays within the function, by their places."""
    steps: tuple[Step, ...]
    """In the order of computation."""
    outputs: tuple[int, ...]
    has_lost_rules: bool = False
    """Whether a call with derivatives of its own was opened: those of this function are not those of the original."""


def body_of(equation: Any) -> Any:
    """The function that a step calls, as a jaxpr; None where it is no call.

    >>> body_of(jax.make_jaxpr(jax.jit(lambda x: x + 1))(1.0).eqns[0]).eqns[0].primitive.name
    'add'
    """
    name, params = equation.primitive.name, equation.params
    if not (name in _CALLS or name.startswith("custom_")):
        return None
    found = next((params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params), None)
    return getattr(found, "jaxpr", found)


def flatten(traced: Any, stays_whole: Callable[[Any], bool] = lambda equation: False) -> Flat:
    """Opens the calls within a traced function.

    Args:
        traced: as `jax.make_jaxpr` gives it.
        stays_whole: `stays_whole(equation)` says of a call whether it stays one step.

    Returns:
        The function as `Flat`. Derivatives of one's own, of `custom_jvp` and `custom_vjp`, are those of calls that stay
        whole only.

    >>> [step.name for step in flatten(jax.make_jaxpr(jax.jit(lambda x: jax.jit(jax.numpy.sin)(x) + 1))(1.0)).steps]
    ['sin', 'add']
    """
    constants: dict[int, Any] = {}
    steps: list[Step] = []
    lost: list[str] = []
    places = iter(range(2**62))

    def constant(value: Any) -> int:
        place = next(places)
        constants[place] = value
        return place

    def add(function: Any, inputs: tuple[int, ...]) -> tuple[int, ...]:
        jaxpr, values = getattr(function, "jaxpr", function), getattr(function, "consts", ())
        known = dict(zip(jaxpr.constvars, map(constant, values), strict=True))
        known |= dict(zip(jaxpr.invars, inputs, strict=True))

        def place(atom: Any) -> int:
            return constant(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            taken = tuple(map(place, equation.invars))
            body = _closed_body(equation)
            if body is None or stays_whole(equation):
                given = tuple(next(places) for _ in equation.outvars)
                steps.append(Step(equation, taken, given))
            else:
                lost.extend([equation.primitive.name] * equation.primitive.name.startswith("custom_"))
                given = add(body, taken)
            known |= dict(zip(equation.outvars, given, strict=True))
        return tuple(map(place, jaxpr.outvars))

    inputs = tuple(next(places) for _ in traced.jaxpr.invars)
    outputs = add(traced, inputs)
    return Flat(inputs, constants, tuple(steps), outputs, bool(lost))


def _closed_body(equation: Any) -> Any:
    if body_of(equation) is None:
        return None
    return next(equation.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in equation.params)


def evaluate(
    flat: Flat, arguments: list[Any], see: Callable[[Step, list[Any]], list[Any]] = lambda step, values: values
) -> list[Any]:
    """The outputs of a flat function; it may be traced in turn.

    Args:
        flat: as `flatten` gives it.
        arguments: the leaves of its arguments.
        see: `see(step, values) -> values` takes what each step gives, and says what goes on in its place.

    Returns:
        The leaves of its outputs.

    >>> flat = flatten(jax.make_jaxpr(lambda x: 2 * x + 1)(1.0))
    >>> [float(value) for value in evaluate(flat, [3.0])]
    [7.0]
    """
    values = {**flat.constants, **dict(zip(flat.inputs, arguments, strict=True))}
    for step in flat.steps:
        with step.equation.ctx.manager:
            primitive = step.equation.primitive
            found = primitive.bind(
                *(values[place] for place in step.inputs), **primitive.get_bind_params(step.equation.params)
            )
        found = list(found) if primitive.multiple_results else [found]
        values |= dict(zip(step.outputs, see(step, found), strict=True))
    return [values[place] for place in flat.outputs]


def first_uses(flat: Flat) -> list[int]:
    """When each argument is computed with first, other than being reshaped or converted.

    Args:
        flat: a function.

    Returns:
        For each leaf of its arguments the number of the step; of those that are not used the number of steps.

    >>> first_uses(flatten(jax.make_jaxpr(lambda x, y: (2 * y) @ x)(np.ones(3), np.ones(3))))
    [1, 0]
    """
    alias = {place: place for place in flat.inputs}
    found: dict[int, int] = {}
    for number, step in enumerate(flat.steps):
        arguments = {alias[place] for place in step.inputs if place in alias}
        if step.name in _VIEWS and len(arguments) == 1:
            alias |= dict.fromkeys(step.outputs, *arguments)
        else:
            found = {**dict.fromkeys(arguments, number), **found}
    return [found.get(place, len(flat.steps)) for place in flat.inputs]


def all_within(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr and of all that it calls, loops and branches among them.

    >>> [e.primitive.name for e in all_within(jax.make_jaxpr(jax.jit(jax.numpy.sin))(1.0).jaxpr)]
    ['jit', 'sin']
    """
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                if isinstance(part, core.Jaxpr | core.ClosedJaxpr):
                    yield from all_within(getattr(part, "jaxpr", part))


def is_zero(value: Any) -> bool:
    """Whether a constant is the number 0, or an array of zeros that is small enough to look at.

    >>> is_zero(0.0), is_zero(np.zeros(3)), is_zero(1)
    (True, True, False)
    """
    if isinstance(value, jax.core.Tracer) or np.size(value) > 1024:
        return False
    return bool(np.all(np.asarray(value) == 0))
