"""What each public module gives: all that it defines and nothing that it imports, loaded when it is asked for."""

import ast
import importlib
import pkgutil
import typing
from pathlib import Path
from typing import Any

import jax
import optax
import pytest

import tricks
from conftest import run_python
from tricks import early_stopping, plateau, schedules

_MODULES = sorted({module.name for module in pkgutil.iter_modules(tricks.__path__)} - {"__main__"})
_OF_COMMANDS = {"cli", "commands", "diagnosis", "training"}  # Packages whose parts are used one by one.


def _defined(path: Path) -> set[str]:
    """Names without an underscore; of a package what it takes from its own modules."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        body = node.body if isinstance(node, ast.If) else [node]
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
            elif isinstance(node, ast.ImportFrom) and path.stem == "__init__" and node.module.startswith("tricks"):
                found |= {alias.name for alias in node.names}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted({*_MODULES} - _OF_COMMANDS))
def test_all_is_what_a_module_defines(name):
    module = importlib.import_module(f"tricks.{name}")
    assert module.__doc__
    assert set(module.__all__) == _defined(Path(module.__file__)), f"write __all__ of tricks.{name} anew"
    given = {}
    exec(f"from tricks.{name} import *", given)
    assert {*given} - {"__builtins__"} == set(module.__all__)


def test_every_module_of_the_package_is_there_when_it_is_asked_for():
    assert {*_MODULES} == tricks._MODULES
    assert {*_MODULES, *tricks.__all__} <= {*dir(tricks)}
    with pytest.raises(AttributeError, match="module 'tricks' has no attribute 'transform'"):
        _ = tricks.transform


def test_modules_load_when_they_are_asked_for_and_not_before():
    code = (
        "import sys; before = {*sys.modules}; import tricks; loaded = {*sys.modules} - before; assert loaded == "
        "{'tricks'}, loaded; tricks.transforms.adam, tricks.schedules.SHAPES; assert 'tricks.curvature' not in "
        "sys.modules; from tricks import *; print(curvature.hvp.__name__, early_stopping.init.__name__, sorted("
        "name for name in globals() if name in tricks._MODULES))"
    )
    done = run_python("-c", code)
    assert done.status == 0, done.error
    assert done.output == f"hvp init {sorted(tricks.__all__)}\n"


def _takes(function, argument: str) -> set[Any]:
    return {*typing.get_args(typing.get_type_hints(function)[argument])}


def test_numbers_and_schedules_have_the_types_of_optax():
    # What a type checker makes of them: mypy, of tests/typed_user.py.
    (step,), rate = typing.get_args(schedules.Schedule)
    assert step == typing.get_args(optax.Schedule)[0][0]
    assert rate in typing.get_args(typing.get_args(optax.Schedule)[1])
    for function, arguments in (
        (early_stopping.update, ("value", "step", "min_delta")),
        (early_stopping.should_stop, ("patience",)),
        (plateau.update, ("value", "window", "min_improvement")),
        (plateau.count, ("value",)),
        (plateau.close_window, ("min_improvement",)),
        (schedules.warmup_decay, ("peak_value", "warmup_steps", "total_steps", "end_value")),
    ):
        for argument in arguments:
            number = int if argument in ("patience", "window") or argument.endswith("_steps") else float
            assert {number, jax.Array} <= _takes(function, argument), (function, argument)
