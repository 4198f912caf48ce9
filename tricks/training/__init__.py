"""State, step, loop and run directory of one training; `sweep` of many."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tricks.training.sweeps.run import sweep

__all__ = ["sweep"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: a run needs nothing of it.
    if name != "sweep":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tricks.training.sweeps.run import sweep

    return sweep
