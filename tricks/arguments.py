"""Checks of arguments where a thing is made. What is traced, as under `vmap`, is taken as it is."""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax

__all__ = [
    "require",
    "require_boolean",
    "require_choice",
    "require_decay",
    "require_integer",
    "require_key",
    "require_known",
    "require_not_negative",
    "require_params",
    "require_positive",
    "require_rate",
    "require_transformation",
]


def require(name: str, value: Any, allowed: str, holds: Callable[[float], bool]) -> None:
    """Refuses anything but a number of which something holds.

    Args:
        name: of the argument.
        value: a number or a traced number.
        allowed: what is, in words.
        holds: whether a number is.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require("max_norm", "large", "a number above 0", lambda x: x > 0)
    Traceback (most recent call last):
    ...
    ValueError: max_norm is 'large'; allowed: a number above 0
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        fine = not isinstance(value, str | bytes | bool) and holds(float(value))
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise ValueError(f"{name} is {value!r}; allowed: {allowed}")


def require_not_negative(name: str, value: Any) -> None:
    """Refuses anything but a finite number of 0 or more.

    Args:
        name: of the argument.
        value: a number or a traced number.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_not_negative("min_norm", -0.1)
    Traceback (most recent call last):
    ...
    ValueError: min_norm is -0.1; allowed: a finite number, 0 or more
    """
    require(name, value, "a finite number, 0 or more", lambda x: 0 <= x < math.inf)


def require_rate(name: str, value: Any) -> None:
    """Refuses anything but a finite number of 0 or more, or a schedule.

    Args:
        name: of the argument.
        value: a number, a traced number, or a function of the step.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_rate("learning_rate", -0.1)
    Traceback (most recent call last):
    ...
    ValueError: learning_rate is -0.1; allowed: a finite number, 0 or more, or a schedule
    """
    if not callable(value):
        require(name, value, "a finite number, 0 or more, or a schedule", lambda x: 0 <= x < math.inf)


def require_decay(name: str, value: Any) -> None:
    """Refuses the decay of an average outside [0, 1).

    Args:
        name: of the argument.
        value: a number or a traced number.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_decay("b1", 1.0)
    Traceback (most recent call last):
    ...
    ValueError: b1 is 1.0; allowed: 0 <= b1 < 1
    """
    require(name, value, f"0 <= {name} < 1", lambda x: 0 <= x < 1)


def require_positive(name: str, value: Any) -> None:
    """Refuses anything but a finite number above 0.

    Args:
        name: of the argument.
        value: a number or a traced number.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_positive("eps", 0.0)
    Traceback (most recent call last):
    ...
    ValueError: eps is 0.0; allowed: a finite number above 0
    """
    require(name, value, "a finite number above 0", lambda x: 0 < x < math.inf)


def require_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Refuses anything but one of some names.

    Args:
        name: of the argument.
        value: a name.
        choices: the names that are allowed.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_choice("shape", "square", ("linear", "cosine"))
    Traceback (most recent call last):
    ...
    ValueError: shape is 'square'; allowed: linear, cosine
    """
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(choices)}")


def require_boolean(name: str, value: Any) -> None:
    """Refuses anything but True and False.

    Args:
        name: of the argument.
        value: a boolean.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_boolean("noise", "no")
    Traceback (most recent call last):
    ...
    ValueError: noise is 'no'; allowed: True or False
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; allowed: True or False")


def require_integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuses anything but an integer that is not below the least, nor above the most.

    Args:
        name: of the argument.
        value: an integer or a traced one.
        least: the least that is allowed.
        most: the most; None for no such.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_integer("window", 2.5, least=1)
    Traceback (most recent call last):
    ...
    ValueError: window is 2.5; allowed: an integer, 1 or more
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        fine = not isinstance(value, bool) and operator.index(value) >= least and (most is None or value <= most)
    except TypeError:
        fine = False
    if not fine:
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {value!r}; allowed: an integer, {allowed}")


def require_key(name: str, value: Any) -> None:
    """Refuses anything but a key of random numbers.

    Args:
        name: of the argument.
        value: one typed key, or one of the older kind.

    Raises:
        ValueError: with the name, the value, and how to make one.

    >>> require_key("key", 0)
    Traceback (most recent call last):
    ...
    ValueError: key is 0; allowed: one key of random numbers, as jax.random.key(0)
    """
    try:
        one = jax.random.key_data(value).ndim == 1
    except (TypeError, ValueError):
        one = False
    if not one:
        raise ValueError(f"{name} is {value!r}; allowed: one key of random numbers, as jax.random.key(0)")


def require_known(name: str, value: Any) -> None:
    """Refuses an array for what a program is compiled for.

    Args:
        name: of the argument.
        value: anything.

    Raises:
        ValueError: with the name, and where such an array comes from.

    >>> import jax.numpy as jnp
    >>> require_known("basis_size", jnp.int32(40))
    Traceback (most recent call last):
    ...
    ValueError: basis_size is an array of JAX; allowed: a number of Python's own, because programs are compiled for it \
(under optax.inject_hyperparams name it in static_args)
    """
    if isinstance(value, jax.Array):
        raise ValueError(
            f"{name} is an array of JAX; allowed: a number of Python's own, because programs are compiled for it "
            "(under optax.inject_hyperparams name it in static_args)"
        )


def require_transformation(name: str, value: Any) -> None:
    """Refuses anything but a gradient transformation.

    Args:
        name: of the argument.
        value: with `init` and `update`, as those of optax.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_transformation("inner", "adam")
    Traceback (most recent call last):
    ...
    ValueError: inner is 'adam'; allowed: an optax transformation, such as optax.adam(1e-3)
    """
    if not (hasattr(value, "init") and hasattr(value, "update")):
        then = ": call this function first" if callable(value) else ""
        raise ValueError(f"{name} is {value!r}; allowed: an optax transformation, such as optax.adam(1e-3){then}")


def require_params(params: Any, updates: Any) -> None:
    """Refuses an update without the parameters that it depends on.

    Args:
        params: what `update` was given for them.
        updates: what it was given to transform.

    Raises:
        ValueError: when there are updates and no parameters.

    >>> require_params(None, 1.0)
    Traceback (most recent call last):
    ...
    ValueError: params is None; this transformation needs the parameters: call update(updates, state, params)
    """
    if params is None and jax.tree.leaves(updates):
        raise ValueError(
            "params is None; this transformation needs the parameters: call update(updates, state, params)"
        )
