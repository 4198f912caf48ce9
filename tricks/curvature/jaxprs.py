"""Traced functions as values: what two have in common, and one of them with its arrays as arguments."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

_ARRAYS = (jax.Array, np.ndarray)
# What products of matrices keep, by the first of these in the name of their algorithm,
_OF_ALGORITHMS = {
    "X9": 0.0,
    "X6": 0.0,
    "X3": 2.0**-15,
    "F8": 2.0**-3,
    "BF16": 2.0**-7,
    "F16": 2.0**-10,
    "TF32": 2.0**-10,
}
# and by the precision asked for, where that is less than all.
_OF_DEVICES = {
    ("gpu", jax.lax.Precision.DEFAULT): 2.0**-10,
    ("gpu", jax.lax.Precision.HIGH): 2.0**-10,
    ("tpu", jax.lax.Precision.DEFAULT): 2.0**-7,
    ("tpu", jax.lax.Precision.HIGH): 2.0**-15,
}


def described(traced: Any) -> tuple[Hashable, list[Any]]:
    """What a traced function computes, and the arrays that it closes over.

    Two functions with equal descriptions compute the same of their arrays and arguments, whatever objects they are.

    Args:
        traced: as `jax.make_jaxpr` gives it.

    Returns:
        A description that holds no arrays, and the arrays, each once.

    >>> trace = lambda shift: jax.make_jaxpr(lambda x: x + shift)(0.0)
    >>> one, other, third = (described(trace(shift)) for shift in (np.ones(3), np.zeros(3), np.ones(4)))
    >>> one[0] == other[0], one[0] == third[0], other[1][0].tolist()
    (True, False, [0.0, 0.0, 0.0])
    """
    arrays: list[Any] = []
    places: dict[int, int] = {}

    def array(value: Any) -> Hashable:
        # A number is a part of the function, with which the compiler can simplify it.
        if isinstance(value, np.ndarray) and value.ndim == 0:
            return "number", jax.typeof(value), value.tobytes()
        if id(value) not in places:
            places[id(value)] = len(arrays)
            arrays.append(value)
        return "array", places[id(value)], jax.typeof(value)

    def function(value: Any) -> Hashable:
        inner, consts = _opened(value)
        numbers: dict[Any, int] = {}

        def variable(atom: Any) -> Hashable:
            if isinstance(atom, core.Literal):
                return array(atom.val) if isinstance(atom.val, _ARRAYS) else _literal(atom)
            return numbers.setdefault(atom, len(numbers))

        held = [array(const) for const in consts]
        given = [(variable(var), var.aval) for var in (*inner.constvars, *inner.invars)]
        steps = [
            (
                eqn.primitive,
                tuple(variable(atom) for atom in eqn.invars),
                parameters(eqn),
                _context(eqn),
                tuple((variable(var), var.aval) for var in eqn.outvars),
            )
            for eqn in inner.eqns
        ]
        return tuple(held), tuple(given), tuple(steps), tuple(variable(atom) for atom in inner.outvars)

    def parameters(eqn: Any) -> Hashable:
        # What is traced here has its derivatives already: the rules are not asked again.
        params = {"call_jaxpr": eqn.params["call_jaxpr"]} if _has_rules(eqn) else eqn.params
        return tuple((name, parameter(params[name])) for name in sorted(params))

    def parameter(value: Any) -> Hashable:
        if _is_traced(value):
            return function(value)
        if isinstance(value, tuple | list):
            return type(value), tuple(parameter(part) for part in value)
        if isinstance(value, dict):
            return tuple((name, parameter(value[name])) for name in sorted(value))
        if isinstance(value, np.ndarray):
            return value.shape, value.dtype, value.tobytes()
        return type(value), _comparable(value)

    return function(traced), arrays


def lifted(traced: Any) -> Callable[..., list[Any]]:
    """A traced function with the arrays that it closes over as its first argument.

    Args:
        traced: as `jax.make_jaxpr` gives it.

    Returns:
        `function(arrays, *arguments) -> outputs`, flat, for arrays as `described` finds them.

    >>> shift = np.ones(3)
    >>> lifted(jax.make_jaxpr(lambda x: x + shift)(0.0))([np.zeros(3)], 2.0)[0].tolist()
    [2.0, 2.0, 2.0]
    """

    def function(arrays: list[Any], *arguments: Any) -> list[Any]:
        known = {id(old): new for old, new in zip(described(traced)[1], arrays, strict=True)}
        return _evaluate(traced, arguments, known)

    return function


def pruned(traced: Any, wanted: Iterable[bool]) -> tuple[Any, list[bool]]:
    """A traced function without arrays, with only some of its outputs, and what these need.

    Args:
        traced: as `jax.make_jaxpr` gives it.
        wanted: for each output, whether it stays.

    Returns:
        The shorter function, and for each argument whether it is still one.

    >>> shorter, needed = pruned(jax.make_jaxpr(lambda x, y: (x + 1, x * y))(1.0, 1.0), [True, False])
    >>> [eqn.primitive.name for eqn in steps(shorter)], needed
    (['add'], [True, False])
    """
    inner, consts = _opened(traced)
    shorter, needed = partial_eval.dce_jaxpr(inner, list(wanted))
    return (core.ClosedJaxpr(shorter, list(consts)) if consts else shorter), needed


def evaluated(traced: Any, arguments: Iterable[Any]) -> list[Any]:
    """The outputs of a traced function; where it has derivatives of its own, its rules for them are left out.

    >>> evaluated(jax.make_jaxpr(lambda x: (x, jax.nn.relu(x)))(1.0), [-2.0])
    [-2.0, Array(0., dtype=float32, weak_type=True)]
    """
    return _evaluate(traced, arguments, {})


def coarsest(traced: Any) -> float:
    """The epsilon of the coarsest floating-point numbers among all that a traced function computes with.

    >>> coarsest(jax.make_jaxpr(lambda x: x.astype(jnp.bfloat16).sum() * 2.0)(np.ones(3, np.float32)))
    0.0078125
    """
    return max((epsilon for eqn in steps(traced) for epsilon in _epsilons(eqn)), default=0.0)


def _epsilons(eqn: Any) -> Iterator[float]:
    for var in eqn.outvars:
        if hasattr(var.aval, "dtype") and jnp.issubdtype(var.aval.dtype, jnp.floating):
            yield float(jnp.finfo(var.aval.dtype).eps)
    if eqn.primitive.name == "reduce_precision":
        yield 2.0 ** -eqn.params["mantissa_bits"]
    # Products of matrices may keep fewer digits than their types have.
    precision = eqn.params.get("precision")
    if precision == jax.lax.DotAlgorithmPreset.DEFAULT:
        precision = (jax.lax.Precision.DEFAULT,)
    if isinstance(precision, jax.lax.DotAlgorithmPreset):
        yield next((epsilon for name, epsilon in _OF_ALGORITHMS.items() if name in precision.name), 0.0)
    elif isinstance(precision, tuple):
        yield max(_OF_DEVICES.get((jax.default_backend(), each), 0.0) for each in precision)


def calls_back(traced: Any) -> bool:
    """Whether a traced function calls Python, which may answer otherwise the next time.

    >>> calls_back(jax.make_jaxpr(lambda x: x + 1)(1.0))
    False
    """
    return any("callback" in eqn.primitive.name for eqn in steps(traced))


def steps(traced: Any) -> Iterator[Any]:
    """All equations of a traced function, those of its loops and calls among them.

    >>> [eqn.primitive.name for eqn in steps(jax.make_jaxpr(jax.jit(lambda x: x + 1))(1.0))]
    ['jit', 'add']
    """
    for eqn in _opened(traced)[0].eqns:
        yield eqn
        for part in _traced_parts(eqn.params):
            yield from steps(part)


def _evaluate(traced: Any, arguments: Iterable[Any], known: dict[int, Any]) -> list[Any]:
    inner, consts = _opened(traced)
    values: dict[Any, Any] = dict(zip(inner.constvars, (known.get(id(c), c) for c in consts), strict=True))
    values.update(zip(inner.invars, arguments, strict=True))

    def value(atom: Any) -> Any:
        return known.get(id(atom.val), atom.val) if isinstance(atom, core.Literal) else values[atom]

    for eqn in inner.eqns:
        with eqn.ctx.manager:
            found = _step(eqn, [value(atom) for atom in eqn.invars], known)
        values.update(zip(eqn.outvars, found, strict=True))
    return [value(atom) for atom in inner.outvars]


def _step(eqn: Any, arguments: list[Any], known: dict[int, Any]) -> list[Any]:
    name, params = eqn.primitive.name, eqn.params
    if _has_rules(eqn):
        return _evaluate(params["call_jaxpr"], arguments, known)
    if _holds_arrays(params):
        # Arrays within loops and calls become arguments of these where the body is traced anew.
        if name in ("jit", "pjit", "closed_call"):
            return _evaluate(params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"], arguments, known)
        if name in _AGAIN:
            typed = [jnp.asarray(a, v.aval.dtype) for a, v in zip(arguments, eqn.invars, strict=True)]
            return _AGAIN[name](params, typed, known)
    found = eqn.primitive.bind(*arguments, **eqn.primitive.get_bind_params(params))
    return list(found) if eqn.primitive.multiple_results else [found]


def _scan(params: dict[str, Any], arguments: list[Any], known: dict[int, Any]) -> list[Any]:
    if "ft_in" in params:  # As JAX has it from 0.12 on.
        count, carried, _ = (len(part) for part in params["ft_in"].unpack())
    else:
        count, carried = params["num_consts"], params["num_carry"]
    ends = count, count + carried
    fixed, carry, rows = arguments[: ends[0]], arguments[ends[0] : ends[1]], arguments[ends[1] :]

    def body(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = _evaluate(params["jaxpr"], [*fixed, *carry, *row], known)
        return outputs[: len(carry)], outputs[len(carry) :]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    last, stacked = jax.lax.scan(body, carry, rows, **options)
    return [*last, *stacked]


def _while(params: dict[str, Any], arguments: list[Any], known: dict[int, Any]) -> list[Any]:
    ends = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    of_condition, of_body, start = arguments[: ends[0]], arguments[ends[0] : ends[1]], arguments[ends[1] :]
    return list(
        jax.lax.while_loop(
            lambda carry: _evaluate(params["cond_jaxpr"], [*of_condition, *carry], known)[0],
            lambda carry: _evaluate(params["body_jaxpr"], [*of_body, *carry], known),
            start,
        )
    )


def _cond(params: dict[str, Any], arguments: list[Any], known: dict[int, Any]) -> list[Any]:
    branches = [lambda *rest, branch=branch: _evaluate(branch, rest, known) for branch in params["branches"]]
    return list(jax.lax.switch(arguments[0], branches, *arguments[1:]))


def _checkpoint(params: dict[str, Any], arguments: list[Any], known: dict[int, Any]) -> list[Any]:
    again = jax.checkpoint(
        lambda *rest: _evaluate(params["jaxpr"], rest, known),
        prevent_cse=params["prevent_cse"],
        policy=params["policy"],
    )
    return list(again(*arguments))


_AGAIN = {"scan": _scan, "while": _while, "cond": _cond, "checkpoint": _checkpoint, "remat2": _checkpoint}


def _opened(traced: Any) -> tuple[Any, Iterable[Any]]:
    return getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())


def _is_traced(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def _has_rules(eqn: Any) -> bool:
    return eqn.primitive.name.startswith("custom_") and "call_jaxpr" in eqn.params


def _holds_arrays(params: dict[str, Any]) -> bool:
    return any(bool(described(part)[1]) for part in _traced_parts(params))


def _traced_parts(params: dict[str, Any]) -> list[Any]:
    parts = [part for value in params.values() for part in (value if isinstance(value, tuple | list) else [value])]
    return [part for part in parts if _is_traced(part)]


def _context(eqn: Any) -> Hashable:
    """What is set around an equation and changes what it computes, as how random bits are made."""
    names = [name for kind in type(eqn.ctx).__mro__ for name in getattr(kind, "__slots__", ())]
    return tuple(
        (name, _comparable(getattr(eqn.ctx, name, None))) for name in sorted(names) if not name.startswith("_")
    )


def _literal(atom: Any) -> Hashable:
    # Bytes, as a NaN is not equal to itself.
    return "literal", atom.aval, np.asarray(atom.val).tobytes()


def _comparable(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return object()  # Equal to nothing.
    return value
