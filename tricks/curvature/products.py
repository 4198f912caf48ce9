"""Hessian-vector and Gauss-Newton-vector products of any loss of any pytree, over one batch or many."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tricks.curvature import trees
from tricks.curvature.batches import grouped, mean_over

Loss = Callable[..., jax.Array]


@partial(jax.tree_util.register_dataclass, data_fields=["apply", "like", "loss", "gradient"], meta_fields=["mode"])
@dataclasses.dataclass(frozen=True)
class Operator:
    """A symmetric linear map of parameters: `operator(vector) -> vector`. A pytree itself, so `jit` takes it.

    Attributes:
        apply: the linear map, not checked.
        like: a pytree with the structure, shapes and types of its vectors.
        loss: of the point that the operator belongs to, weighted over all batches; None without one.
        gradient: of that loss; None without one.
        mode: what batch normalization and dropout did, in words.
    """

    apply: Callable[[Any], Any]
    like: Any
    loss: Any = None
    gradient: Any = None
    mode: str = "as given"

    @property
    def size(self) -> int:
        """Number of rows of the matrix."""
        return trees.size(self.like)

    def __post_init__(self) -> None:
        # A plain function is no pytree; a Partial is one.
        if callable(self.apply) and not isinstance(self.apply, jax.tree_util.Partial):
            object.__setattr__(self, "apply", jax.tree_util.Partial(self.apply))

    def __call__(self, vector: Any) -> Any:
        """The product with a vector of the structure of `like`.

        Raises:
            ValueError: when the vector has another structure, shape or type.
        """
        trees.require_like("vector", vector, self.like)
        return _apply(self.apply, vector)


_apply = jax.jit(lambda apply, vector: apply(vector))


def hvp(loss_fn: Loss, params: Any, vector: Any) -> Any:
    """One product of the Hessian with a vector: H v, by a forward derivative of the gradient.

    For more than one product `hessian` is cheaper: it linearizes once.

    Args:
        loss_fn: `loss_fn(params) -> scalar`.
        params: the point, any pytree of floating-point arrays.
        vector: v, of the structure and shapes of `params`.

    Returns:
        H v, of the structure and shapes of `params`.

    Raises:
        ValueError: for a vector of another structure or shape, parameters that are not floating-point, or a loss that
            is not a scalar.

    >>> float(hvp(lambda w: w**3, jnp.float32(2.0), jnp.float32(1.0)))
    12.0

    Source: Pearlmutter 1994.
    """
    trees.require_floating("params", params)
    trees.require_like("vector", vector, params)
    return jax.jvp(jax.grad(Scalar(loss_fn)), (params,), (vector,))[1]


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
        params: the point, any pytree of floating-point arrays.
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
    scalar = Scalar(hashable(loss_fn))
    return _linearized(_HessianField(scalar), scalar, params, batches, mask, _mode(loss_fn, mode), recompute)


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

    parts = hashable(model_fn), hashable(output_loss_fn)
    scalar, field = Scalar(_Composed(*parts)), _GaussNewtonField(*parts)
    return _linearized(field, scalar, params, batches, mask, _mode(model_fn, mode), recompute)


# What is compiled for is compared by value, so that a second operator of the same loss compiles nothing: hence small
# classes and not closures.
@dataclasses.dataclass(frozen=True)
class Scalar:
    """A loss that is checked to be a scalar."""

    loss_fn: Loss

    def __call__(self, params: Any, *batch: Any) -> jax.Array:
        loss = self.loss_fn(params, *batch)
        if isinstance(loss, tuple | list | dict):
            raise ValueError(f"loss_fn returns a {type(loss).__name__}; allowed: a scalar alone, without other outputs")
        if jnp.shape(loss) != ():
            shape = jnp.shape(loss)
            raise ValueError(f"loss_fn returns an array of shape {shape}; allowed: a scalar, as jnp.mean gives one")
        if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
            raise ValueError(f"loss_fn returns {jnp.result_type(loss)}; allowed: a floating-point scalar")
        return loss


@dataclasses.dataclass(frozen=True)
class _Composed:
    model_fn: Callable[..., Any]
    output_loss_fn: Callable[..., jax.Array]

    def __call__(self, params: Any, *batch: Any) -> jax.Array:
        return self.output_loss_fn(self.model_fn(params, *batch), *batch)


@dataclasses.dataclass(frozen=True)
class _HessianField:
    """The vector field whose derivative is the Hessian: the gradient."""

    loss_fn: Loss

    def __call__(self, params: Any, point: Any, *batch: Any) -> Any:
        del point
        return jax.grad(self.loss_fn)(params, *batch)


@dataclasses.dataclass(frozen=True)
class _GaussNewtonField:
    """The gradient with the model's own derivative held at the point, so that only the outputs move."""

    model_fn: Callable[..., Any]
    output_loss_fn: Callable[..., jax.Array]

    def __call__(self, params: Any, point: Any, *batch: Any) -> Any:
        _, pull_back = jax.vjp(lambda p: self.model_fn(p, *batch), point)
        return pull_back(jax.grad(lambda z: self.output_loss_fn(z, *batch))(self.model_fn(params, *batch)))[0]


def _linearized(
    field: Callable[..., Any],
    loss_fn: Loss,
    params: Any,
    batches: Sequence[Any] | None,
    mask: Any,
    mode: str,
    recompute: bool,
) -> Operator:
    trees.require_floating("params", params)
    groups, shares = (None, None) if batches is None else grouped(batches)
    chosen, rest = trees.split(params, mask)
    loss, gradient, apply = _linearize(field, loss_fn, recompute, chosen, rest, groups, shares)
    if not isinstance(loss, jax.core.Tracer):
        trees.require_finite("the loss", loss)
        trees.require_finite("the gradient", gradient)
    return Operator(apply, gradient, loss, gradient, mode)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _linearize(
    field: Callable[..., Any], loss_fn: Loss, recompute: bool, chosen: Any, rest: Any, groups: Any, shares: Any
) -> tuple[jax.Array, Any, Callable[[Any], Any]]:
    point = trees.merge(chosen, rest)

    def of_chosen(chosen: Any, point: Any, *batch: Any) -> Any:
        return trees.split_like(field(trees.merge(chosen, rest), point, *batch), chosen)

    # The barrier keeps the compiler from computing, before a loop of products, all that is not kept. A scan over
    # batches is one by itself.
    lone = shares is None or any(len(share) == 1 for share in shares)
    stored = jax.checkpoint(of_chosen, prevent_cse=lone, policy=_nothing if recompute else _costly)
    # TensorFloat-32 and bfloat16 products, the default of some accelerators, keep too few digits for curvature.
    with jax.default_matmul_precision("highest"):
        loss = mean_over(partial(loss_fn, point), groups, shares)
        gradient, apply = jax.linearize(lambda c: mean_over(partial(stored, c, point), groups, shares), chosen)
    return loss, gradient, apply


# What is computed again in every product rather than kept from the linearization: it costs less than its memory.
_CHEAP = {
    *("add", "add_any", "sub", "mul", "div", "neg", "max", "min", "abs", "sign", "square", "integer_pow", "clamp"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "select_n", "convert_element_type", "stop_gradient"),
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "pad", "rev", "iota", "copy"),
}


def _costly(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name not in _CHEAP


def _nothing(*_: Any, **__: Any) -> bool:
    return False


@dataclasses.dataclass(frozen=True, eq=False)
class _Held:
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def hashable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or one in its place where it cannot be hashed, as a module that holds arrays cannot.

    >>> hashable(print) is print
    True
    """
    try:
        hash(function)
    except TypeError:
        return _Held(function)
    return function


def _mode(loss_fn: Callable[..., Any], mode: str | None) -> str:
    return getattr(loss_fn, "mode", "as given") if mode is None else mode
