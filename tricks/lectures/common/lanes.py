"""The same small problem many times over, on all devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec


def side_by_side(function: Callable[..., Any], *arguments: Any, shared: Any = (), batched: bool = True) -> Any:
    """Computes a function for each member of its arguments, those of a device in one program.

    Args:
        function: `function(*shared, *member)`, compiled once.
        arguments: pytrees of arrays, whose first dimension counts members.
        shared: pytrees that are the same for all members, such as a data set.
        batched: one device computes its members together; otherwise one after the other, so that a branch which one
            of them does not take costs it nothing. Members that factorize matrices have to go one after the other:
            batches of factorizations on two devices of a CPU may wait for each other for ever (JAX 0.10.2).

    Returns:
        What the function returns, in NumPy arrays with a first dimension of members.

    >>> side_by_side(lambda x: x + 1, jnp.arange(3.0)).tolist()
    [1.0, 2.0, 3.0]
    """
    devices = jax.devices()
    count = len(jax.tree.leaves(arguments)[0])
    # All devices have as many members; those that are too many compute the last one again.
    places = np.minimum(np.arange(-(-count // len(devices)) * len(devices)), count - 1)
    filled = jax.tree.map(lambda leaf: jnp.asarray(leaf)[places], arguments)

    def of_device(shared: Any, members: Any) -> Any:
        of_member = functools.partial(function, *shared)
        return jax.vmap(of_member)(*members) if batched else jax.lax.map(lambda member: of_member(*member), members)

    lanes, everywhere = PartitionSpec("lanes"), PartitionSpec()
    mesh = Mesh(np.asarray(devices), ("lanes",))
    # Loops inside begin with constants, which are the same on all devices, and end with what is not.
    run = jax.shard_map(of_device, mesh=mesh, in_specs=(everywhere, lanes), out_specs=lanes, check_vma=False)
    # Every core has a device of its own, whose threads would get in each other's way.
    compiled = jax.jit(run, compiler_options={"xla_cpu_multi_thread_eigen": False})
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], compiled(shared, filled))
