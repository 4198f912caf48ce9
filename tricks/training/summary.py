"""What a run came to, for a program to read: `summary.json`."""

import importlib.metadata
import math
import platform
from collections.abc import Mapping
from typing import Any

import jax

from tricks.training.records import Record, epoch_means, measures

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def make(
    *,
    fields: Mapping[str, Any],
    status: str,
    parameters: int,
    best_step: int,
    records: list[Record],
    spent: Mapping[str, float],
    version: str,
) -> dict[str, Any]:
    """Collects the summary.

    Args:
        fields: the config, a value for each dotted field.
        status: how the run ended.
        parameters: scalars in the model.
        best_step: the step of the best validation.
        records: of the run.
        spent: `seconds` over all sittings, and `best_seconds` at the best validation.
        version: of this package.

    Returns:
        A dictionary of plain values.
    """
    checks = [r for r in records if r.kind == "escape"]
    return {
        "status": status,
        "config": dict(fields),
        "seed": fields["seed"],
        "versions": {
            "tricks": version,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "device": {
            "kind": jax.devices()[0].device_kind,
            "platform": jax.default_backend(),
            "count": jax.device_count(),
        },
        "parameters": parameters,
        **({"precision": compute} if (compute := fields["precision.compute"]) != "float32" else {}),
        "seconds": round(spent["seconds"], 3),
        "best": {
            "seconds": round(spent["best_seconds"], 3),
            **{split: _at(records, split, best_step) for split in ("train", "validation", "test")},
        },
        "final": {
            "seconds": round(spent["seconds"], 3),
            **{split: _last(records, split) for split in ("train", "validation")},
        },
        **({"escape": _escapes(checks)} if fields["escape.enabled"] else {}),
    }


def _escapes(checks: list[Record]) -> dict[str, Any]:
    outcomes = [r.values["outcome"] for r in checks]
    return {
        "checks": len(checks),
        "escapes": outcomes.count("escaped"),
        "perturbations": outcomes.count("perturbed"),
        "products": sum(r.values["products"] for r in checks),
        "events": [
            {
                "step": r.step,
                "outcome": r.values["outcome"],
                "eigenvalue": r.values["smallest_eigenvalue"],
                "loss_before": r.values["loss"],
                "loss_after": r.values["loss_after"],
            }
            for r in checks
        ],
    }


def at_best(records: list[Record], best_step: int) -> list[Record]:
    """One record for each split at the best step: what the closing table shows.

    Args:
        records: of the run.
        best_step: the step of the best validation.

    Returns:
        Records of train, validation and test, as far as there are any.
    """
    found = [_find(records, split, best_step) for split in ("train", "validation", "test")]
    return [record for record in found if record is not None]


def _find(records: list[Record], split: str, step: int) -> Record | None:
    return next((r for r in _rows(records, split) if r.step == step), None)


def _rows(records: list[Record], split: str) -> list[Record]:
    return epoch_means(records) if split == "train" else [r for r in records if r.kind == split]


def _at(records: list[Record], split: str, step: int) -> dict[str, Any] | None:
    return _plain(_find(records, split, step), measures(records))


def _last(records: list[Record], split: str) -> dict[str, Any] | None:
    return _plain(next(reversed(_rows(records, split)), None), measures(records))


def _plain(record: Record | None, names: list[str]) -> dict[str, Any] | None:
    if record is None:
        return None
    values = {"step": record.step, "epoch": record.epoch} | {
        name: record.values[name] for name in names if name in record.values
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
