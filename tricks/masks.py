"""Which leaves a transform touches."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

__all__ = ["WEIGHTS_ONLY", "Mask", "marked", "require_mask", "warn_of_idle", "weights_only"]

Mask = Any | Callable[[optax.Params], Any] | None
# The default mask by its name, because optax.inject_hyperparams takes every function for a schedule.
WEIGHTS_ONLY = "weights_only"
_NOT_WEIGHTS = frozenset({"scale", "b", "offset", "beta", "gamma", "mean", "var"})
_WRAPPERS = frozenset({"value", "raw_value"})


def weights_only(params: optax.Params) -> Any:
    """Marks the weights: arrays of two or more dimensions that are not named like a bias or a normalization.

    Not weights are names with `bias` in them, and scale, b, offset, beta, gamma, mean, var. A normalization whose
    parameters have two dimensions and another name (a stacked `LayerNorm.weight` of Equinox) needs a mask of its own.

    Args:
        params: any pytree of arrays.

    Returns:
        A pytree of the same structure with True at the weights and False elsewhere.

    >>> weights_only({"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "norm": {"scale": jnp.ones(3)}})
    {'dense': {'bias': False, 'kernel': True}, 'norm': {'scale': False}}

    Source: the lectures on regularization: decay does not touch biases.
    """

    def is_weight(path: tuple[Any, ...], leaf: Any) -> bool:
        names = [jax.tree_util.keystr((key,), simple=True) for key in path]
        named = [name for name in names if name not in _WRAPPERS]
        name = named[-1].lower() if named else ""
        return jnp.ndim(leaf) >= 2 and name not in _NOT_WEIGHTS and "bias" not in name

    return jax.tree_util.tree_map_with_path(is_weight, params)


def require_mask(mask: Mask) -> None:
    """Refuses a mask that can match no parameters, when a transform is made.

    Args:
        mask: a pytree of booleans, a function from the parameters to one, `weights_only`, or None.

    Raises:
        ValueError: when a leaf is anything but True or False.

    >>> require_mask({"kernel": 1.0})
    Traceback (most recent call last):
    ...
    ValueError: mask holds 1.0 at ['kernel']; allowed: True and False, in the parameters' structure or a prefix of it; \
or a function to that, or None for all
    """
    if mask is None or (isinstance(mask, str) and mask == WEIGHTS_ONLY) or _is_function(mask):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(mask):
        if not _is_boolean(leaf):
            raise ValueError(
                f"mask holds {leaf!r} at {jax.tree_util.keystr(path) or 'its root'}; allowed: True and False, in the "
                "parameters' structure or a prefix of it; or a function to that, or None for all"
            )
        if not path and not leaf:
            raise ValueError(
                "mask is False, for no parameters at all; allowed: a pytree of booleans, a function to one, or None "
                "for all (under optax.inject_hyperparams name the mask in static_args)"
            )


def marked(mask: Mask, params: optax.Params) -> Any:
    """A mask spelled out for parameters.

    Args:
        mask: a pytree of booleans (or a prefix of one), a function from the parameters to one, or None for all.
        params: a pytree of arrays.

    Returns:
        A pytree of booleans of the structure of `params`; `params` themselves where they have no leaves to mark, as
        what `optax.tree.map_params` gives to `init` in their place.

    Raises:
        ValueError: for a mask of another structure, or with other leaves than True and False.

    >>> marked({"a": True, "b": False}, {"a": {"kernel": 1.0, "bias": 2.0}, "b": 3.0})
    {'a': {'bias': True, 'kernel': True}, 'b': False}
    """
    if not jax.tree.leaves(params):
        return params
    if mask is None:
        return jax.tree.map(lambda _: True, params)
    if isinstance(mask, str):
        return weights_only(params)
    if _is_function(mask):
        mask = mask(params)
        require_mask(mask)
    try:
        return jax.tree.map(lambda marks, part: jax.tree.map(lambda _: bool(marks), part), mask, params)
    except ValueError as error:
        raise ValueError(
            f"mask has the structure {jax.tree.structure(mask)}; allowed: that of the parameters, or a prefix of it: "
            f"{jax.tree.structure(params)}"
        ) from error


def warn_of_idle(name: str, mask: Mask, params: optax.Params, does: str) -> None:
    """Warns where a mask marks no leaf at all, so that what it is for is lost.

    Args:
        name: of the argument.
        mask: as for `marked`.
        params: a pytree of arrays.
        does: what happens to the leaves that are marked, in words.

    Raises:
        ValueError: as `marked`.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_idle("mask", WEIGHTS_ONLY, jnp.ones(6), "decays")
    >>> str(caught[0].message).split(";")[0]
    "mask is 'weights_only', which marks none of the 1 leaves, so that nothing decays"
    """
    marks = jax.tree.leaves(marked(mask, params))
    # Of a group of parameters, as of optax.partition, the others may be elsewhere.
    is_group = any(map(_is_masked, jax.tree.leaves(params, is_leaf=_is_masked)))
    if any(marks) or is_group or not jax.tree.leaves(params):
        return
    # From one place, so that Python's filters show it once, however often a state is made.
    warnings.warn(
        f"{name} is {repr(mask)[:80]}, which marks none of the {len(marks)} leaves, so that nothing {does}; allowed "
        f"but seldom meant: parameters raveled into one vector have lost their names and dimensions. Chain it outside "
        f"of optax.flatten, give a {name} of your own, or {name}=None for all",
        stacklevel=2,
    )


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _is_function(mask: Any) -> bool:
    # A module of Equinox is a pytree that can be called; as a mask it is the pytree.
    leaves = jax.tree.leaves(mask)
    return callable(mask) and bool(leaves) and all(callable(leaf) for leaf in leaves)


def _is_boolean(leaf: Any) -> bool:
    # NumPy's booleans, as `np.prod(leaf.shape) > 100` gives them, do as well as Python's.
    concrete = getattr(leaf, "dtype", None) == jnp.bool_ and not isinstance(leaf, jax.core.Tracer)
    return isinstance(leaf, bool) or (concrete and leaf.ndim == 0)
