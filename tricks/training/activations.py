"""The activations of any function of JAX, found in what it computes: no network has to name them."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from tricks.training.equations import Flat, Step, all_within, body_of, evaluate, flatten, is_zero

KINDS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "softplus", "mish", "squareplus"),
    *("tanh", "sigmoid", "erf", "hard_tanh", "hard_sigmoid"),
)
# Functions by the names that their calls have in a trace,
_NAMES = {kind: kind for kind in KINDS} | {"swish": "silu", "hard_swish": "silu", "hard_silu": "silu"}
# and steps that are activations by themselves.
_PRIMITIVES = {"tanh": "tanh", "logistic": "sigmoid", "erf": "erf", "erfc": "erf"}
_GATED = {"tanh": "gelu", "erf": "gelu", "sigmoid": "silu"}
_LOOPS = ("scan", "while", "cond")
# Of each element by itself, and of constants.
_ELEMENTWISE = frozenset(
    {"add", "sub", "mul", "div", "neg", "abs", "integer_pow", "pow", "square", "exp", "exp2", "expm1", "log1p", "sqrt"}
    | {"convert_element_type", "copy", "max", "min", "sign", "select_n", "gt", "ge", "lt", "le", "tanh", "logistic"}
    | {"erf", "erfc", "stop_gradient", "add_any"}
)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["name", "kind"])
@dataclasses.dataclass(frozen=True)
class Activation:
    """What a layer gives on."""

    name: str
    """Its kind and which of them it is, as `relu 1`."""
    kind: str
    """One of `KINDS`."""
    values: jax.Array
    """(batch, ..., units)."""


class Place(NamedTuple):
    """Where an activation stands among the steps of a function."""

    name: str
    kind: str
    value: int
    """Place of its values."""


def recorded(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[Activation]]:
    """What a function gives, and the values of the activations within it.

    Found are the functions of `jax.nn`, whatever library calls them, and steps that amount to the same: the larger of
    x and 0, x where it is above 0 and else 0 or a share of x, tanh, the logistic function, and x times one of those of
    x. Those within loops and branches (`jax.lax.scan`, `while_loop`, `cond`) are left alone: `in_loops` counts them.
    Values of one dimension are no activations of a batch.

    Args:
        function: any that JAX traces.
        arguments: of the function, pytrees of arrays.

    Returns:
        The outputs, and the activations in the order in which they are computed. All of it may be traced in turn.

    >>> import jax.numpy as jnp
    >>> outputs, found = recorded(lambda w, x: jnp.tanh(jax.nn.relu(x @ w)), jnp.eye(2), jnp.array([[1.0, -1.0]]))
    >>> [(activation.name, activation.values.tolist()) for activation in found][0]
    ('relu 1', [[1.0, 0.0]])
    """
    flat, leaves, structure = trace(function, *arguments)
    values: dict[int, jax.Array] = {}

    def see(step: Step, found: list[Any]) -> list[Any]:
        values.update(zip(step.outputs, found, strict=True))
        return found

    outputs = evaluate(flat, leaves, see)
    found = [Activation(place.name, place.kind, values[place.value]) for place in find(flat)]
    return jax.tree.unflatten(structure, outputs), found


def trace(function: Callable[..., Any], *arguments: Any) -> tuple[Flat, list[Any], Any]:
    """A function as the row of its steps, in which activations are whole.

    Args:
        function: any that JAX traces.
        arguments: pytrees of arrays, or of `jax.ShapeDtypeStruct`s.

    Returns:
        The steps, the leaves of the arguments, and the structure of the outputs.
    """
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return flatten(traced, _stays_whole), jax.tree.leaves(arguments), jax.tree.structure(shapes)


def find(flat: Flat) -> list[Place]:
    """The activations among the steps of a function.

    Args:
        flat: as `trace` gives it.

    Returns:
        Their places, in the order of computation.
    """
    found: dict[int, tuple[str, str]] = {}
    facts = _Facts(flat)
    for step in flat.steps:
        kind, replaced = facts.kind_of(step)
        facts.note(step, kind)
        if kind:
            found.pop(replaced, None)
            found[step.outputs[0]] = kind, kind
    numbers: dict[str, int] = {}
    places = []
    for value, (kind, _) in found.items():
        numbers[kind] = numbers.get(kind, 0) + 1
        places.append(Place(f"{kind} {numbers[kind]}", kind, value))
    return places


def in_loops(flat: Flat) -> int:
    """How many steps within loops and branches look like activations, which `find` leaves alone.

    Args:
        flat: as `trace` gives it.

    Returns:
        A number.

    >>> double = lambda x: jax.lax.scan(lambda x, _: (jax.numpy.tanh(x), None), x, length=2)[0]
    >>> in_loops(trace(double, jax.numpy.ones((2, 3)))[0])
    1
    """
    loops = [step.equation for step in flat.steps if step.name in _LOOPS]
    return sum(_is_candidate(inner) for loop in loops for inner in _within_one(loop))


def _within_one(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else [value]:
            jaxpr = getattr(part, "jaxpr", part)
            if hasattr(jaxpr, "eqns"):
                yield from all_within(jaxpr)


def _is_candidate(equation: Any) -> bool:
    if equation.primitive.name in _PRIMITIVES:
        return True
    if equation.primitive.name != "max":
        return False
    return any(hasattr(atom, "val") and is_zero(atom.val) for atom in equation.invars)


def _stays_whole(equation: Any) -> bool:
    step = Step(equation, (), ())
    if step.call in _NAMES:
        return _maps_elements(equation)
    # A derivative of its own is kept wherever nothing is to be seen within.
    is_custom = step.name.startswith("custom_")
    body = body_of(equation)
    return is_custom and not any(e.primitive.name in (*_PRIMITIVES, "max", "select_n") for e in all_within(body))


def _maps_elements(equation: Any) -> bool:
    shapes = {var.aval.shape for var in (*equation.invars, *equation.outvars) if var.aval.shape}
    return len(equation.outvars) == 1 and len(shapes) <= 1


class _Facts:
    """What is known of values by how they were computed."""

    def __init__(self, flat: Flat) -> None:
        self._zeros = {place for place, value in flat.constants.items() if is_zero(value)}
        self._constants = set(flat.constants)
        self._same: dict[int, int] = {}
        self._root: dict[int, int] = {}
        """The value of which one was computed element by element."""
        self._positive: dict[int, int] = {}
        """Of which value it says where that is above 0."""
        self._scaled: dict[int, int] = {}
        self._bent: set[int] = set()
        """Values that went through an exponential."""
        self._gate: dict[int, tuple[int, str]] = {}
        """The activation that a value was computed from element by element, and its kind."""

    def kind_of(self, step: Step) -> tuple[str, int]:
        """The kind of activation that a step is, or nothing; and the place of one that is only a part of it."""
        if len(step.outputs) != 1 or len(step.equation.outvars[0].aval.shape) < 2:
            return "", -1
        name, inputs = step.name, [self._same.get(place, place) for place in step.inputs]
        if step.call in _NAMES:
            return _NAMES[step.call], -1
        if name in _PRIMITIVES:
            return _PRIMITIVES[name], -1
        if name == "max":
            a, b = inputs
            if (a in self._zeros) != (b in self._zeros):
                return "relu", -1
            is_leaky = self._scaled.get(a) == b or self._scaled.get(b) == a
            return ("leaky_relu" if is_leaky else ""), -1
        if name == "select_n" and len(inputs) == 3 and inputs[0] in self._positive:
            return self._of_choice(*inputs), -1
        if name == "mul":
            return self._of_product(*inputs)
        return "", -1

    def _of_choice(self, which: int, below: int, above: int) -> str:
        x = self._positive[which]
        if x != above:
            return ""
        if below in self._zeros:
            return "relu"
        if self._scaled.get(below) == x:
            return "leaky_relu"
        return "elu" if below in self._bent and self._root.get(below) == self._root.get(x, x) else ""

    def _of_product(self, a: int, b: int) -> tuple[str, int]:
        for x, other in ((a, b), (b, a)):
            if self._positive.get(other, -1) == x:
                return "relu", -1
            if other in self._gate and x not in self._gate and x not in self._constants:
                inner, kind = self._gate[other]
                if self._root.get(x, x) == self._root.get(other, other) and kind in _GATED:
                    return _GATED[kind], inner
        return "", -1

    def note(self, step: Step, kind: str) -> None:
        """Takes what follows from a step, whose kind is known."""
        name = step.name
        inputs = [self._same.get(place, place) for place in step.inputs]
        if len(step.outputs) != 1:
            return
        (output,) = step.outputs
        if name in ("convert_element_type", "copy", "broadcast_in_dim", "stop_gradient"):
            (x, *_) = inputs
            self._constants |= {output} & (set() if x not in self._constants else {output})
            self._zeros |= {output} if x in self._zeros else set()
            if name != "broadcast_in_dim" or x in self._constants:
                self._same[output] = x
            return
        if kind:
            self._gate[output] = output, kind
            # What goes on from here is computed from the activation, but for a gate of the same value.
            self._root[output] = self._root_of(inputs) if kind in _GATED else output
            return
        others = [x for x in inputs if x not in self._constants]
        if name in ("gt", "ge", "lt", "le"):
            x, y = inputs if name in ("gt", "ge") else inputs[::-1]
            if y in self._zeros:
                self._positive[output] = x
            return
        if name not in _ELEMENTWISE:
            return
        roots = {self._root.get(x, x) for x in others}
        if len(roots) != 1:
            return
        self._root[output] = roots.pop()
        if name in ("mul", "div") and len(others) == 1:
            self._scaled[output] = others[0]
        if name in ("exp", "expm1") or any(x in self._bent for x in others):
            self._bent.add(output)
        gates = {self._gate[x] for x in others if x in self._gate}
        if len(gates) == 1:
            self._gate[output] = gates.pop()

    def _root_of(self, inputs: list[int]) -> int:
        others = [x for x in inputs if x not in self._constants]
        return self._root.get(others[0], others[0]) if others else -1
