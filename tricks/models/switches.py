"""The arguments by which a network is told whether it trains."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

__all__ = ["JOINT", "Mode", "choose", "parameters_of"]

# Those that stand for dropout and batch statistics together.
JOINT = ("train", "training", "is_training")


class Mode(NamedTuple):
    """What one application of a network does."""

    random: bool
    batch_statistics: bool

    @property
    def is_evaluation(self) -> bool:
        """Whether nothing of training happens."""
        return not (self.random or self.batch_statistics)

    @property
    def is_mixed(self) -> bool:
        """Whether one happens without the other."""
        return self.random != self.batch_statistics

    def attributes(self) -> dict[str, bool]:
        """The two switches of Flax."""
        return {"deterministic": not self.random, "use_running_average": not self.batch_statistics}

    def arguments(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The switches among the arguments of a call; those for both are on where one of them is."""
        settings = {**self.attributes(), **dict.fromkeys(JOINT, not self.is_evaluation)}
        return {name: value for name, value in settings.items() if name in names}


def choose(rng: jax.Array | None, batch_statistics: bool | None) -> Mode:
    """The mode that the arguments of `Network.apply` ask for.

    >>> choose(None, None), choose(None, True).is_mixed
    (Mode(random=False, batch_statistics=False), True)
    """
    random = rng is not None
    return Mode(random, random if batch_statistics is None else bool(batch_statistics))


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The arguments of a function by their names.

    >>> list(parameters_of(lambda x, *, train: x))
    ['x', 'train']
    """
    return inspect.signature(function).parameters
