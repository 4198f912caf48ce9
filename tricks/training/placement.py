"""How arrays of the host come to the devices, those of other processes among them."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, Sharding


def shares(mesh: Mesh) -> int:
    """Parts that a batch is divided into.

    >>> from tricks.training.feed import make_mesh
    >>> shares(make_mesh()) == jax.device_count()
    True
    """
    return int(mesh.shape["data"])


def put(tree: Any, sharding: Sharding) -> Any:
    """Puts arrays on the devices. Of several processes each puts what lies on its own; nothing is sent between them.

    Args:
        tree: pytree of arrays, the same in all processes.
        sharding: how they lie there.

    Returns:
        The same on the devices.

    >>> float(put(np.float32(2), jax.sharding.SingleDeviceSharding(jax.devices()[0])))
    2.0
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def one(array: Any) -> jax.Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(one, tree)
