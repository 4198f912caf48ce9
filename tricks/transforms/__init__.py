"""The lectures' optimizers as optax gradient transformations. Needs jax and optax only."""

import importlib
from typing import TYPE_CHECKING, Any

from tricks.masks import weights_only
from tricks.transforms.adam import adam, adamw, scale_by_adam
from tricks.transforms.adaptive import rmsprop, root_mean_square, scale_by_rmsprop, scale_by_root_mean_square
from tricks.transforms.decay import add_decoupled_decay, add_l1_decay, add_l2_decay, soft_threshold
from tricks.transforms.learning_rate import current_learning_rate, scale_by_learning_rate
from tricks.transforms.momentum import momentum, scale_by_momentum
from tricks.transforms.precision import in_dtype
from tricks.transforms.takeover import from_optax
from tricks.transforms.trust_ratio import lamb, scale_by_lamb, scale_by_trust_ratio

if TYPE_CHECKING:
    from tricks.transforms.perturbation import PerturbationState, perturb_on_plateau
    from tricks.transforms.saddle_escape import EscapeState, escape_saddle, event

__all__ = [
    "EscapeState",
    "PerturbationState",
    "adam",
    "adamw",
    "add_decoupled_decay",
    "add_l1_decay",
    "add_l2_decay",
    "current_learning_rate",
    "escape_saddle",
    "event",
    "from_optax",
    "in_dtype",
    "lamb",
    "momentum",
    "perturb_on_plateau",
    "rmsprop",
    "root_mean_square",
    "scale_by_adam",
    "scale_by_lamb",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "scale_by_rmsprop",
    "scale_by_root_mean_square",
    "scale_by_trust_ratio",
    "soft_threshold",
    "weights_only",
]

# They need curvature, which takes longer to import than all of this package, and few need it.
_LAZY = {
    "EscapeState": "saddle_escape",
    "PerturbationState": "perturbation",
    "escape_saddle": "saddle_escape",
    "event": "saddle_escape",
    "perturb_on_plateau": "perturbation",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
