"""Whether a person's network and loss can be trained, by their shapes and traces, before anything is computed."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks.losses import Batch, Loss
from tricks.models import Network


def outputs_of(network: Network, features: Any) -> Any:
    """Shapes and types of the outputs of a network at rest.

    Args:
        network: any.
        features: of a batch, arrays or `jax.ShapeDtypeStruct`s.

    Returns:
        A pytree of `jax.ShapeDtypeStruct`s.
    """
    params, model_state = jax.eval_shape(network.init, jax.random.key(0))
    return jax.eval_shape(lambda *args: network.apply(*args, rng=None)[0], params, model_state, features)


def check(network: Network, features: Any) -> None:
    """Refuses a network that cannot be trained.

    Args:
        network: any.
        features: shapes and types of a batch of them.

    Raises:
        ValueError: parameters are not floating-point, the state changes its shapes or changes in evaluation, or two
            traces of the evaluation differ.
    """
    params, model_state = jax.eval_shape(network.init, jax.random.key(0))
    _check_parameters(params)
    key = jax.random.key(0)
    _, trained = jax.eval_shape(lambda *args: network.apply(*args, rng=key), params, model_state, features)
    _check_state(model_state, trained, "training")
    _check_evaluation(network, params, model_state, features)


def lower(network: Network, features: Any) -> None:
    """Refuses a network with an operation that the device does not have in the types that it is given.

    Args:
        network: any.
        features: shapes and types of a batch of them.

    Raises:
        NotImplementedError: there is one.
    """
    key = jax.random.key(0)
    shapes = jax.eval_shape(network.init, key)
    jax.jit(lambda *args: network.apply(*args, rng=key)[0]).lower(*shapes, features)


def check_loss(loss: Loss, outputs: Any, targets: np.ndarray) -> None:
    """Refuses a loss whose measures of one example depend on the others, as by a mistaken broadcast.

    Args:
        loss: any.
        outputs: shapes and types of a batch of outputs.
        targets: some examples.

    Raises:
        ValueError: another first example changes the measures of the rest.
    """
    count = min(4, len(targets))
    if count < 2:
        return
    rng = np.random.default_rng(0)

    def drawn(struct: Any) -> np.ndarray:
        return rng.normal(size=(count, *struct.shape[1:])).astype(struct.dtype)

    one, targets = jax.tree.map(drawn, outputs), np.asarray(targets[:count])
    other = jax.tree.map(lambda a: np.concatenate([-a[:1], a[1:]]), one)
    changed = np.concatenate([targets[-1:], targets[1:]])
    before, after = loss(one, targets), loss(other, changed)
    for name in before:
        if not np.allclose(before[name][1:], after[name][1:], rtol=1e-4, atol=1e-6, equal_nan=True):
            shapes = ", ".join(str(struct.shape) for struct in jax.tree.leaves(outputs))
            raise ValueError(
                f"{name} of an example depends on the other examples of its batch; outputs are of shape {shapes} and "
                f"targets of {(jax.tree.leaves(outputs)[0].shape[0], *targets.shape[1:])}: give both one shape, and "
                "take means over all axes but the first"
            )


def fingerprint(network: Network, loss: Loss, batch: Batch) -> str:
    """Tells networks and losses from others, whatever their functions are made of.

    Args:
        network: any.
        loss: any.
        batch: shapes and types of a batch.

    Returns:
        A checksum of what is computed for initial weights, and for the loss in evaluation mode.
    """

    def measured(*state: Any) -> Any:
        features, targets = state[-1]
        return loss(network.apply(*state[:-1], features, rng=None)[0], targets)

    key = jax.random.key(0)
    shapes = jax.eval_shape(network.init, key)
    total = hashlib.sha256()
    for traced in (
        jax.make_jaxpr(lambda key: network.init(key))(key),
        jax.make_jaxpr(measured)(*shapes, (batch.features, batch.targets)),
    ):
        # Places in memory are in the text of functions.
        total.update(re.sub(r"0x[0-9a-f]+", "", str(traced.jaxpr)).encode())
        for constant in traced.consts:
            total.update(_bytes(constant))
    return total.hexdigest()


def check_augmentation(augment: Callable[[jax.Array, Batch], Batch], batch: Batch) -> None:
    """Refuses an augmentation that makes another kind of batch.

    Args:
        augment: `augment(key, batch) -> batch`.
        batch: shapes and types of a batch.

    Raises:
        ValueError: it gives something else than a batch of the same shapes and types, as far as they can be told.
    """
    found = jax.eval_shape(augment, jax.random.key(0), batch)
    if not isinstance(found, Batch):
        raise ValueError(f"it gives a {type(found).__name__}; allowed: the batch that it was given, changed")
    before, after = (_described((one.features, one.targets)) for one in (batch, found))
    if before != after:
        raise ValueError(f"it gives features and targets of {after}; allowed: those of the batch, {before}")


def _described(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)).replace("'", "")


def _check_parameters(params: Any) -> None:
    paths, _ = jax.tree.flatten_with_path(params)
    if not paths:
        raise ValueError("it has no parameters; there is nothing to train")
    for path, leaf in paths:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"its parameter {jax.tree_util.keystr(path)} is of {leaf.dtype}; allowed: floating-point numbers: keep "
                "what is not trained in the model state"
            )


def check_outputs(found: Any, loss: Loss, targets: Any, outputs: int) -> None:
    """Refuses outputs that a loss cannot take.

    Args:
        found: shapes and types of a batch of outputs.
        loss: any.
        targets: shape and type of those of the batch.
        outputs: size of the last axis that the loss needs.

    Raises:
        ValueError: they are of another shape than the targets need, or not floating-point.
    """
    if loss.output_shape is None:
        return
    needed = loss.output_shape(targets.shape, outputs)
    shape = getattr(found, "shape", None)
    if shape != needed:
        given = f"outputs of shape {shape}" if shape is not None else f"a {type(found).__name__} for outputs"
        # Classes in several places look the same, so this is no more than a guess.
        hint = "; targets that are one-hot rows are given as classes: argmax(axis=1)"
        one_hot = loss.takes == "classes" and len(targets.shape) == 2 and needed[-1] == 2
        raise ValueError(
            f"it gives {given} for targets of shape {targets.shape}; the loss needs {needed}{hint if one_hot else ''}"
        )
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"its outputs are of {found.dtype}; allowed: floating-point numbers")


def _check_state(before: Any, after: Any, mode: str) -> None:
    described = [
        {
            jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
            for path, leaf in jax.tree.flatten_with_path(s)[0]
        }
        for s in (before, after)
    ]
    for path in {**described[0], **described[1]}:
        one, other = (part.get(path, "missing") for part in described)
        if one != other:
            raise ValueError(f"its model state {path} is {one} before a call in {mode} and {other} after it")
    if str(jax.tree.structure(before)) != str(jax.tree.structure(after)):
        raise ValueError(f"its model state has another structure after a call in {mode} than before it")


def _check_evaluation(network: Network, params: Any, model_state: Any, features: Any) -> None:
    def trace() -> Any:
        # A function of its own each time, so that nothing comes from a cache.
        return jax.make_jaxpr(lambda *args: network.apply(*args, rng=None))(params, model_state, features)

    one, other = trace(), trace()
    # What is refused of a module that draws is refused here.
    jax.jit(lambda *args: network.apply(*args, rng=None)).lower(params, model_state, features)
    same = str(one.jaxpr) == str(other.jaxpr) and all(map(_equal, one.consts, other.consts))
    if same and re.search(r"\b(pure|io)_callback\[", str(one.jaxpr)):
        same = _evaluates_alike(network, features)
    if not same:
        raise ValueError(
            "it is not the same at every call in evaluation mode (rng=None): draw random numbers from rng alone, and "
            "only where it is given"
        )
    first = len(jax.tree.leaves((params, model_state)))
    changed = _reached(one.jaxpr, one.jaxpr.invars[first:])
    states = one.jaxpr.outvars[len(one.jaxpr.outvars) - len(jax.tree.leaves(model_state)) :]
    if any(state in changed for state in states if not hasattr(state, "val")):
        raise ValueError(
            "its model state takes the batch into account in evaluation mode (rng=None), as that of batch "
            "normalization in training does: use the running statistics there, and give the state back as it was"
        )


def _reached(jaxpr: Any, start: list[Any]) -> set[Any]:
    """The variables that depend on some."""
    reached = set(start)
    for equation in jaxpr.eqns:
        inner = _called(equation)
        if inner is not None:
            within = _reached(inner, [own for given, own in _pairs(equation.invars, inner.invars) if given in reached])
            reached |= {given for own, given in _pairs(inner.outvars, equation.outvars) if own in within}
        elif any(variable in reached for variable, _ in _pairs(equation.invars, equation.invars)):
            reached |= {*equation.outvars}
    return reached


def _called(equation: Any) -> Any:
    """What is called once, as by `jit` and `checkpoint`; None for loops, of which all outputs count as one."""
    inner = equation.params.get("jaxpr")
    inner = getattr(inner, "jaxpr", inner)
    sizes = [(len(one.invars), len(one.outvars)) for one in (equation, inner) if hasattr(one, "invars")]
    return inner if equation.primitive.name != "scan" and len(sizes) == 2 and sizes[0] == sizes[1] else None


def _pairs(variables: list[Any], others: list[Any]) -> list[tuple[Any, Any]]:
    # Constants are no variables, and have a value.
    return [pair for pair in zip(variables, others, strict=True) if not hasattr(pair[0], "val")]


def _evaluates_alike(network: Network, features: Any) -> bool:
    params, model_state = network.init(jax.random.key(0))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), features)
    outputs = [jax.tree.leaves(network.apply(params, model_state, zeros, rng=None)[0]) for _ in range(2)]
    return all(map(_equal, *outputs))


def _equal(one: Any, other: Any) -> bool:
    return _bytes(one) == _bytes(other)


def _bytes(value: Any) -> bytes:
    if jax.dtypes.issubdtype(getattr(value, "dtype", None), jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}".encode() + array.tobytes()
