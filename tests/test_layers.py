"""A layer imports only what stands to its left, and the light ones need jax and optax only."""

import ast
import functools
import re
import subprocess
import sys

import pytest

from conftest import ROOT

# Rank of each module, its row in the table of docs/architecture.md: it may import its own rank and lower ones.
_ROWS = (
    ("errors", "paths"),
    ("memory", "arguments", "branches", "random_words"),
    ("masks",),
    ("config",),
    ("config_checks",),
    ("options", "own_functions"),
    ("streams",),
    ("cli",),
    ("data",),
    ("models",),
    ("losses",),
    ("schedules", "augmentation", "early_stopping", "plateau"),
    ("curvature",),
    ("transforms",),
    ("training",),
    ("diagnosis",),
    ("lectures",),
    ("commands",),
    ("__main__",),
)
_RANKS = {"tricks": 0, **{f"tricks.{name}": rank for rank, row in enumerate(_ROWS) for name in row}}
# What each imports that is neither of Python nor of this package, in functions too.
_OUTSIDE = {
    "tricks": set(),
    "tricks.errors": set(),
    "tricks.paths": set(),
    "tricks.memory": {"jax"},
    "tricks.arguments": {"jax"},
    "tricks.random_words": {"jax"},
    "tricks.branches": {"jax"},
    "tricks.masks": {"jax", "optax"},
    "tricks.config": set(),
    "tricks.config_checks": set(),
    "tricks.options": set(),
    "tricks.own_functions": set(),
    "tricks.streams": {"jax", "numpy"},
    "tricks.cli": {"jax", "jaxlib", "absl", "ml_collections"},
    "tricks.data": {"jax", "numpy", "pyarrow", "tqdm", "tensorflow_datasets"},
    "tricks.models": {"jax", "flax"},
    "tricks.losses": {"jax", "optax"},
    "tricks.schedules": {"jax"},
    "tricks.augmentation": {"jax"},
    "tricks.early_stopping": {"jax"},
    "tricks.plateau": {"jax"},
    "tricks.curvature": {"jax", "optax", "numpy", "scipy"},
    "tricks.transforms": {"jax", "optax"},
    "tricks.training": {
        "jax",
        "optax",
        "numpy",
        "scipy",
        "orbax",
        "matplotlib",
        "tensorboardX",
        "tabulate",
        "tqdm",
        "pyarrow",
    },
    "tricks.diagnosis": {"jax", "numpy", "scipy", "matplotlib", "jinja2", "tabulate", "tqdm"},
    "tricks.lectures": {"jax", "optax", "numpy", "scipy", "matplotlib"},
    "tricks.commands": {"absl", "ml_collections"},
    "tricks.__main__": set(),
}
# What knows no file, no screen and no config.
_PURE = {
    *(f"tricks.{name}" for name in ("arguments", "branches", "masks", "random_words", "streams")),
    *(f"tricks.{name}" for name in ("models", "losses", "schedules", "augmentation", "early_stopping", "plateau")),
    *(f"tricks.{name}" for name in ("curvature", "transforms")),
    *(f"tricks.training.{name}" for name in ("activations", "assembly", "chunk")),
    *(f"tricks.training.{name}" for name in ("equations", "evaluation", "layers", "optimizer", "placement")),
    *(f"tricks.training.{name}" for name in ("division_table", "shardings", "state")),
}
# What it may take from modules that do: a question of the device, a type, a sharding.
_OF_OTHERS = {"tricks.memory", "tricks.data.Split", "tricks.training.feed.by_batch"}
_CALCULATING = {"jax", "numpy", "optax", "scipy", "flax"}
# A warning is the caller's to show or not.
_CALCULATING |= {
    "collections",
    "contextlib",
    "dataclasses",
    "functools",
    "importlib",
    "inspect",
    "itertools",
    "math",
    "operator",
    "typing",
    "warnings",
    "weakref",
}
_MODULES = sorted((ROOT / "tricks").rglob("*.py"))
every_module = pytest.mark.parametrize("path", _MODULES, ids=lambda p: str(p.relative_to(ROOT)))


def _name(path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _layer(module: str) -> str:
    return ".".join(module.removesuffix(".__version__").split(".")[:2])


def _top(module: str) -> str:
    return module.split(".")[0]


def _within(module: str, modules: set[str]) -> bool:
    return any(f"{module}.".startswith(f"{other}.") for other in modules)


def _imports_by_name(node: ast.AST) -> bool:
    return getattr(node, "attr", getattr(node, "id", None)) in ("import_module", "__import__")


@functools.cache
def _imports(path) -> set[str]:
    """Full names, such as `tricks.losses.Batch`, also of what is given to `import_module` as text."""
    tree = ast.parse(path.read_text())
    texts = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call):
            # The function may also be handed on, to a thread.
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(map(_imports_by_name, (node.func, *given))):
                parts = [part for value in given for part in ast.walk(value)]
                named = [getattr(part, "value", texts.get(getattr(part, "id", None))) for part in parts]
                found |= {
                    text for text in named if isinstance(text, str) and all(map(str.isidentifier, text.split(".")))
                }
    return found


def _from_outside(path) -> set[str]:
    return {_top(name) for name in _imports(path)} - {"tricks"} - set(sys.stdlib_module_names)


@every_module
def test_imports_only_to_the_left(path):
    name = _name(path)
    layer = _layer(name)
    assert layer in _RANKS, f"{layer} has no place among the layers"
    if name == "tricks":
        return  # It imports for type checkers alone; what is loaded with it, test_public_names.py sees.
    for imported in _imports(path):
        if _top(imported) == "tricks":
            assert _RANKS[_layer(imported)] <= _RANKS[layer], f"{name} imports {imported}, which is to its right"
    unwritten = _from_outside(path) - _OUTSIDE[layer]
    assert not unwritten, f"{name} imports {unwritten}: not, or write it into _OUTSIDE and docs/architecture.md"


def test_each_layer_imports_from_outside_all_that_is_written_of_it():
    idle = {(layer, name) for layer, names in _OUTSIDE.items() for name in names}
    idle -= {(_layer(_name(path)), name) for path in _MODULES for name in _from_outside(path)}
    assert not idle, f"take {idle} out of _OUTSIDE and docs/architecture.md"


def test_the_table_of_layers_says_the_same():
    table = (ROOT / "docs" / "architecture.md").read_text().split("\n## ")[2]
    rows = re.findall(r"^\| (`.*?`) \|.*\| ([\w, ]+) \|$", table, re.M)
    layers = [[f"tricks.{name}" for name in re.findall(r"\w+", names)] for names, _ in rows]
    assert {layer: rank for rank, row in enumerate(layers) for layer in row} | {"tricks": 0} == _RANKS
    outside = [set(named.split(", ")) - {"nothing"} for _, named in rows]
    assert {layer: named for row, named in zip(layers, outside, strict=True) for layer in row} | {"tricks": set()} == (
        _OUTSIDE
    )


@pytest.mark.parametrize("path", [path for path in _MODULES if _within(_name(path), _PURE)], ids=_name)
def test_what_is_pure_knows_no_file_no_screen_and_no_config(path):
    for imported in _imports(path):
        allowed = _PURE | _OF_OTHERS if _top(imported) == "tricks" else _CALCULATING
        assert _within(imported, allowed), f"{_name(path)}, which is pure, imports {imported}"
    called = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert not called & {"open", "print", "input"}, f"{_name(path)}, which is pure, reads, writes or prints"


def test_what_is_pure_is_there():
    assert {_name(path) for path in _MODULES} >= _PURE


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


@pytest.mark.parametrize(("path", "lines"), [("train.py", 60), ("tricks/training/experiment.py", 150)])
def test_what_puts_the_parts_together_is_short(path, lines):
    assert len((ROOT / path).read_text().splitlines()) < lines
