"""Functions of a person's own: found, imported with what lies beside them, and blamed with their own lines."""

import importlib
import os
import sys

import pytest

from tricks import own_functions
from tricks.cli import option_flags
from tricks.errors import UserError
from tricks.options import complete


def _write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def _load(name, *folders, **options):
    return own_functions.load("model.build", name, folders, **options)


def test_a_file_is_found_in_the_first_folder_that_has_it(tmp_path):
    for place in ("here", "there"):
        _write(tmp_path / place, network=f"def build():\n    return {place!r}\n")
    here, there = tmp_path / "here", tmp_path / "there"
    assert _load("network.py:build", here, there)() == "here"
    assert _load("network.py:build", there, here)() == "there"
    assert _load("network.py:build", tmp_path, there)() == "there"
    assert _load(f"{here}/network.py:build", there)() == "here"
    assert _load("here/network.py:build", tmp_path)() == "here"


def test_files_beside_it_are_its_own_and_not_those_of_another_folder(tmp_path):
    for place in ("one", "two"):
        _write(
            tmp_path / place,
            network="import layers\ndef build():\n    import later\n    return layers.NAME + later.NAME\n",
            layers=f"NAME = {place!r}\n",
            later=f"NAME = {place!r}\n",
        )
    loaded = [_load("network.py:build", tmp_path / place) for place in ("one", "two")]
    assert [own() for own in (*loaded, *loaded)] == ["oneone", "twotwo", "oneone", "twotwo"]
    assert "layers" not in sys.modules
    assert "later" not in sys.modules
    assert str(tmp_path / "one") not in sys.path
    for own in loaded:
        assert {*own_functions.files_of(own)} == {"network.py", "layers.py", "later.py"}


@pytest.fixture
def imported(monkeypatch):
    """Imports from a folder as others do, a config or a notebook, until the test ends."""
    before = {*sys.modules}

    def imported(name, folder):
        monkeypatch.syspath_prepend(str(folder))
        return importlib.import_module(name)

    yield imported
    for name in {*sys.modules} - before:
        del sys.modules[name]


@pytest.mark.parametrize("init", [{}, {"__init__": ""}], ids=["folder", "package"])
@pytest.mark.parametrize("name", ["network.py:build", "network:build", "nets.cnn:build"])
def test_what_others_have_imported_is_found_in_its_own_folder_all_the_same(tmp_path, imported, name, init):
    text = "import layers\nfrom nets import blocks\ndef build():\n    return layers.NAME + blocks.NAME\n"
    for place in ("one", "two", "three"):
        _write(tmp_path / place, network=text, layers=f"NAME = {place!r}\n")
        _write(tmp_path / place / "nets", cnn=text, blocks=f"NAME = {place!r}\n", **init)
    before = imported("network", tmp_path / "one"), sys.modules["layers"], imported("nets.cnn", tmp_path / "one")
    for place in ("one", "two", "three"):
        own = _load(name, tmp_path / place)
        assert own() == 2 * place
        main = "nets/cnn.py" if name == "nets.cnn:build" else "network.py"
        files = {main, "layers.py", "nets/blocks.py"} | ({"nets/__init__.py"} if init else set())
        assert {*own_functions.files_of(own)} == files
    assert before == tuple(map(sys.modules.get, ("network", "layers", "nets.cnn")))
    assert before[0].build() == "oneone"


@pytest.mark.parametrize("place", ["elsewhere", "own/venv/site-packages", "own/installed"])
def test_what_is_installed_or_lies_elsewhere_is_none_of_its_files(tmp_path, imported, monkeypatch, place):
    installed = (*own_functions._INSTALLED, f"{tmp_path}/own/installed{os.sep}")
    monkeypatch.setattr(own_functions, "_INSTALLED", installed)
    _write(tmp_path / place, planted_far="def fail():\n    return 1 / 0\n")
    text = "import json, planted_far\n\ndef build():\n    planted_far.fail()\n"
    _write(tmp_path / "own", network=text, json="raise ValueError('json is another one')\n")
    monkeypatch.syspath_prepend(str(tmp_path / place))
    own = _load("network.py:build", tmp_path / "own")
    assert {*own_functions.files_of(own)} == {"network.py"}
    assert "planted_far" in sys.modules
    with pytest.raises(UserError, match=r"it raised ZeroDivisionError at network.py, line 4: "):
        own()


def test_of_an_installed_package_its_own_files_are_kept_and_no_others(tmp_path, imported, monkeypatch):
    monkeypatch.setattr(own_functions, "_INSTALLED", (*own_functions._INSTALLED, f"{tmp_path}{os.sep}"))
    _write(tmp_path, planted_far="N = 1\n")
    text = "import planted_far\nfrom nets import blocks\ndef build():\n    return blocks.N + planted_far.N\n"
    _write(tmp_path / "nets", __init__="", cnn=text, blocks="N = 2\n")
    before = imported("nets.cnn", tmp_path)
    own = _load("nets.cnn:build", tmp_path)
    assert own() == 3
    assert {*own_functions.files_of(own)} == {"nets/__init__.py", "nets/cnn.py", "nets/blocks.py"}
    assert sys.modules["nets.cnn"] is before


def test_a_module_of_a_package_brings_the_package(tmp_path):
    package = _write(
        tmp_path / "nets", __init__="", cnn="from nets.blocks import SIZE\ndef build():\n    return SIZE\n"
    )
    _write(package, blocks="SIZE = 3\n", unused="")
    own = _load("nets.cnn:build", tmp_path)
    assert own() == 3
    assert {*own_functions.files_of(own)} == {"nets/__init__.py", "nets/cnn.py", "nets/blocks.py"}
    assert not [name for name in sys.modules if name.split(".")[0] == "nets"]


def test_an_installed_module_is_found_and_what_it_needs_from_elsewhere_is_left_alone(tmp_path, monkeypatch):
    _write(tmp_path, planted_elsewhere="import json, tricks.losses\nfrom tricks.errors import UserError as build\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = _load("planted_elsewhere:build", tmp_path / "empty")
    assert own.function is UserError
    assert {*own_functions.files_of(own)} == {"planted_elsewhere.py"}
    assert sys.modules["tricks.losses"]


def test_a_kept_copy_believes_to_lie_where_it_was_written(tmp_path):
    text = "from pathlib import Path\nimport layers\ndef build():\n    return Path(__file__).parent.name, layers.N\n"
    _write(tmp_path / "original", network=text, layers="N = 1\n")
    copy = _write(tmp_path / "copy", network=text, layers="N = 2\n")
    own = _load("x/network.py:build", copy, written_in=tmp_path / "original", main="network.py")
    assert own() == ("original", 2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "network.py:biuld",
            r"model.build is '.*'; network.py has no function biuld; did you mean build\? functions there: build$",
        ),
        ("netwrok.py:build", r"model.build is 'netwrok.py'; there is no such file in .*"),
        ("./:build", r"model.build is './:build'; ./ is a folder; allowed: file.py:function"),
        ("/nowhere/network.py:build", r"model.build is '/nowhere/network.py'; there is no such file$"),
        ("nowhere.network:build", "model.build is 'nowhere.network:build'; there is no module nowhere.network: "),
        ("network.py:", "model.build is 'network.py:'; allowed: file.py:function or package.module:function"),
        (":build", "model.build is ':build'; allowed: file.py:function"),
        ("a b:build", "model.build is 'a b:build'; allowed: file.py:function"),
        ("raises.py:build", "it raised ZeroDivisionError at raises.py, line 2: "),
        ("syntax.py:build", "it raised SyntaxError at syntax.py, line 3: "),
        ("lacks.py:build", r"it raised ModuleNotFoundError at lacks.py, line 1: No module named 'nonsense'"),
        ("exits.py:build", r"it ended the program with status 7"),
        ("library.py:build", "model.build is 'library.py:build'; name is 'x'; allowed: a, b$"),
        ("deep.py:build", r"it raised ValueError at layers.py, line 1: no such layer$"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_a_line(tmp_path, name, said):
    _write(
        tmp_path,
        network="CALLED = print\ndef build():\n    pass\ndef _built():\n    pass\n",
        raises="x = 1\ny = x / 0\n",
        syntax="x = 1\n\ndef build(:\n",
        lacks="import nonsense\n",
        exits="import sys\nsys.exit(7)\n",
        library="from tricks.arguments import require_choice\nrequire_choice('name', 'x', ('a', 'b'))\n",
        deep="\nimport layers\n",
        layers="raise ValueError('no such layer\\nsecond line')\n",
    )
    with pytest.raises(UserError, match=said) as raised:
        _load(name, tmp_path)
    assert "\n" not in str(raised.value)


def test_what_it_raises_later_has_its_line_too(tmp_path):
    _write(tmp_path, network="def build(depth):\n    def apply(x):\n        return x[depth]\n    return apply\n")
    own = _load("network.py:build", tmp_path)
    with pytest.raises(UserError, match=r"it raised TypeError: .*missing 1 required positional argument: 'depth'"):
        own()
    apply = own_functions.guarded(own, own(depth=3))
    assert apply([1, 2, 3, 4]) == 4
    with pytest.raises(UserError, match=r"it raised IndexError at network.py, line 3: list index out of range"):
        apply([1])


def _build(example, outputs, *, width=32, rate=0.1, batch_norm=True, kind="relu", sizes=(3, 3), depths=(2,), seed=None):
    """A planted one."""


def test_options_have_the_defaults_of_the_function():
    complete_ones = {"width": 32, "rate": 0.1, "batch_norm": True, "kind": "relu", "sizes": (3, 3), "depths": (2,)}
    complete_ones["seed"] = None
    assert complete(_build, "model.options", {}, positional=2) == complete_ones
    given = {"rate": 1, "kind": 3, "sizes": 5, "depths": (4, 1), "seed": "any"}
    assert complete(_build, "model.options", {"sizes": (4, 5, 6)}, positional=2)["sizes"] == (4, 5, 6)
    assert complete(_build, "model.options", given, positional=2) == {
        **complete_ones,
        "rate": 1.0,
        "kind": "3",
        "sizes": (5,),
        "depths": (4, 1),
        "seed": "any",
    }
    assert isinstance(complete(_build, "model.options", given, positional=2)["rate"], float)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widht": 3}, r"model.options.widht is no option of _build; did you mean width\? options: width, rate, "),
        ({"example": 3}, "model.options.example is no option of _build"),
        ({"width": 1.5}, "model.options.width is 1.5; it must be of type int, as its default 32 is"),
        ({"width": True}, "model.options.width is True; it must be of type int"),
        ({"width": "a"}, "model.options.width is 'a'; it must be of type int"),
        ({"rate": "a"}, "model.options.rate is 'a'; it must be of type float"),
        ({"sizes": (64, "a")}, r"model.options.sizes\[1\] is 'a'; it must be of type int, as its default 3 is"),
        ({"sizes": 1.5}, r"model.options.sizes\[0\] is 1.5; it must be of type int"),
        ({"depths": "a"}, r"model.options.depths\[0\] is 'a'; it must be of type int, as its default 2 is"),
        ({"batch_norm": 1}, "model.options.batch_norm is 1; it must be of type bool"),
    ],
)
def test_options_that_the_function_does_not_take_are_refused(given, said):
    with pytest.raises(UserError, match=said):
        complete(_build, "model.options", given, positional=2)


def test_an_option_without_a_default_must_be_given_and_any_name_may_be_where_all_are_taken():
    with pytest.raises(UserError, match=r"data.options.path is missing; load has no default for it: give --config\."):
        complete(_load_data, "data.options", {})
    assert complete(_load_data, "data.options", {"path": "x", "more": 1}) == {"path": "x", "more": 1}


def _load_data(path, **rest):
    """A planted one."""


_load_data.__name__ = "load"


@pytest.mark.parametrize(
    ("flags", "options", "rest"),
    [
        (["--config.model.options.width=64", "--config.model.options.width=32"], {"width": 32}, []),
        (["--config.model.options.width", "-3"], {"width": -3}, []),
        (["--config.model.options.deep", "--config.seed=1"], {"deep": True}, ["--config.seed=1"]),
        (["--config.model.options.deep", "--config.model.options.wide"], {"deep": True, "wide": True}, []),
        (["-noconfig.model.options.deep", "x"], {"deep": False}, ["x"]),
        (["--config.model.options.text=a=b"], {"text": "a=b"}, []),
        (["--config.model.options.sizes=[3,4]"], {"sizes": (3, 4)}, []),
        (["--config.model.options.text={1: 2}"], {"text": "{1: 2}"}, []),
    ],
)
def test_options_are_taken_out_of_a_command_line(flags, options, rest):
    assert option_flags.taken_from(flags) == (rest, {f"model.options.{name}": v for name, v in options.items()})


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.model.options.=3", r"options\.=3 names no option; give --config\.model\.options\.NAME=VALUE$"),
        ("--config.loss.options.a-b=3", r"a-b=3 names no option; give --config\.loss\.options\.NAME=VALUE$"),
        (
            "--noconfig.model.options.deep=1",
            r"deep=1 has a value; allowed: --noconfig\.model\.options\.deep without one, or --config\.model",
        ),
    ],
)
def test_flags_that_are_no_options_are_refused(flag, said):
    with pytest.raises(UserError, match=f"^--.*{said}"):
        option_flags.taken_from([flag])
