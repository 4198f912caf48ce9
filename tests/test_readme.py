"""Every command and every example of the README works as written."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, MNIST_FILES, ROOT
from tricks.config import OPTIONS, Config, flatten

README = (ROOT / "README.md").read_text()
_LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.strip().splitlines()]
COMMANDS = [line for line in _LINES if not line.startswith("tricks ")]
# Programs of users add biases to batches without a second thought; only the library itself must not.
# The commands of training are compiled as for users; what follows them says the same however it is compiled.
QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
AS_USERS = {"JAX_NUMPY_RANK_PROMOTION": "allow", **QUICKLY}


def test_all_commands_are_known_to_these_tests():
    assert COMMANDS == [
        "make train",
        "make test",
        'make train CONFIG=configs/digits_momentum.py ARGS="--config.optimizer.learning_rate=0.01'
        ' --config.train.epochs=5"',
        ".venv/bin/python train.py --config=configs/digits.py --workdir=runs/mine --config.model.hidden_sizes=64,64",
        "make prepare DATA=mnist",
        'make train CONFIG=configs/mnist.py ARGS="--config.optimizer.name=momentum"',
        ".venv/bin/python scripts/spectrum.py --workdir=runs/digits",
        "make train CONFIG=configs/trap_identical_units.py",
        "make train ACCELERATOR=cuda13",
        "make train ACCELERATOR=tpu",
        'XLA_FLAGS=--xla_force_host_platform_device_count=8 make train ARGS="--config.train.epochs=2'
        ' --workdir=runs/eight"',
        "pip install .",
        "PYTHONPATH=. .venv/bin/python examples/plain_jax.py",
        "PYTHONPATH=. .venv/bin/python examples/flax_nnx.py",
        "PYTHONPATH=. .venv/bin/python examples/equinox_mlp.py",
        "PYTHONPATH=. .venv/bin/python examples/escape_flax_nnx.py",
        "PYTHONPATH=. .venv/bin/python examples/escape_equinox.py",
    ]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the tracked files whose .venv is this very environment, marked as installed."""
    copy = tmp_path_factory.mktemp("checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode()
    names = [n for n in tracked.split("\0") if n] or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*.py")]
    for name in names:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    environment = copy / ".venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (environment / "python").chmod(0o755)
    for stamp in ("created", "installed-train", "installed-dev", "installed-tfds"):
        (copy / ".venv" / stamp).touch()
    return copy


def _shell(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    # What a `make test ARGS=…` that runs these tests was given is not for the `make` that they run.
    of_make = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS", "CONFIG", "DATA", "ACCELERATOR", "VENV")
    clean = {k: v for k, v in ENVIRONMENT.items() if k not in (*of_make, "PYTHON", "XLA_FLAGS")}
    return subprocess.run(
        command,
        shell=True,
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


# The trap is run by test_trap_runs.py.
@pytest.mark.parametrize("command", [COMMANDS[0], *COMMANDS[2:4], COMMANDS[10]])
def test_training_commands(checkout, command):
    done = _shell(command, checkout)
    assert done.returncode == 0, done
    directory = re.search(r"run directory: (\S+)", done.stdout)
    assert directory, done.stdout
    assert (checkout / directory.group(1) / "summary.json").exists()
    assert "installing" not in done.stdout, "nothing is installed a second time"


def test_the_command_for_runs_that_are_stuck(checkout):
    if not (checkout / "runs" / "digits").exists():
        assert _shell(COMMANDS[0], checkout).returncode == 0
    done = _shell(COMMANDS[6], checkout, **QUICKLY)
    assert done.returncode == 0, done
    assert re.search(r"^verdict +(saddle|degenerate|not critical|undecided)$", done.stdout, re.M), done.stdout
    assert (checkout / "runs" / "digits" / "spectrum.png").exists()


def test_a_project_of_ones_own_in_an_empty_folder(checkout, tmp_path):
    for name, text in re.findall(r"```py\n# (\w+\.py)\n(.*?)```", README, re.S):
        (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "examples" / "own" / "iris.csv", tmp_path / "flowers.csv")
    train, spectrum = (line for line in _LINES if line.startswith(("tricks train", "tricks spectrum")))
    python = f"PYTHONPATH={checkout} {checkout}/.venv/bin/python -m "
    done = _shell(python + train, tmp_path, **QUICKLY)
    assert done.returncode == 0, done
    assert "4 features, 3 classes; 515 parameters" in done.stdout
    done = _shell(python + spectrum, tmp_path, **QUICKLY)
    assert done.returncode == 0, done
    assert "verdict" in done.stdout


def test_a_sweep_of_the_readme(checkout):
    (line,) = (line for line in _LINES if line.startswith("tricks sweep"))
    short = line.replace("tricks sweep", ".venv/bin/python scripts/sweep.py").replace(":16", ":2").replace("=4", "=2")
    done = _shell(f"{short} --config.train.epochs=1", checkout, **QUICKLY)
    assert done.returncode == 0, done
    assert "12 of 12 lanes have ended" in done.stdout


def test_make_test_runs_the_tests(checkout):
    done = _shell(COMMANDS[1] + " ARGS=tests/test_early_stopping.py", checkout)
    assert done.returncode == 0, done
    assert re.search(r"\d+ passed", done.stdout)


def test_mnist_is_prepared_and_trained(checkout, mnist_directory, tmp_path):
    # What the same script has made of the original files already, it only has to find.
    target = tmp_path / "data"
    shutil.copytree(mnist_directory, target)
    prepare = f"{COMMANDS[4]} ARGS='--manual_dir={MNIST_FILES} --data_dir={target}'"
    done = _shell(prepare, checkout)
    assert done.returncode == 0, done
    assert f"prepared mnist in {target}" in done.stdout
    short = COMMANDS[5].replace("momentum", "momentum --config.train.epochs=1 --config.model.hidden_sizes=32")
    done = _shell(short, checkout, TFDS_DATA_DIR=str(target))
    assert done.returncode == 0, done
    assert "mnist" in done.stdout


@pytest.mark.parametrize("command", COMMANDS[8:10])
def test_accelerator_commands_install_jax_for_it_once(checkout, command):
    # Dry, because the packages are gigabytes and want the device.
    kind = command.split("=")[1]
    dry = command.replace("make", "make -n", 1)
    done = _shell(dry, checkout)
    assert done.returncode == 0, done
    assert f"jax[{kind}]==" in done.stdout
    assert "train.py --config=configs/digits.py" in done.stdout
    stamp = checkout / ".venv" / f"installed-train{kind}"
    stamp.touch()
    assert "jax[" not in _shell(dry, checkout).stdout
    stamp.unlink()


def test_first_call_makes_the_environment(checkout):
    done = _shell("make -n train VENV=fresh", checkout)
    assert done.returncode == 0, done
    assert done.stdout.index("-m venv fresh") < done.stdout.index("-r requirements.txt") < done.stdout.index("train.py")


def test_python_that_is_too_old_is_refused(checkout, tmp_path):
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = _shell(f"make train VENV=other PYTHON={old}", checkout)
    assert done.returncode == 2
    assert "is older than 3.11" in done.stderr


@pytest.mark.parametrize(
    ("command", "result"),
    list(
        zip(
            COMMANDS[12:],
            [
                r"best epoch \d+, last rate [\d.e-]+, test accuracy 9[6-9]\.\d\d%\n",
                r"240 updates of 304 examples, last loss 0\.\d+, test accuracy 9[6-9]\.\d\d%\n",
                r"[5-9]\d% of the weights are exactly zero, test accuracy 9[5-9]\.\d\d%\n",
                r"(epoch \d+: loss [\d.]+\n){5}1 escape with \d+ products, test accuracy 9[6-9]\.\d\d%\n",
                r"(step \d+: loss [\d.]+\n|  stuck: [a-z ,\d.-]+ products\n){11,}test accuracy 9[6-9]\.\d\d%\n",
            ],
            strict=True,
        )
    ),
)
def test_examples(checkout, command, result):
    done = _shell(command.replace("python ", "python -W error ", 1), checkout, **AS_USERS)
    assert done.returncode == 0, done
    assert re.fullmatch(result, done.stdout), done.stdout


@pytest.fixture(scope="module")
def bare(checkout, tmp_path_factory) -> Path:
    """The Python of an environment with the package and what it asks for, and nothing else."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
    wheel = _shell(f'"{sys.executable}" -m pip wheel --quiet --no-deps --wheel-dir={home} .', checkout)
    assert wheel.returncode == 0, wheel
    (built,) = home.glob("tricks_jax-*.whl")
    python = home / "venv" / "bin" / "python"
    done = _shell(f'"{python}" -m {COMMANDS[11].removesuffix(".")} --quiet {built}', home)
    if "No matching distribution" in done.stderr or "ConnectionError" in done.stderr:
        pytest.skip("no package index within reach, so no clean environment")
    assert done.returncode == 0, done
    return python


def test_package_installs_and_the_example_runs_on_jax_and_optax_alone(bare, tmp_path):
    installed = _shell(f'"{bare}" -m pip list --format=freeze', tmp_path).stdout.lower()
    assert "jax==" in installed
    assert "optax==" in installed
    for name in ("flax", "orbax", "tensorflow", "scikit-learn", "ml-collections", "matplotlib", "tqdm"):
        assert name not in installed
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "example.py").write_text(example)
    done = _shell(f'"{bare}" -W error example.py', tmp_path, **AS_USERS)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"loss 0\.0\d+, rate 0\.0000\d\n", done.stdout), done.stdout


def test_the_verdict_of_the_lectures_example_needs_jax_and_optax_alone(bare, tmp_path):
    first, _, parts = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "curvature.md").read_text(), re.S)
    (tmp_path / "example.py").write_text(first + parts)
    done = _shell(f'"{bare}" -W error example.py', tmp_path, **AS_USERS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("saddle both signs"), done.stdout
    assert "[ True  True  True  True]" in done.stdout


def test_the_wheel_holds_the_package_and_the_shipped_configs(bare, checkout):
    (built,) = bare.parents[2].glob("tricks_jax-*.whl")
    held = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    package = {path.relative_to(checkout).as_posix() for path in (checkout / "tricks").rglob("*.py")}
    templates = {"tricks/lectures/common/page.html"}
    templates |= {f"tricks/diagnosis/report/page.{kind}" for kind in ("html", "css")}
    configs = {f"tricks/configs/{path.name}" for path in (checkout / "configs").glob("*.py")}
    assert held == {*package, *configs, *templates, "tricks/py.typed"}


def test_the_console_command_without_the_extra_says_what_to_install(bare, tmp_path):
    done = _shell(f'"{bare.parent / "tricks"}" train --config=digits', tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    needed = r"error: tricks train needs more packages \(No module named '\w+'\): pip install 'tricks-jax\[train\]'\n"
    assert re.fullmatch(needed, done.stderr), done.stderr
    code = "from tricks.cli import shipped; print(shipped.find('digits'))"
    found = Path(_shell(f'"{bare}" -c "{code}"', tmp_path).stdout.strip())
    assert found.read_text() == (ROOT / "configs" / "digits.py").read_text()
    assert found.parts[-3:] == ("tricks", "configs", "digits.py")


def test_importing_the_transforms_adds_little_to_optax(bare, tmp_path):
    code = (
        "import optax, time; start = time.perf_counter();"
        "import tricks.transforms, tricks.schedules; print(time.perf_counter() - start)"
    )
    # The least of several: what else the machine does only adds.
    seconds = min(float(_shell(f'"{bare}" -c "{code}"', tmp_path).stdout) for _ in range(5))
    assert seconds <= 0.05, seconds


def test_table_lists_every_field_with_its_default():
    rows = dict(re.findall(r"^\| (`[\w.`, ]+`) \| (.*?) \|", README, re.M))
    listed = {name.strip("` "): default for names, default in rows.items() for name in names.split(",")}
    fields = flatten(Config())
    missing, gone = set(fields) - set(listed), set(listed) - set(fields) - {f"{options}NAME" for options in OPTIONS}
    assert not missing, f"add rows for {missing} to the table of fields of README.md"
    assert not gone, f"README.md lists {gone}, which are no fields"
    for name, value in fields.items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        expected = listed[name]
        if isinstance(value, float):
            assert float(expected) == value, name
        else:
            assert expected.lower() == (shown.lower() or "empty"), name


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
