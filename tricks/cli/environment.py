"""What the environment says to JAX, refused in a line where JAX would end the process, or fail later."""

import functools
import os
import re
import subprocess
import sys

import jax

from tricks.errors import UserError

# XLA reads its flags once, and ends the process over one that it does not know.
_READ_FLAGS = "from jaxlib import _jax; _jax.CompileOptions()"
_UNUSABLE = (
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_transfer_guard", "disallow"),
    ("jax_transfer_guard", "disallow_explicit"),
    ("jax_debug_infs", True),  # The best loss is infinite before there is one.
)
_COMMON = re.compile(r"(\s*--xla_force_host_platform_device_count=\d+)*\s*")


def device_count() -> int:
    """How many devices there are to compute on.

    Returns:
        Their number.

    Raises:
        UserError: there is none, or a variable of JAX or XLA keeps programs from being compiled.

    >>> device_count() > 0
    True
    """
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        raise UserError("JAX_DISABLE_JIT is set, and whole epochs are compiled here: unset it")
    for name, value in _UNUSABLE:
        if getattr(jax.config, name) == value:
            raise UserError(f"{name.upper()} is {value}, under which a training cannot be computed: unset it")
    _check_xla_flags(os.environ.get("XLA_FLAGS", ""))
    try:
        return jax.device_count()
    except Exception as error:  # JAX raises many kinds, an AssertionError among them.
        chosen = os.environ.get("JAX_PLATFORMS")
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"JAX finds no device with JAX_PLATFORMS={chosen} ({said}); unset it, or install JAX for that device"
        ) from error


@functools.cache
def _check_xla_flags(flags: str) -> None:
    if _COMMON.fullmatch(flags):
        return
    read = subprocess.run([sys.executable, "-c", _READ_FLAGS], capture_output=True, text=True, check=False)
    said = re.search(r"\] (.*XLA_FLAGS.*|Couldn't interpret value .*)", read.stderr)
    if read.returncode != 0 and said:
        raise UserError(f"XLA_FLAGS is {flags!r}; XLA says: {said.group(1)}")
