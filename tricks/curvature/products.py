"""Hessian-vector and Gauss-Newton-vector products of any loss of any pytree, over one batch or many."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tricks.curvature import trees
from tricks.curvature.batches import grouped, mean_over
from tricks.curvature.captured import Captured, captured
from tricks.curvature.division import Division, division_of
from tricks.curvature.snapshot import Snapshot, ValueAndField, snapshot

Loss = Callable[..., jax.Array]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["apply", "like", "loss", "gradient"],
    meta_fields=["mode", "precision", "division"],
)
@dataclasses.dataclass(frozen=True)
class Operator:
    """A symmetric linear map of parameters: `operator(vector) -> vector`. A pytree itself, so `jit` takes it.

    Attributes:
        apply: the linear map as it is when the operator is made, not checked.
        like: a pytree with the structure, shapes and types of its vectors.
        loss: of the point that the operator belongs to, weighted over all batches; None without one.
        gradient: of that loss; None without one.
        mode: what batch normalization and dropout did, in words.
        precision: the epsilon of the coarsest type that products pass through; None where nobody has looked.
        division: how its vectors are divided among devices, that of the parameters; None where each is whole.
    """

    apply: Callable[[Any], Any]
    like: Any
    loss: Any = None
    gradient: Any = None
    mode: str = "as given"
    precision: float | None = None
    division: Division | None = None

    @property
    def size(self) -> int:
        """Number of rows of the matrix."""
        return trees.size(self.like)

    def __post_init__(self) -> None:
        # A plain function is no pytree, and what it closes over may change.
        if not callable(self.apply) or isinstance(self.apply, jax.tree_util.Partial | Captured):
            return
        traced = None if is_traced(self.like) else captured(self.apply, self.like)
        apply = jax.tree_util.Partial(self.apply) if traced is None or is_traced(traced) else traced
        object.__setattr__(self, "apply", apply)

    def __call__(self, vector: Any) -> Any:
        """The product with a vector of the structure of `like`.

        Raises:
            ValueError: when the vector has another structure, shape or type.
        """
        trees.require_like("vector", vector, self.like)
        typed = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, jnp.result_type(like)), vector, self.like)
        return _apply(self.apply, typed)


_apply = jax.jit(lambda apply, vector: apply(vector))


def hvp(loss_fn: Loss, params: Any, vector: Any, batches: Sequence[Any] | None = None) -> Any:
    """One product of the Hessian with a vector: H v, by a forward derivative of the gradient.

    For more than one product `hessian` is cheaper: it linearizes once.

    Args:
        loss_fn: `loss_fn(params) -> scalar`, or with `batches` `loss_fn(params, batch) -> scalar`.
        params: the point, any pytree of floating-point arrays.
        vector: v, of the structure and shapes of `params`.
        batches: as for `hessian`.

    Returns:
        H v, of the structure and shapes of `params`, as `hessian` gives it.

    Raises:
        ValueError: for a vector of another structure or shape, parameters that are not floating-point, or a loss that
            is not a scalar.

    >>> float(hvp(lambda w: w**3, jnp.float32(2.0), jnp.float32(1.0)))
    12.0

    Source: Pearlmutter 1994.
    """
    trees.require_floating("params", params)
    trees.require_like("vector", vector, params)
    groups, shares = (None, None) if batches is None else grouped(batches)
    point, scalar = trees.widened(params), Scalar(loss_fn)
    typed = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, jnp.result_type(like)), vector, point)
    with jax.default_matmul_precision("highest"), explained():
        gradient = jax.grad(lambda p: mean_over(partial(scalar, p), groups, shares))
        return jax.jvp(gradient, (point,), (typed,))[1]


def hessian(
    loss_fn: Loss,
    params: Any,
    batches: Sequence[Any] | None = None,
    *,
    mask: Any = None,
    mode: str | None = None,
    recompute: bool = False,
) -> Operator:
    """The Hessian of a loss at a point, as an operator that is linearized once and cheap to apply.

    H = sum_i (n_i / n) H_i over batches of n_i examples, H_i the Hessian of the mean loss of batch i: exactly that of
    the mean over all examples, also when the last batch is a shorter one.

    Args:
        loss_fn: `loss_fn(params) -> scalar`, or with `batches` `loss_fn(params, batch) -> scalar`, the mean over the
            batch.
        params: the point, any pytree of floating-point arrays. What is narrower than float32 is widened to it, and so
            are vectors and products.
        batches: pytrees of arrays whose first dimension counts examples; sharded arrays stay so.
        mask: restricts the operator to a part of the parameters: a pytree of booleans (or a prefix of one); its
            vectors have None at the other leaves.
        mode: what batch normalization and dropout do in `loss_fn`, in words, for the record; by default the attribute
            `mode` of `loss_fn`, if it has one.
        recompute: keep nothing of the linearization, which takes about as much memory as the activations of all
            batches do; a product then costs half as much again.

    Returns:
        An `Operator` with the loss and the gradient of the point.

    Raises:
        ValueError: for no batches, batches without examples, parameters that are not floating-point, a loss that is
            not a scalar, or a loss or gradient that is not finite (the message names the leaf).

    >>> operator = hessian(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))
    >>> operator(jnp.array([1.0, 1.0])).tolist()
    [-2.0, -2.0]

    Source: the lectures on critical points; Pearlmutter 1994.
    """
    return _linearized(of_loss(loss_fn), params, batches, mask, _mode(loss_fn, mode), recompute)


def gauss_newton(
    model_fn: Callable[..., Any],
    output_loss_fn: Callable[..., jax.Array],
    params: Any,
    batches: Sequence[Any] | None = None,
    *,
    mask: Any = None,
    mode: str | None = None,
    recompute: bool = False,
) -> Operator:
    """The Gauss-Newton matrix of a loss at a point: the Hessian without the curvature of the model.

    G = sum_i (n_i / n) J_i^T (d^2 l / d outputs^2) J_i, positive semidefinite for a loss that is convex in the outputs.

    Args:
        model_fn: `model_fn(params) -> outputs`, or with `batches` `model_fn(params, batch) -> outputs`.
        output_loss_fn: `output_loss_fn(outputs) -> scalar`, or with `batches` `output_loss_fn(outputs, batch)`.
        params: the point, any pytree of floating-point arrays.
        batches: as for `hessian`.
        mask: as for `hessian`.
        mode: as for `hessian`, by default that of `model_fn`.
        recompute: as for `hessian`.

    Returns:
        An `Operator` with the loss and the gradient of the point.

    Raises:
        ValueError: as `hessian`.

    >>> operator = gauss_newton(lambda w: w**2, lambda z: z**2 / 2, jnp.float32(3.0))
    >>> float(operator(jnp.float32(1.0)))
    36.0

    Source: Schraudolph 2002; Martens, arXiv 1412.1193.
    """
    scalar = Scalar(output_loss_fn)

    def value_and_field(chosen: Any, point: Any, rest: Any, *batch: Any) -> tuple[jax.Array, Any]:
        def outputs(c: Any) -> Any:
            return model_fn(trees.merge(c, rest), *batch)

        # With the model's own derivative held at the point only the outputs move.
        _, pull_back = jax.vjp(outputs, point)
        found = outputs(chosen)
        for leaf in jax.tree.leaves(found):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise ValueError(
                    f"model_fn returns {jnp.result_type(leaf)}; allowed: floating-point outputs, as output_loss_fn is "
                    "differentiated by them (leave decisions such as argmax to measures)"
                )
        value, slope = jax.value_and_grad(lambda z: scalar(z, *batch))(found)
        return value, pull_back(slope)[0]

    return _linearized(value_and_field, params, batches, mask, _mode(model_fn, mode), recompute)


def of_loss(loss_fn: Loss) -> ValueAndField:
    """A loss and its gradient, for `snapshot`."""
    scalar = Scalar(loss_fn)

    def value_and_field(chosen: Any, point: Any, rest: Any, *batch: Any) -> tuple[jax.Array, Any]:
        del point
        return jax.value_and_grad(lambda c: scalar(trees.merge(c, rest), *batch))(chosen)

    return value_and_field


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A loss that is checked to be a scalar."""

    loss_fn: Loss

    def __call__(self, params: Any, *batch: Any) -> jax.Array:
        loss = self.loss_fn(params, *batch)
        if loss is None or isinstance(loss, tuple | list | dict | str):
            raise ValueError(f"loss_fn returns a {type(loss).__name__}; allowed: a scalar alone, without other outputs")
        if jnp.shape(loss) != ():
            shape = jnp.shape(loss)
            raise ValueError(f"loss_fn returns an array of shape {shape}; allowed: a scalar, as jnp.mean gives one")
        if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
            raise ValueError(f"loss_fn returns {jnp.result_type(loss)}; allowed: a floating-point scalar")
        return loss


@dataclasses.dataclass(frozen=True)
class _AsItIs:
    """What `Snapshot` is, inside a trace: the functions themselves, which may close over what is traced."""

    value_and_field: ValueAndField

    def loss(self, chosen: Any, rest: Any, *batch: Any) -> jax.Array:
        return self.value_and_field(chosen, chosen, rest, *batch)[0]

    def field(self, chosen: Any, rest: Any, *batch: Any) -> Any:
        return self.value_and_field(chosen, jax.lax.stop_gradient(chosen), rest, *batch)[1]


def _linearized(
    value_and_field: ValueAndField,
    params: Any,
    batches: Sequence[Any] | None,
    mask: Any,
    mode: str,
    recompute: bool,
) -> Operator:
    chosen, rest = trees.split(params, mask)
    trees.require_floating("params", chosen)
    chosen, rest = trees.widened((chosen, rest))
    groups, shares = (None, None) if batches is None else grouped(batches)
    with explained():
        now = None if is_traced((params, groups)) else snapshot(value_and_field, chosen, rest, groups, shares)
    if now is None or is_traced(now):
        loss, gradient, apply = _linearization(_AsItIs(value_and_field), chosen, rest, groups, shares, recompute)
        return Operator(apply, gradient, loss, gradient, mode)
    loss, gradient, apply = _compiled(now, chosen, rest, groups, shares, recompute)
    division = division_of(chosen)
    if division is not None:
        gradient = jax.device_put(gradient, jax.tree.map(lambda leaf: leaf.sharding, chosen))
    trees.require_finite("the loss", loss)
    trees.require_finite("the gradient", gradient)
    if now.calls_back:
        again = _compiled(now, chosen, rest, groups, shares, recompute)
        require_same((loss, gradient), again[:2])
    return Operator(apply, gradient, loss, gradient, mode, max(now.precision, trees.epsilon(gradient)), division)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Says what to do about losses that JAX or Flax refuses to differentiate twice."""
    try:
        yield
    except Exception as error:
        advice = next((advice for sign, advice in _ADVICE.items() if sign in str(error)), None)
        if advice is None:
            raise
        raise ValueError(f"the loss cannot be differentiated twice: {str(error).splitlines()[0]} {advice}") from error


_ADVICE = {
    "custom_vjp": (
        "A gradient given by jax.custom_vjp has no forward derivative within it: give it by jax.custom_jvp, or take a "
        "version without it for the curvature"
    ),
    "different trace level": (
        "The loss changes the state of a module that was made outside: make a copy in it, nnx.merge(..., copy=True), "
        "or use running averages"
    ),
    "allbacks do not support JVP": "Calls of Python have no derivative: put jax.lax.stop_gradient around them",
}


def require_same(once: Any, again: Any) -> None:
    """Refuses a loss that is another one at every call.

    Raises:
        ValueError: where what two calls gave differs.
    """
    if any((one != other).any() for one, other in zip(*map(jax.tree.leaves, (once, again)), strict=True)):
        raise ValueError(
            "the loss is not deterministic: it calls Python, and two calls at one point differ; draw what is random "
            "once, and close over it"
        )


def is_traced(tree: Any) -> bool:
    """Whether any of it is not known yet, as inside `jit`.

    >>> is_traced(jnp.ones(2)), jax.jit(lambda x: x if is_traced(x) else -x)(1.0).tolist()
    (False, 1.0)
    """
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _linearization(
    functions: Snapshot | _AsItIs, chosen: Any, rest: Any, groups: Any, shares: Any, recompute: bool
) -> tuple[jax.Array, Any, Callable[[Any], Any]]:
    # The barrier keeps the compiler from computing, before a loop of products, all that is not kept. A scan over
    # batches is one by itself.
    lone = shares is None or any(len(share) == 1 for share in shares)
    stored = jax.checkpoint(
        lambda chosen, *batch: functions.field(chosen, rest, *batch),
        prevent_cse=lone,
        policy=_nothing if recompute else _costly,
    )
    # TensorFloat-32 and bfloat16 products, the default of some accelerators, keep too few digits for curvature.
    with jax.default_matmul_precision("highest"):
        loss = mean_over(partial(functions.loss, chosen, rest), groups, shares)
        gradient, apply = jax.linearize(lambda c: mean_over(partial(stored, c), groups, shares), chosen)
    return loss, gradient, apply


_compiled = jax.jit(_linearization, static_argnums=5)


# What is computed again in every product rather than kept from the linearization: it costs less than its memory.
_CHEAP = {
    *("add", "add_any", "sub", "mul", "div", "neg", "max", "min", "abs", "sign", "square", "integer_pow", "clamp"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "select_n", "convert_element_type", "stop_gradient"),
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "pad", "rev", "iota", "copy"),
}


def _costly(primitive: Any, *arguments: Any, **_: Any) -> bool:
    # JAX marks what is kept by an operation that complex numbers do not have.
    is_complex = primitive.name in ("fft", "complex") or any(
        jnp.issubdtype(getattr(argument, "dtype", jnp.float32), jnp.complexfloating) for argument in arguments
    )
    return primitive.name not in _CHEAP and not is_complex


def _nothing(*_: Any, **__: Any) -> bool:
    return False


def _mode(loss_fn: Callable[..., Any], mode: str | None) -> str:
    return getattr(loss_fn, "mode", "as given") if mode is None else mode
