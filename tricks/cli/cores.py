"""The cores of a CPU as devices of JAX."""

import os

import jax


def use_all() -> None:
    """Makes each core of a CPU a device, which has lanes of its own: what is small does not fill two of them.

    To be called before JAX computes. Where XLA_FLAGS says how many devices there are, it stays at that.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        ours = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        jax.config.update("jax_num_cpu_devices", len(ours(0)))
