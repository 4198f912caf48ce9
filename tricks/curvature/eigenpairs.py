"""Ends of an operator's spectrum, after a look at whether it has one."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from tricks.arguments import require, require_integer, require_key
from tricks.curvature import trees
from tricks.curvature.division import Division
from tricks.curvature.lanczos import WHICH, Eigenpairs, lanczos
from tricks.curvature.products import Operator
from tricks.curvature.rounding import GROSS, asymmetry_allowed, is_coarse
from tricks.memory import require_memory

_LOOKS = 4  # Random vectors.


def eigenpairs(
    operator: Operator,
    k: int = 1,
    which: str = "smallest",
    *,
    key: jax.Array,
    tol: float = 1e-3,
    max_products: int = 1000,
    basis_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> Eigenpairs:
    """The k smallest or largest eigenvalues, or both, with vectors, residuals, and whether they are to be trusted.

    Lanczos from a random start, orthogonalized, with thick restarts; see `lanczos`. All in one dispatch; a
    second operator of the same loss and shapes is not compiled for again.

    Args:
        operator: as `hessian` or `gauss_newton` make it.
        k: pairs at each wanted end.
        which: `smallest` (the most negative), `largest`, or `both`.
        key: of the random start.
        tol: largest residual that counts as converged, as a share of the largest |eigenvalue| seen.
        max_products: products after which it ends in any case.
        basis_size: vectors of the size of the parameters that it holds, those that it returns among them; 8 more is
            the most that it ever takes. By default 40, or 3 a wanted pair where those are more, and those returned.
        sharding: divides these vectors among devices: a `NamedSharding` of one dimension, as
            `NamedSharding(mesh, PartitionSpec("data"))`. None divides them as the parameters are.

    Returns:
        `Eigenpairs`: values, unit vectors stacked along a first dimension on every leaf, residuals, converged,
        products.

    Raises:
        ValueError: for a k larger than the size allows, an unknown `which`, a tolerance or number out of range, more
            vectors than the memory holds, or an operator that is not finite, not deterministic or not symmetric.

    >>> from tricks.curvature import hessian
    >>> found = eigenpairs(hessian(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2)), key=jax.random.key(0))
    >>> round(found.values[0].item(), 4), bool(found.converged[0])
    (-2.0, True)

    Source: the lectures on critical points; Wu and Simon 2000.
    """
    require_key("key", key)
    size = operator.size
    require_integer("k", k, least=1)
    if which not in WHICH:
        raise ValueError(f"which is {which!r}; allowed: {', '.join(WHICH)}")
    require("tol", tol, "a number between 0 and 1", lambda x: 0 < x < 1)
    require_integer("max_products", max_products, least=1)
    wanted = 2 * k if which == "both" else k
    if wanted > size:
        raise ValueError(f"k is {k} with which {which!r}, and the operator has {size} eigenvalues; choose fewer")
    basis_size = wanted + max(40, 3 * wanted) if basis_size is None else basis_size
    require_integer("basis_size", basis_size, least=wanted + min(2 * wanted + 2, size))
    if sharding is not None and not (isinstance(sharding, NamedSharding) and len(sharding.spec) == 1):
        raise ValueError(f"sharding is {sharding}; allowed: a NamedSharding of one dimension, or None")
    placed = sharding or operator.division
    of_vector = placed.of_vector if isinstance(placed, Division) else placed
    require_memory("basis_size", min(basis_size, wanted + size), operator.like, of_vector)
    start_key, probe_key = jax.random.split(key)
    found, asymmetry = lanczos(
        operator.apply,
        operator.like,
        start_key,
        tol,
        k=k,
        which=which,
        basis_size=basis_size,
        max_products=max_products,
        sharding=placed,
    )
    if isinstance(asymmetry, jax.core.Tracer):
        return found  # Nothing can be refused while it is traced.
    # One product alone shows nothing of symmetry; and what rounding does here, a look from outside may not confirm.
    allowed = asymmetry_allowed(operator)
    if found.products == 1 or not asymmetry <= allowed:
        require_symmetric(operator, probe_key)
    if not asymmetry <= max(GROSS, allowed):
        raise ValueError(
            f"the operator is not symmetric: u.Av and v.Au differ by {float(asymmetry):.2g} of its norm; is a gradient "
            "custom or stopped, or the loss at the limits of its precision (then take float64)?"
        )
    return found


def require_symmetric(operator: Operator, key: jax.Array) -> None:
    """Refuses an operator that gives anything but the same finite, symmetric product every time.

    Dropout with a new mask at every call is not deterministic; a straight-through or custom gradient is not the
    gradient of anything, so its derivative is not symmetric.

    Args:
        operator: any.
        key: of two random vectors.

    Raises:
        ValueError: with what is wrong, and by how much.

    >>> import jax
    >>> twist = Operator(lambda v: jnp.array([[0.0, 1.0], [-1.0, 0.0]]) @ v, jnp.zeros(2))
    >>> require_symmetric(twist, jax.random.key(0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: the operator is not symmetric: u.Av and v.Au differ by 2 of their size; ...
    """
    once, change, asymmetry, share = _look(operator, key)
    trees.require_finite("a product", once)
    if change > 100 * trees.epsilon(operator.like):
        raise ValueError(
            f"the operator is not deterministic: two products with one vector differ by {float(change):.2g} of their "
            "size; fix the dropout mask, or leave dropout out"
        )
    # Of half precision the rounding is as large as what a wrong derivative does to long vectors, if these are not
    # taken for as random as they are.
    likely = asymmetry * operator.size**0.5 if is_coarse(operator) else asymmetry
    if likely > asymmetry_allowed(operator):
        raise ValueError(
            f"the operator is not symmetric: u.Av and v.Au differ by {float(share):.2g} of their size; is a gradient "
            "custom or stopped, or the loss at the limits of its precision (then take float64)?"
        )


@jax.jit
def _look(operator: Operator, key: jax.Array) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    # Several pairs, as of one the difference may be small by chance.
    vectors = [trees.random_normal(k, operator.like) for k in jax.random.split(key, _LOOKS)]
    if operator.division is not None:
        vectors = [operator.division.constrained(vector) for vector in vectors]

    # In a loop, or the compiler would take two products with one vector for one.
    def product(_: None, vector: Any) -> tuple[None, Any]:
        return None, operator.apply(vector)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), vectors[0], *vectors)
    _, products = jax.lax.scan(product, None, stacked)
    again, *each = (jax.tree.map(lambda leaf, i=i: leaf[i], products) for i in range(_LOOKS + 1))
    tiny = jnp.finfo(jnp.float32).tiny
    change = trees.norm(trees.add(each[0], again, -1)) / jnp.maximum(trees.norm(again), tiny)
    asymmetries, shares = [], []
    for (u, au), (v, av) in itertools.combinations(zip(vectors, each, strict=True), 2):
        one, other = trees.dot(v, au), trees.dot(u, av)
        scale = trees.norm(au) * trees.norm(v) + trees.norm(av) * trees.norm(u)
        asymmetries.append(jnp.abs(one - other) / jnp.maximum(scale, tiny))
        shares.append(jnp.abs(one - other) / jnp.maximum(jnp.maximum(jnp.abs(one), jnp.abs(other)), tiny))
    worst = jnp.argmax(jnp.stack(asymmetries))
    return products, change, jnp.stack(asymmetries)[worst], jnp.stack(shares)[worst]
