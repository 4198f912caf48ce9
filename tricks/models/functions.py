"""Pairs of functions, of whatever library, as networks."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

from tricks.models import plain
from tricks.models.network import ModelState, Network, Params
from tricks.models.switches import choose

__all__ = ["from_functions"]

_WANTED = "apply(params, model_state, x, *, rng, batch_statistics) -> (outputs, model_state)"


def from_functions(init: Callable[..., Any], apply: Callable[..., Any]) -> Network:
    """Two functions over any pytrees as a network over plain dicts.

    Args:
        init: `init(key) -> (params, model_state)`, pytrees of arrays; `{}` where there is no state.
        apply: `apply(params, model_state, x, *, rng, batch_statistics) -> (outputs, model_state)`, with the pytrees of
            `init`. `rng` is None in evaluation, where the state that it gives is not used; `batch_statistics` is
            True or False, and may be left out where nothing but `rng` decides.

    Returns:
        A `Network`; its dicts have the attributes, keys and indices of the pytrees for names, and are the pytrees
        themselves where those are plain dicts already.

    Raises:
        ValueError: `apply` does not take these arguments. When it is used first: something is given that is not as
            above, or no parameters, or some that are not floating. From `apply`: it takes no `batch_statistics`, which
            were asked for apart from `rng`, and has a state.

    >>> def init(key):
    ...     return (jax.random.normal(key, (4, 2)), jax.numpy.zeros(2)), {}
    >>> def apply(params, model_state, x, *, rng):
    ...     kernel, bias = params
    ...     return x @ kernel + bias[None], model_state
    >>> network = from_functions(init, apply)
    >>> params, state = network.init(jax.random.key(0))
    >>> sorted(params), network.apply(params, state, jax.numpy.ones((3, 4)))[0].shape
    (['0', '1'], (3, 2))
    """
    takes_statistics = _takes_statistics(apply)

    def draw(key: jax.Array) -> tuple[Any, Any]:
        return _pair("init", init(key), "(params, model_state)")

    forms = functools.cache(
        functools.partial(plain.forms_of, draw, "keep others in a closure, as eqx.partition(model, eqx.is_array) does")
    )

    def init_plain(key: jax.Array) -> tuple[Params, ModelState]:
        of_params, of_state = forms()
        params, model_state = draw(key)
        return of_params.to_plain(params), of_state.to_plain(model_state)

    def apply_plain(
        params: Params,
        model_state: ModelState,
        x: Any,
        *,
        rng: jax.Array | None = None,
        batch_statistics: bool | None = None,
    ) -> tuple[Any, ModelState]:
        mode = choose(rng, batch_statistics)
        of_params, of_state = forms()
        if mode.is_mixed and not takes_statistics and of_state.names:
            raise ValueError(
                f"batch_statistics is {batch_statistics} {'with' if mode.random else 'without'} a key, but apply takes "
                f"no batch_statistics to tell it from dropout; allowed: {_WANTED}"
            )
        statistics = {"batch_statistics": mode.batch_statistics} if takes_statistics else {}
        given = apply(of_params.from_plain(params), of_state.from_plain(model_state), x, rng=rng, **statistics)
        outputs, new_state = _pair("apply", given, "(outputs, model_state)")
        return outputs, model_state if mode.is_evaluation else of_state.settle(model_state, new_state)

    return Network(init_plain, apply_plain)


def _takes_statistics(apply: Callable[..., Any]) -> bool:
    signature = inspect.signature(apply)
    for taken in ({"rng": None, "batch_statistics": False}, {"rng": None}):
        with contextlib.suppress(TypeError):
            signature.bind(None, None, None, **taken)
            return "batch_statistics" in taken
    raise ValueError(f"apply takes {signature}; allowed: {_WANTED}, the last argument if it has a use")


def _pair(name: str, given: Any, wanted: str) -> tuple[Any, Any]:
    if not isinstance(given, tuple) or len(given) != 2:
        found = f"{len(given)} values" if isinstance(given, tuple) else f"a {type(given).__name__}"
        raise ValueError(f"{name} gave {found}; allowed: {wanted}, with {{}} where there is no state")
    return given
