"""What is to be learned from a training: from measurements to findings, and what to do.

`diagnose` takes anybody's training in JAX, `diagnose_run` a run directory.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tricks.diagnosis.foreign import diagnose
    from tricks.diagnosis.run_diagnosis import diagnose_run

__all__ = ["diagnose", "diagnose_run"]


def __getattr__(name: str) -> Any:
    # Imported when they are asked for: other commands read runs too.
    if name == "diagnose":
        from tricks.diagnosis.foreign import diagnose

        return diagnose
    if name == "diagnose_run":
        from tricks.diagnosis.run_diagnosis import diagnose_run

        return diagnose_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
