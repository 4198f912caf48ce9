"""All cases: healthy runs of every program, and what was planted into it."""

import re
from collections.abc import Sequence

from benchmarks.diagnosis import also, plants_data, plants_start, plants_steps
from benchmarks.diagnosis.case import HEALTHY, Case, Overrides, Plant, Program
from benchmarks.diagnosis.programs import PROGRAMS

_PLANTS = (*plants_data.PLANTS, *plants_steps.PLANTS, *plants_start.PLANTS)


def cases() -> list[Case]:
    """Every case of the corpus, those of a program beside each other."""
    found = []
    for program in PROGRAMS:
        found += _healthy(program)
        found += [_planted(program, plant) for plant in _PLANTS if plant.program == program.name]
    return found


def chosen(part: str = "all", wanted: str = "") -> list[Case]:
    """Some of the cases.

    Args:
        part: `development`, `held-out` or `all`.
        wanted: a number for the cheapest so many of different kinds, or words of which a name has one, with commas
            between; empty for all.

    Returns:
        The cases.
    """
    found = [case for case in cases() if part in ("all", case.part)]
    if wanted.isdigit():
        return sorted(found, key=lambda case: not case.cheap)[: int(wanted)]
    return [case for case in found if not wanted or any(word in case.name for word in wanted.split(","))]


def _healthy(program: Program) -> list[Case]:
    variants: dict[str, Overrides] = {"": {}, **program.healthy}
    made = []
    for kind, overrides in variants.items():
        name = "-".join(filter(None, (program.name, HEALTHY, _slug(kind))))
        fields = {**program.base, **overrides}
        made.append(_case(program, name, {}, fields, HEALTHY, kind or "base", 0, program.name == "xor" and not kind))
    return made


def _planted(program: Program, plant: Plant) -> Case:
    name = f"{program.name}-{plant.truth}-{_slug(plant.kind)}"
    return _case(program, name, plant.fault, program.base, plant.truth, plant.kind, plant.seed, plant.cheap)


def _case(
    program: Program, name: str, fault: Overrides, base: Overrides, truth: str, kind: str, seed: int, cheap: bool
) -> Case:
    source = str({**base, **fault}["data.name"])
    needed: Sequence[str] = (source,) if source.endswith((".csv", ".npz")) else ()
    reasons = also.REASONS.get((truth, kind), {})
    return Case(name, program.name, program.part, base, fault, tuple(needed), truth, kind, reasons, seed, cheap)


def _slug(kind: str) -> str:
    return re.sub("[^a-z0-9]+", "-", kind.lower()).strip("-")
