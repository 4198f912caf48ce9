"""Training tricks for neural networks, in JAX.

`tricks.transforms` and `tricks.schedules` need jax and optax only; everything else comes with the extra `train`.
"""

__version__ = "0.1.0"
# What needs jax and optax only; the others are there by their names.
__all__ = ["augmentation", "curvature", "early_stopping", "losses", "plateau", "schedules", "transforms"]

_MODULES = frozenset(
    {
        "arguments",
        "augmentation",
        "branches",
        "cli",
        "commands",
        "config",
        "config_checks",
        "curvature",
        "data",
        "diagnosis",
        "early_stopping",
        "errors",
        "lectures",
        "losses",
        "masks",
        "memory",
        "models",
        "options",
        "own_functions",
        "paths",
        "plateau",
        "random_words",
        "schedules",
        "streams",
        "training",
        "transforms",
    }
)

TYPE_CHECKING = False  # That of typing, without the import.
if TYPE_CHECKING:
    from typing import Any

    from tricks import augmentation, curvature, early_stopping, losses, plateau, schedules, transforms


def __getattr__(name: str) -> "Any":
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
