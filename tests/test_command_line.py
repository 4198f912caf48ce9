"""Mistakes end in one line and exit status 2, divergence in 3; nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, PLAIN, QUICKLY_COMPILED, ROOT, read_metrics, run_python, train


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--config.optimizer.learning_rat=1"], "did you mean optimizer.learning_rate?"),
        (["--config.modle.dropout=0.1"], "did you mean model.dropout?"),
        (
            ["--config.model.options=3"],
            "--config.model.options needs the name of an option: --config.model.options.NAME",
        ),
        (["--config.xyz=1"], "is no field of the config"),
        (["--noconfig.model.batchnorm"], "did you mean model.batch_norm?"),
        (["--cofnig.seed=1"], "unknown flag --cofnig.seed"),
        (["--wrokdir=x"], "did you mean --workdir?"),
        (["--config.seed=1.5"], "config.seed"),
        (["--config.seed"], "config.seed"),
        (["--config.model.batch_norm=maybe"], "config.model.batch_norm"),
        (["--config.optimizer.learning_rate=fast"], "config.optimizer.learning_rate"),
        (["--config.optimizer.learning_rate=-1"], "optimizer.learning_rate is -1.0; allowed"),
        (["--config.optimizer.learning_rate=nan"], "optimizer.learning_rate is nan; allowed"),
        (["--config.model.dropout=1"], "model.dropout is 1.0; allowed"),
        (["--config.model.hidden_sizes=64,0"], "model.hidden_sizes is (64, 0); allowed"),
        (["--config.model.hidden_sizes=a,b"], "model.hidden_sizes"),
        (["--config.model=3"], "config.model"),
        (["--config.data.batch_size=0"], "data.batch_size is 0; allowed"),
        (["--config.data.batch_size=1295"], "data.batch_size is 1295; the training part has 1294 examples"),
        (["--config.data.validation_fraction=0.9999"], "data.validation_fraction"),
        (["--config.data.name=digts"], "did you mean digits?"),
        (["--config.data.name=diabetes"], "choose squared_error"),
        (["--config.loss.name=squared_error"], "choose cross_entropy"),
        (["--config.loss.name=sigmoid"], "10 classes"),
        (["--config.schedule.warmup_steps=800"], "the run has 800 steps"),
        (["--config.schedule.shape=exponential"], "schedule.end_value"),
        (["--config=configs/nowhere.py"], "configs/nowhere.py"),
        (["--config=README.md"], "README.md"),
        (["stray"], "unexpected argument 'stray'"),
        (["--config", "configs/nowhere.py"], "configs/nowhere.py"),
        (["--config.train.epochs=99999999999"], "train.epochs is 99999999999; allowed"),
        (["--config.train.epochs=99999999"], "the run would have 3,999,999,960 steps"),
        (["--config.early_stopping.patience=2147483648"], "early_stopping.patience is 2147483648; allowed"),
        ([f"--config.optimizer.l1={10**400}"], "optimizer.l1 is inf; allowed"),
        (["--config.optimizer.epsilon=1e-300"], "optimizer.epsilon is 1e-300; allowed"),
        (["--config.optimizer.learning_rate=1e300"], "optimizer.learning_rate is 1e+300; allowed"),
        ([f"--config.model.hidden_sizes={10**30},1"], "model.hidden_sizes is (1000000000000000000000000000000, 1)"),
        (["--config.model.hidden_sizes=2000000000,10"], "out of memory: weights and the optimizer's averages take"),
        (["--config.model.hidden_sizes=8", "--config.model.hidden_sizes=9"], "given 2 times"),
        (["--config.optimizer=adam"], "fields there: optimizer.name, optimizer.learning_rate"),
        (["--config.seed=9223372036854775808"], "seed is 9223372036854775808; allowed"),
        (["--config=configs/digits.py:argument"], "configs/digits.py cannot be read: TypeError"),
        (["--config.data.directory=~nosuchuser/x", "--config.data.name=mnist"], "data.directory is '~nosuchuser/x'"),
        (["--flagfile=/no/such/file"], "Unable to open flagfile"),
    ],
)
def test_mistakes(tmp_path, flags, said):
    workdir = tmp_path / "run"
    line = train(workdir, "--config.train.epochs=20", *flags, TFDS_DATA_DIR=str(tmp_path / "none")).mistake()
    assert said in line
    assert not workdir.exists(), "a refused command leaves nothing behind"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("def get_config(): return {}", "returned dict"),
        ("def get_config(:", "SyntaxError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("x = 1", "get_config"),
        ("def get_config(): return None", "returned NoneType"),
        ("def get_config(): raise SystemExit(3)", "SystemExit: 3"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError: division by zero"),
        (
            "from tricks.config import Config\ndef get_config():\n c = Config()\n c.optimizer.lr = 1.0\n return c",
            "optimizer.lr is no field",
        ),
    ],
)
def test_config_files_that_are_wrong(tmp_path, content, said):
    file = tmp_path / "wrong.py"
    file.write_text(content)
    assert said in train(tmp_path / "run", f"--config={file}").mistake()


def test_workdir_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("mine")
    train(tmp_path / "run").mistake()
    assert (tmp_path / "run").read_text() == "mine"


def test_workdir_below_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "cannot be used" in train(tmp_path / "file" / "run").mistake()


def test_workdir_that_cannot_be_written():
    assert "cannot be used" in train(Path("/proc/run")).mistake()


@pytest.mark.parametrize(
    ("workdir", "said"),
    [
        ("~nosuchuser/x", "no such home directory"),
        ("gs://x/y", "no address"),
        (os.fsdecode(b"runs/\xff"), "a path that is UTF-8"),
    ],
)
def test_workdir_that_can_be_none(workdir, said):
    assert said in run_python("train.py", f"--workdir={workdir}", f"--config={PLAIN}").mistake()
    assert said in run_python("scripts/spectrum.py", f"--workdir={workdir}").mistake()
    assert not (ROOT / workdir).exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"JAX_PLATFORMS": "cuda"}, "no device with JAX_PLATFORMS=cuda"),
        ({"JAX_DISABLE_JIT": "1"}, "JAX_DISABLE_JIT is set"),
        ({"JAX_ENABLE_X64": "maybe"}, "JAX cannot read its variables: invalid truth value 'maybe'"),
        ({"XLA_FLAGS": "--xla_no_such_flag=1"}, "Unknown flag in XLA_FLAGS: --xla_no_such_flag=1"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=abc"}, "Couldn't interpret value abc for flag"),
        ({"JAX_TRANSFER_GUARD": "disallow"}, "JAX_TRANSFER_GUARD is disallow"),
        ({"JAX_NUMPY_DTYPE_PROMOTION": "strict"}, "JAX_NUMPY_DTYPE_PROMOTION is strict"),
        ({"JAX_DEBUG_INFS": "1"}, "JAX_DEBUG_INFS is True"),
    ],
)
def test_environments_that_keep_jax_from_working(tmp_path, variables, said):
    assert said in train(tmp_path / "run", **variables).mistake()


def test_pictures_are_drawn_whatever_matplotlib_is_told_to_show_them_with(tmp_path):
    # A variable of JAX, so that nothing is imported yet.
    done = train(tmp_path / "run", "--config.train.epochs=1", MPLBACKEND="nonsense", JAX_ENABLE_X64="0")
    assert done.status == 0, done
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_command_that_has_ended_leaves_its_status(number):
    # What is left at the very end goes when Python has given up its handlers.
    code = (
        "import os; from tricks.cli import command\n"
        "class Late:\n"
        f"    def __del__(self, kill=os.kill, own=os.getpid()): kill(own, {int(number)})\n"
        "late = Late()\n"
        "command.run(lambda arguments: command.DIVERGED)"
    )
    assert run_python("-c", code) == (3, "", "")


def test_nan_that_jax_is_asked_to_look_for_is_divergence(tmp_path):
    flags = ("--config.optimizer.learning_rate=1e30", "--noconfig.model.batch_norm")
    done = train(tmp_path / "run", *flags, JAX_DEBUG_NANS="1", XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 3, done
    assert done.error.startswith("error: "), done
    assert len(done.error.strip().splitlines()) == 1, done


@pytest.mark.parametrize("redirected", [">/dev/full 2>/dev/full", "<&- >&- 2>&-"])
def test_output_that_cannot_be_written_does_not_stop_the_run(tmp_path, redirected):
    command = f'"{sys.executable}" train.py --config={PLAIN} --workdir={tmp_path / "ü"} --config.train.epochs=1 '
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    assert subprocess.run(["bash", "-c", command + redirected], cwd=ROOT, env=environment, check=False).returncode == 0
    assert json.loads((tmp_path / "ü" / "summary.json").read_text())["status"] == "completed"


def test_workdir_with_something_else_in_it(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "holds no run" in train(tmp_path).mistake()
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("content", [b'{"seed":', b"[]", b"{}", b"", b"\xff\xfe{", b"null", b"[" * 200_000])
def test_damaged_config_of_a_run(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    assert "cannot be used" in train(tmp_path).mistake()


@pytest.mark.parametrize("devices", [3, 8])
def test_batch_that_does_not_divide_over_the_devices(tmp_path, devices):
    line = train(tmp_path / "run", "--config.data.batch_size=100", devices=devices).mistake()
    assert f"{devices} devices" in line


def test_divergence_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    # The rate grows without warning: momentum on a bare network at a rate of 1e30 overflows within a few steps.
    flags = ("--config.optimizer.name=momentum", "--noconfig.model.batch_norm", "--config.train.chunk_steps=10")
    flags += ("--config.optimizer.learning_rate=1e30",)
    done = train(tmp_path / "run", *flags, XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 3, done
    assert done.error.startswith("error: training diverged: the loss is "), done.error
    assert "at step " in done.error
    assert "optimizer.learning_rate below 1e+30" in done.error
    assert "Traceback" not in done.error
    assert len(done.error.strip().splitlines()) == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert summary["message"] in done.error
    assert (tmp_path / "run" / "curves.png").exists()
    assert all(line["loss"] is not None for line in read_metrics(tmp_path / "run"))


def test_divergence_after_a_checkpoint_keeps_it(tmp_path):
    # Gradient descent on a quadratic, whose rate rises past the edge of stability after some epochs.
    flags = (
        "--config.data.name=diabetes",
        "--config.loss.name=squared_error",
        "--config.model.hidden_sizes=()",
        "--config.optimizer.name=momentum",
        "--config.optimizer.momentum=0",
        "--config.optimizer.learning_rate=4",
        "--config.schedule.warmup_steps=170",
    )
    done = train(tmp_path, *flags, XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 3, done
    kept = [int(p.name) for p in (tmp_path / "checkpoints").iterdir()]
    assert kept
    assert f"the last good checkpoint is of step {max(kept)}" in done.error
    assert max(line["step"] for line in read_metrics(tmp_path)) >= max(kept)
    again = train(tmp_path, *flags, XLA_FLAGS=QUICKLY_COMPILED)
    assert again.status == 3
    assert f"resuming {tmp_path} at step {max(kept)}" in again.output


def test_full_disk_ends_in_one_line_and_keeps_the_last_checkpoint(tmp_path):
    # The third look at the disk finds it full; there are so many epochs that it comes, however slowly they are written.
    long = "--config.train.epochs=100"
    script, workdir = tmp_path / "script.py", tmp_path / "run"
    script.write_text(
        "import runpy, shutil, sys, types\n"
        "room = iter([10**12, 10**12])\n"
        "shutil.disk_usage = lambda path: types.SimpleNamespace(free=next(room, 1000))\n"
        "sys.argv = ['train.py', *sys.argv[1:]]\n"
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    line = run_python(script, f"--workdir={workdir}", f"--config={PLAIN}", long).mistake()
    # Which step that is depends on how fast they are written.
    steps = re.search(r"checkpoint of step (\d+) cannot be written.* last good checkpoint is of step (\d+)", line)
    failed, kept = map(int, steps.groups())
    assert "no space left" in line
    assert 0 < kept < failed
    assert f"{kept:08d}" in os.listdir(workdir / "checkpoints")
    done = train(workdir, long)
    assert done.status == 0, done
    assert f"at step {kept} of 4000" in done.output


def test_output_that_nobody_reads_does_not_stop_the_run(tmp_path):
    command = f'"{sys.executable}" train.py --config={PLAIN} --workdir={tmp_path} | head -1'
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("digits: ")
    assert "rror" not in done.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "completed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.5, 1.0, 2.0, 3.0])
def test_signal_before_training_ends_quietly(tmp_path, number, after):
    process = subprocess.Popen(
        [
            sys.executable,
            "train.py",
            f"--config={PLAIN}",
            f"--workdir={tmp_path / 'run'}",
            "--config.train.epochs=2000",
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(after)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output


_SIGNAL_IN_A_CALLBACK = """
import gc, os, runpy, signal, sys
from tricks.training import experiment

def run(config, workdir, folders):
    gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIG{name}))
    gc.collect()
    print("went on")

experiment.run = run
sys.argv = ["train.py"]
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_signal_in_a_callback_that_swallows_exceptions_is_not_lost(tmp_path, name):
    (tmp_path / "script.py").write_text(_SIGNAL_IN_A_CALLBACK.format(name=name))
    done = run_python(tmp_path / "script.py")
    assert (done.status, done.output) == (130, ""), done


@pytest.mark.parametrize(("script", "flag"), [("train.py", "--config"), ("scripts/spectrum.py", "--examples")])
def test_help_lists_the_flags(script, flag):
    # With -u in a process of its own, so that what imports warn of is seen.
    done = run_python("-u", script, "--help")
    assert done.status == 0, done
    assert "--workdir" in done.output
    assert flag in done.output


def test_default_workdir_is_named_after_the_config_and_its_overrides(tmp_path):
    subprocess.run(["cp", "-r", ROOT / "configs", tmp_path], check=True)
    done = run_python(
        ROOT / "train.py",
        "--config=configs/digits.py",
        "--config.train.epochs=1",
        "--config.optimizer.name=momentum",
        "--config.model.hidden_sizes=32,16",
        folder=tmp_path,
        XLA_FLAGS=QUICKLY_COMPILED,
    )
    assert done.status == 0, done
    assert os.listdir(tmp_path / "runs") == ["digits-model.hidden_sizes=32,16-optimizer.name=momentum-train.epochs=1"]


def test_run_directory_is_complete(tmp_path):
    done = train(tmp_path, "--config.train.epochs=3", "--config.optimizer.name=momentum")
    assert done.status == 0, done
    names = {path.name.split(".")[0] for path in tmp_path.iterdir()}
    assert {"config", "metrics", "summary", "checkpoints", "events", "curves"} <= names
    lines = read_metrics(tmp_path)
    keys = ["step", "epoch", "split", "loss", "accuracy"]
    of_steps = ["gradient_norm", "learning_rate", "examples_per_second"]
    assert all(list(line) == keys + of_steps * (line["split"] == "train") for line in lines)
    training = [line for line in lines if line["split"] == "train"]
    assert all(line["gradient_norm"] > 0 and line["learning_rate"] == pytest.approx(1e-3) for line in training)
    assert [line["epoch"] for line in lines if line["split"] == "validation"] == [0, 1, 2, 3]
    assert [line["split"] for line in lines].count("test") == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["config"]["optimizer.name"] == "momentum"
    assert summary["device"]["count"] == 1
    assert summary["versions"]["jax"]
    assert summary["parameters"] == 64 * 128 + 128 * 128 + 4 * 128 + 128 * 10 + 10
    best = min((line for line in lines if line["split"] == "validation"), key=lambda line: line["loss"])
    assert summary["best"]["validation"]["step"] == best["step"]
    assert summary["best"]["test"]["loss"] == next(line["loss"] for line in lines if line["split"] == "test")
    assert json.loads((tmp_path / "config.json").read_text()) == summary["config"]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    for word in ("train", "validation", "test", "accuracy", f"run directory: {tmp_path}"):
        assert word in done.output
    assert max(map(len, done.output.replace(str(tmp_path), "").splitlines())) < 100


def test_tensorboard_events_hold_the_metrics(tmp_path):
    from tensorboardX.proto import event_pb2

    done = train(tmp_path, "--config.train.epochs=2")
    assert done.status == 0, done
    (events,) = tmp_path.glob("events.*")
    content, found, offset = events.read_bytes(), {}, 0
    while offset < len(content):
        length = int.from_bytes(content[offset : offset + 8], "little")
        event = event_pb2.Event.FromString(content[offset + 12 : offset + 12 + length])
        offset += length + 16
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
    for line in read_metrics(tmp_path):
        assert found[f"{line['split']}/loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)


@pytest.mark.parametrize(
    "flags",
    [
        ["--config.data.name=breast_cancer", "--config.loss.name=sigmoid"],
        ["--config.loss.name=softmax_squared_error"],
        ["--config.data.name=diabetes", "--config.loss.name=squared_error"],
        ["--config.model.hidden_sizes=()"],
        ["--config.model.initializer=identical", "--config.model.activation=tanh", "--noconfig.model.batch_norm"],
        ["--config.data.placement=host", "--config.optimizer.name=root_mean_square"],
        ["--config.data.batch_size=1294", "--config.optimizer.name=rmsprop"],
        ["--config.optimizer.l1=1e-4", "--config.optimizer.l2=1e-4"],
        ["--config.optimizer.name=momentum", "--config.optimizer.nesterov", "--config.optimizer.learning_rate=0.01"],
        ["--config.data.batch_size=1", "--noconfig.model.batch_norm", "--config.train.chunk_steps=1000000"],
    ],
)
def test_choices_run(tmp_path, flags):
    done = train(tmp_path, "--config.train.epochs=2", *flags, XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done
    validation = [line["loss"] for line in read_metrics(tmp_path) if line["split"] == "validation"]
    assert validation[-1] < validation[0]


@pytest.mark.parametrize("text", ["def get_config():\n    return 1 / 0\n", "x = [\n][0]\n"])
def test_a_config_that_raises_is_told_with_its_line(tmp_path, text):
    (tmp_path / "mistaken.py").write_text(text)
    mistake = run_python("train.py", f"--config={tmp_path}/mistaken.py").mistake()
    assert re.search(r"mistaken\.py cannot be read: (ZeroDivision|Index)Error: .* \(line [12]\)$", mistake), mistake


def test_a_config_imports_what_lies_beside_it(tmp_path):
    (tmp_path / "common_parts.py").write_text("EPOCHS = -7\n")
    (tmp_path / "mine.py").write_text(
        "import common_parts\nfrom tricks.config import Config\n"
        "def get_config():\n    config = Config()\n    config.train.epochs = common_parts.EPOCHS\n    return config\n"
    )
    assert "train.epochs is -7" in train(tmp_path / "run", f"--config={tmp_path}/mine.py").mistake()
