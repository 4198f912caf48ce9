"""The console command and the scripts are doors to the same commands; shipped configs have names."""

import importlib
import re
import signal
import tomllib

import pytest

from conftest import PLAIN, ROOT, read_metrics, run_python
from tricks.cli import invocation, shipped
from tricks.commands import dispatch
from tricks.errors import UserError

_SCRIPTS = {
    "train": "train.py",
    "spectrum": "scripts/spectrum.py",
    "sweep": "scripts/sweep.py",
    "diagnose": "scripts/diagnose.py",
    "reproduce": "scripts/reproduce.py",
    "prepare": "scripts/prepare_data.py",
}
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
every_command = pytest.mark.parametrize("name", list(_SCRIPTS))


def _tricks(*arguments, **options):
    return run_python("-m", "tricks", *arguments, **options)


def test_every_module_of_the_package_is_installed():
    setuptools = _PROJECT["tool"]["setuptools"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "tricks").rglob("__init__.py")}
    assert {*setuptools["packages"]} == {*folders, "tricks.configs"}
    assert setuptools["package-dir"] == {"tricks.configs": "configs"}
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "tricks").rglob("*.py")} == folders


def test_the_console_command_is_the_dispatcher():
    module, name = _PROJECT["project"]["scripts"]["tricks"].split(":")
    assert getattr(importlib.import_module(module), name) is dispatch.main


def test_every_command_has_a_line_and_a_door():
    modules = {path.stem for path in (ROOT / "tricks" / "commands").glob("[!_]*.py")}
    assert {*dispatch._COMMANDS} == modules - {"dispatch"} == {*_SCRIPTS} == {*invocation._SCRIPTS}
    assert invocation._SCRIPTS == _SCRIPTS


@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_help_has_a_line_for_each_command(asked):
    done = _tricks(asked)
    assert (done.status, done.error) == (0, "")
    for name, purpose in dispatch._COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(purpose)}$", done.output, re.M), done.output


def test_no_command_is_a_mistake_that_is_helped():
    done = _tricks()
    assert done.mistake() == f"error: no command is given; commands: {', '.join(_SCRIPTS)}"
    assert done.output == _tricks("--help").output


@pytest.mark.parametrize(
    ("name", "meant"),
    [("trian", "did you mean train? "), ("spektrum", "did you mean spectrum? "), ("--config=digits", ""), ("🐙", "")],
)
def test_an_unknown_command_is_named(name, meant):
    done = _tricks(name)
    assert done.mistake() == f"error: unknown command {name!r}; {meant}commands: {', '.join(_SCRIPTS)}"
    assert done.output == ""


@every_command
def test_help_of_a_command_calls_it_as_it_was_called(name):
    by_script, by_name = run_python(_SCRIPTS[name], "--help"), _tricks(name, "--help")
    assert by_script.status == by_name.status == 0
    assert f"python {_SCRIPTS[name]} " in by_script.output.splitlines()[0]
    assert f"\n{_SCRIPTS[name]}:\n  --" in by_script.output
    assert by_script.output.replace(f"python {_SCRIPTS[name]} ", f"python -m tricks {name} ").replace(
        f"\n{_SCRIPTS[name]}:", f"\npython -m tricks {name}:"
    ) == (by_name.output)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("train", ["stray"]),
        ("train", ["--wrokdir=x"]),
        ("train", ["--config.modle.dropout=0.1"]),
        ("spectrum", []),
        ("spectrum", ["--exampels=3"]),
        ("prepare", ["digits"]),
    ],
)
def test_mistakes_are_told_alike(name, flags):
    assert run_python(_SCRIPTS[name], *flags).mistake() == _tricks(name, *flags).mistake()


def test_a_message_names_a_command_as_it_was_called(monkeypatch):
    assert "name of one data set: python scripts/prepare_data.py mnist" in run_python(_SCRIPTS["prepare"]).mistake()
    assert "name of one data set: python -m tricks prepare mnist" in _tricks("prepare").mistake()
    monkeypatch.setattr("sys.argv", ["tricks train", "--config=digits"])
    assert invocation.command("prepare") == "tricks prepare"
    assert invocation.installation("tfds") == "pip install 'tricks-jax[tfds]'"
    monkeypatch.setattr("sys.argv", ["/a folder/train.py"])
    assert invocation.command("prepare") == "python scripts/prepare_data.py"
    monkeypatch.setattr(invocation, "_ROOT", ROOT / "nowhere")
    assert invocation.command("prepare") == "tricks prepare"


def _told(output: str, workdir) -> str:
    """What a run printed, without its directory and its times."""
    return re.sub(r"[\d.]+k? ex/s|after [\d.]+ s", "", output.replace(str(workdir), "WORKDIR"))


def test_both_doors_train_alike(tmp_path):
    flags = (f"--config={PLAIN}", "--config.train.epochs=2")
    one, two = tmp_path / "script", tmp_path / "name"
    by_script = run_python("train.py", *flags, f"--workdir={one}")
    by_name = _tricks("train", *flags, f"--workdir={two}")
    assert by_script.status == by_name.status == 0, (by_script, by_name)
    assert by_script.error == by_name.error
    assert _told(by_script.output, one) == _told(by_name.output, two)
    files = [{re.sub(r"^events\..*", "events", path.name) for path in workdir.iterdir()} for workdir in (one, two)]
    assert files[0] == files[1] >= {"config.json", "curves.png", "summary.json", "metrics.jsonl", "events"}
    assert (one / "config.json").read_text() == (two / "config.json").read_text()
    lines = [[{**line, "examples_per_second": 0} for line in read_metrics(workdir)] for workdir in (one, two)]
    assert lines[0] == lines[1]


_CONFIG_FOUND = """
import runpy, sys
from tricks.training import experiment
experiment.run = lambda config, workdir, folders: print(workdir, config.optimizer.learning_rate)
door, *sys.argv[1:] = sys.argv[1:]
if door == "script":
    runpy.run_path({script!r}, run_name="__main__")
else:
    runpy.run_module("tricks", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("door", [["script"], ["name", "train"]], ids=["script", "name"])
def test_a_shipped_config_is_found_by_its_name_from_any_folder(tmp_path, door):
    script = tmp_path / "found.py"
    script.write_text(_CONFIG_FOUND.format(script=str(ROOT / "train.py")))
    # Neither is a shipped config.
    (tmp_path / "digits").write_text("mine")
    (tmp_path / "digits.py").write_text("raise SystemExit")
    for config, found in (
        ([], "runs/digits 0.002"),
        (["--config=digits"], "runs/digits 0.002"),
        (["--config", "digits_adam", "--config.seed=1"], "runs/digits_adam-seed=1 0.001"),
        (["-config=digits_adam"], "runs/digits_adam 0.001"),
        ([f"--config={PLAIN}"], "runs/plain_config 0.001"),
    ):
        assert run_python(script, *door, *config, folder=tmp_path) == (0, f"{found}\n", "")
    assert "cannot be read: SystemExit" in run_python(script, *door, "--config=digits.py", folder=tmp_path).mistake()


def test_a_config_that_is_not_shipped_is_refused_with_those_that_are():
    line = _tricks("train", "--config=digts").mistake()
    assert line.startswith("error: --config is 'digts'; did you mean digits? shipped: diabetes, digits, digits_adam, ")
    assert "--config=mine.py" in line
    assert "argument" in _tricks("train", "--config", "digits:argument").mistake()
    assert "Missing value for flag --config" in _tricks("train", "--config").mistake()


@pytest.mark.parametrize(
    "config", ["./digits", "digits.py", "mine/digits", str(PLAIN), "", "./digits.py:argument", "."]
)
def test_what_has_a_separator_or_an_ending_is_a_file_of_ones_own(config):
    assert shipped.find(config) == config


@pytest.mark.parametrize("name", ["__init__", "digits.txt", "Digits", "digits ", "~"])
def test_what_is_no_name_of_a_shipped_config(name):
    with pytest.raises(UserError, match="--config is "):
        shipped.find(name)


def test_shipped_configs_are_found_in_an_installed_package_too(tmp_path, monkeypatch):
    assert shipped.names() == sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))
    assert shipped.find("digits:x") == f"{ROOT / 'configs' / 'digits.py'}:x"
    installed = tmp_path / "tricks" / "configs"
    installed.mkdir(parents=True)
    (installed / "only.py").touch()
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "tricks")
    assert shipped.names() == ["only"]
    assert shipped.find("only") == str(installed / "only.py")


_WITHOUT = """
import sys
sys.modules["ml_collections"] = None
from tricks.commands import dispatch
sys.argv = {arguments}
dispatch.{call}
"""


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        ("main()", ["tricks", "train"], r"tricks train needs .*: pip install 'tricks-jax\[train\]'"),
        ("run('train')", ["train.py"], r"python train.py needs .*: pip install '.\[train\]'"),
        ("main()", ["tricks", "spectrum"], r"tricks spectrum needs .*: pip install 'tricks-jax\[train\]'"),
    ],
)
def test_packages_that_are_missing_are_told_in_a_line(call, arguments, said):
    line = run_python("-c", _WITHOUT.format(call=call, arguments=arguments)).mistake()
    assert re.fullmatch(rf"error: {said}", line), line
    assert "ml_collections" in line


def test_nothing_heavy_is_imported_before_signals_are_caught():
    code = "import sys; from tricks.commands import dispatch; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in run_python("-S", "-c", code).output.split()}
    assert not loaded & {"jax", "numpy", "absl", "ml_collections", "difflib", "inspect", "asyncio", "subprocess"}


_SIGNALED = """
import importlib, os, runpy, sys
def imported(name):
    os.kill(os.getpid(), {number})
    print("went on")
importlib.import_module = imported
sys.argv = ["tricks", "train"]
{call}
"""


@pytest.mark.parametrize(
    "call",
    ["from tricks.commands import dispatch; dispatch.main()", 'runpy.run_path("train.py", run_name="__main__")'],
    ids=["name", "script"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_an_import_ends_quietly(number, call):
    assert run_python("-c", _SIGNALED.format(number=int(number), call=call)) == (130, "", "")


_INTERRUPTED = """
import os, sys
from tricks.commands import dispatch
from tricks.data import prepared
def prepare(*_, **__):
    try:
        os.kill(os.getpid(), {number})
    finally:
        print("cleared")
prepared.prepare = prepare
sys.argv = ["tricks", "prepare", "mnist"]
dispatch.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_preparing_that_is_interrupted_can_clear_away_what_it_has_begun(tmp_path, number):
    script = tmp_path / "interrupted.py"
    script.write_text(_INTERRUPTED.format(number=int(number)))
    assert run_python(script) == (130, "cleared\n", "interrupted\n")
