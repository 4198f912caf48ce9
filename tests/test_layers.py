"""A layer imports only what stands to its left, and the light ones need jax and optax only."""

import ast
import subprocess
import sys

import pytest

from conftest import ROOT

# Rank of each module: it may import its own rank and lower ones.
_RANKS = {
    "tricks": 0,
    "tricks.errors": 0,
    "tricks.paths": 0,
    "tricks.memory": 0,
    "tricks.arguments": 0,
    "tricks.random_words": 0,
    "tricks.branches": 0,
    "tricks.masks": 0,
    "tricks.config": 1,
    "tricks.streams": 1,
    "tricks.cli": 2,
    "tricks.data": 2,
    "tricks.models": 3,
    "tricks.losses": 4,
    "tricks.schedules": 5,
    "tricks.early_stopping": 5,
    "tricks.plateau": 5,
    "tricks.transforms": 6,
    "tricks.curvature": 5,
    "tricks.training": 7,
    "tricks.diagnosis": 8,
    "tricks.lectures": 9,
}
_OUTSIDE = {
    "tricks.errors": set(),
    "tricks.paths": set(),
    "tricks.memory": {"jax"},
    "tricks.arguments": {"jax"},
    "tricks.random_words": {"jax"},
    "tricks.branches": {"jax"},
    "tricks.masks": {"jax", "optax"},
    "tricks.config": set(),
    "tricks.streams": {"jax", "numpy"},
    "tricks.schedules": {"jax", "optax"},
    "tricks.early_stopping": {"jax"},
    "tricks.plateau": {"jax"},
    "tricks.transforms": {"jax", "optax"},
    "tricks.curvature": {"jax", "optax", "numpy", "scipy"},  # The last two come with JAX.
    "tricks.losses": {"jax", "optax"},
    "tricks.models": {"jax", "flax"},
}
_MODULES = sorted((ROOT / "tricks").rglob("*.py"))


def _layer(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _imports(path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            if node.module == "tricks":
                found |= {f"tricks.{alias.name}" if alias.name != "__version__" else "tricks" for alias in node.names}
            else:
                found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", _MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_to_the_left(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    layer = _layer(name)
    assert layer in _RANKS, f"{layer} has no place among the layers"
    for imported in _imports(path):
        if imported.split(".")[0] == "tricks":
            assert _RANKS[_layer(imported)] <= _RANKS[layer], f"{name} imports {imported}, which is to its right"
        elif layer in _OUTSIDE:
            top = imported.split(".")[0]
            assert top in sys.stdlib_module_names or top in _OUTSIDE[layer], f"{name} imports {imported}"


def test_only_models_imports_flax():
    for path in _MODULES:
        if any(name.split(".")[0] == "flax" for name in _imports(path)):
            assert path.name == "models.py"


def test_transforms_load_nothing_but_jax_and_optax():
    code = (
        "import sys, tricks.transforms, tricks.schedules;"
        "heavy = {'flax', 'tensorflow_datasets', 'sklearn', 'orbax', 'absl.flags', 'matplotlib', 'ml_collections'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    # optax itself loads absl.logging, which loads absl.flags.
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    by_optax = subprocess.run(
        [sys.executable, "-c", code.replace("tricks.transforms, tricks.schedules", "optax")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert loaded == by_optax


def test_train_is_short():
    assert len((ROOT / "train.py").read_text().splitlines()) < 60
