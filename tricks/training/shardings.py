"""How the state of a run lies on the devices where a mesh has a dimension `model`: weights divided by a rule."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks.training.assembly import Static, make_network
from tricks.training.state import LoopState, TrainState, Weights

MODEL = "model"
SMALL = 2**12
"""Arrays of fewer elements stay whole: moving them costs more than they take."""

Rule = Callable[[str, tuple[int, ...], int], int | None]
"""`rule(path, shape, devices) -> dimension`; None for an array that stays whole."""


def largest(path: str, shape: tuple[int, ...], devices: int) -> int | None:
    """The rule of this package: the largest dimension that divides, the last of several; small arrays stay whole.

    Args:
        path: of the array, such as `layers/0/kernel`.
        shape: of the array.
        devices: that it is to be divided among.

    Returns:
        The dimension; None for an array that stays whole.

    >>> largest("kernel", (100, 64), 8), largest("kernel", (64, 64), 8), largest("bias", (64,), 8)
    (1, 1, None)
    """
    del path
    if math.prod(shape) < SMALL:
        return None
    fitting = [place for place, size in enumerate(shape) if size % devices == 0]
    return max(fitting, key=lambda place: (shape[place], place), default=None)


def count(mesh: Mesh) -> int:
    """Devices that weights are divided among.

    >>> from tricks.training.feed import make_mesh
    >>> count(make_mesh())
    1
    """
    return int(mesh.shape.get(MODEL, 1))


def dimensions(mesh: Mesh, rule: Rule | None, params: Any) -> tuple[int | None, ...]:
    """What the rule says of each array.

    Args:
        mesh: the devices.
        rule: None for `largest`.
        params: arrays, or their shapes.

    Returns:
        A dimension for each leaf, None for one that stays whole.

    Raises:
        ValueError: the rule names a dimension that is not there, or that does not divide.
    """
    devices, rule = count(mesh), rule or largest
    if devices == 1:
        return (None,) * len(jax.tree.leaves(params))
    named = [(name_of(path), tuple(leaf.shape)) for path, leaf in jax.tree.leaves_with_path(params)]
    return tuple(_checked(rule(name, shape, devices), name, shape, devices) for name, shape in named)


def shapes(static: Static) -> Any:
    """Shapes and types of the parameters, computing nothing."""
    return jax.eval_shape(make_network(static).init, jax.random.key(0))[0]


def division(static: Static, params: Any) -> Any:
    """How vectors of the size of the parameters are divided in `tricks.curvature`.

    Args:
        static: has the mesh and the rule.
        params: arrays, or their shapes.

    Returns:
        `tricks.curvature.division.Division`; None where nothing is divided.
    """
    found = dimensions(static.mesh, static.rule, params)
    if set(found) <= {None}:
        return None
    # It brings tricks.curvature, which takes longer to import than a run without it has to spare.
    from tricks.curvature.division import Division

    return Division(static.mesh, MODEL, found)


def of_loop(static: Static, loop: LoopState) -> Any:
    """How a state lies on the devices.

    Weights, the best weights and what of the optimizer's state is like a weight, by the end of its path and its
    shape, are divided by the rule; the rest is whole on every device.

    Args:
        static: has the mesh and the rule.
        loop: arrays, or their shapes.

    Returns:
        One sharding for all where no weights are divided; else a pytree of them, of the structure of `loop`.
    """
    everywhere: Any = NamedSharding(static.mesh, PartitionSpec())
    if count(static.mesh) == 1:
        return everywhere
    params = of_params(static.mesh, static.rule, loop.train.params)
    by_path = {
        path: (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree.leaves_with_path(loop.train.params), jax.tree.leaves(params), strict=True
        )
    }

    def like_a_weight(path: Any, leaf: Any) -> NamedSharding:
        # The longest end first: `a/kernel` may be one array and `kernel` another.
        for start in range(len(path) + 1):
            shape, sharding = by_path.get(path[start:], (None, everywhere))
            if shape == leaf.shape:
                return sharding
        return everywhere

    def whole(tree: Any) -> Any:
        return jax.tree.map(lambda _: everywhere, tree)

    state = loop.train
    return LoopState(
        TrainState(
            everywhere,
            params,
            whole(state.model_state),
            jax.tree.map_with_path(like_a_weight, state.opt_state),
            everywhere,
        ),
        Weights(params, whole(loop.best.model_state)),
        whole(loop.stopping),
        whole(loop.escape),
    )


def with_shardings(tree: Any, placed: Any) -> Any:
    """Shapes with shardings.

    Args:
        tree: of shapes.
        placed: one sharding for all, or a pytree of them.

    Returns:
        A pytree of `jax.ShapeDtypeStruct`.
    """

    def one(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    if isinstance(placed, NamedSharding):
        return jax.tree.map(lambda leaf: one(leaf, placed), tree)
    return jax.tree.map(one, tree, placed)


def of_params(mesh: Mesh, rule: Rule | None, params: Any) -> Any:
    """How parameters lie on the devices.

    Args:
        mesh: the devices.
        rule: None for `largest`.
        params: arrays, or their shapes.

    Returns:
        A pytree of shardings.
    """
    leaves, structure = jax.tree.flatten(params)
    found = zip(leaves, dimensions(mesh, rule, params), strict=True)
    return jax.tree.unflatten(structure, [along(mesh, leaf.ndim, dimension) for leaf, dimension in found])


def along(mesh: Mesh, dimensions: int, divided: int | None) -> NamedSharding:
    """The sharding of an array that is divided along one of its dimensions, or whole."""
    return NamedSharding(mesh, PartitionSpec(*(MODEL if place == divided else None for place in range(dimensions))))


def bytes_on_device(like: Any) -> int:
    """Bytes of a pytree on each device.

    Args:
        like: arrays, or shapes with shardings.

    Returns:
        Their number.

    >>> import jax.numpy as jnp
    >>> bytes_on_device({"a": jnp.ones((2, 3), jnp.float32)})
    24
    """
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))


def name_of(path: Any) -> str:
    """The path of an array as rules and tables say it, such as `layers/0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _checked(found: Any, name: str, shape: tuple[int, ...], devices: int) -> int | None:
    if found is None:
        return None
    allowed = [str(place) for place, size in enumerate(shape) if size and size % devices == 0]
    if type(found) is not int or str(found) not in allowed:
        raise ValueError(
            f"it gives {found!r} for {name} of shape {shape}; allowed: {', '.join([*allowed, 'None'])}, a dimension "
            f"that divides over {devices} devices, or None to leave the array whole"
        )
    return found
