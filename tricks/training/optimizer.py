"""Optimizer families, each with the fields it has, and the decays that go before them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from tricks import transforms
from tricks.arguments import require_choice


class Family(NamedTuple):
    """An optimizer whose arguments are fields of the config.

    Attributes:
        make: `make(learning_rate, **arguments)`.
        arguments: for each field that the family has, the name of the argument.
    """

    make: Callable[..., optax.GradientTransformation]
    arguments: Mapping[str, str]


_ADAM = {"momentum": "b1", "second_moment_decay": "b2", "epsilon": "eps"}
FAMILIES = {
    "momentum": Family(transforms.momentum, {"momentum": "decay", "nesterov": "nesterov"}),
    "root_mean_square": Family(transforms.root_mean_square, {"epsilon": "eps"}),
    "rmsprop": Family(transforms.rmsprop, {"second_moment_decay": "decay", "epsilon": "eps"}),
    "adam": Family(transforms.adam, _ADAM),
    "adamw": Family(transforms.adamw, {**_ADAM, "weight_decay": "weight_decay"}),
    "lamb": Family(transforms.lamb, {**_ADAM, "weight_decay": "weight_decay"}),
}


def family(name: str) -> Family:
    """The optimizer family of a name.

    Args:
        name: one of `FAMILIES`.

    Returns:
        The family.

    Raises:
        ValueError: there is none of that name.

    >>> sorted(family("momentum").arguments)
    ['momentum', 'nesterov']
    """
    require_choice("name", name, FAMILIES)
    return FAMILIES[name]


def make(
    name: str, learning_rate: optax.ScalarOrSchedule, *, l1: Any = 0.0, l2: Any = 0.0, **fields: Any
) -> optax.GradientTransformation:
    """Decay first, as part of the gradient, then the optimizer.

    Args:
        name: of the family.
        learning_rate: a number, traced or not, or a schedule.
        l1: strength of the decay towards zero by sign; a number, traced or not. The number 0 leaves it out.
        l2: strength of the decay towards zero by size; likewise.
        fields: values of fields that the family has, numbers traced or not; those left out are as in
            `tricks.transforms`.

    Returns:
        An optax transformation.

    Raises:
        ValueError: for an unknown name, a field that the family does not have, or a value out of range.

    >>> tx = make("momentum", 0.1, momentum=0.9, l2=1e-4)
    >>> make("adam", 0.1, nesterov=True)
    Traceback (most recent call last):
    ...
    ValueError: nesterov is True; adam has no such field, only momentum, second_moment_decay, epsilon
    """
    chosen = family(name)
    for field, value in fields.items():
        if field not in chosen.arguments:
            raise ValueError(f"{field} is {value!r}; {name} has no such field, only {', '.join(chosen.arguments)}")
    decays = [(transforms.add_l1_decay, l1), (transforms.add_l2_decay, l2)]
    before = [decay(strength) for decay, strength in decays if not is_off(strength)]
    return optax.chain(*before, chosen.make(learning_rate, **{chosen.arguments[k]: v for k, v in fields.items()}))


def is_off(strength: Any) -> bool:
    """Whether a strength is the number 0, known when the program is made.

    >>> is_off(0.0), is_off(1e-4)
    (True, False)
    """
    return isinstance(strength, float | int) and strength == 0
