"""Several processes on the loopback interface train as one does, end together, and say in a line what is wrong."""

import contextlib
import csv
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import forks
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from conftest import ENVIRONMENT, PLAIN, QUICKLY_COMPILED, ROOT, Result, read_metrics, run_python, start, train
from tricks.cli import job, joining, supervision
from tricks.errors import UserError

_SHORT = ("--config.train.epochs=2", "--config.model.dropout=0.2")
_LONG = ("--config.train.epochs=3000", "--config.train.chunk_steps=5")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# As in all of these processes, so that what one computes is what several do.
_QUICKLY = f"--xla_force_host_platform_device_count={{}} {QUICKLY_COMPILED}"


def _start(arguments, *, devices=1, **environment) -> forks.Started:
    own = {"XLA_FLAGS": _QUICKLY.format(devices), **environment}
    return forks.Started([*map(str, arguments)], ROOT, own, ENVIRONMENT)


def _ended(processes, timeout=120.0) -> list[Result]:
    return [Result(*process.ended(timeout)) for process in processes]


def _job(workdir: Path, count: int, *flags: str, each=lambda process: (), devices: int = 1, environment=None):
    """Starts so many processes of train.py, each with flags, and variables, of its own."""
    port = _free_port()
    return [
        _start(
            [
                *("train.py", f"--config={PLAIN}", f"--workdir={workdir}"),
                *(f"--coordinator=127.0.0.1:{port}", f"--processes={count}", f"--process={process}"),
                *(*flags, *each(process)),
            ],
            devices=devices,
            **(environment(process) if environment else {}),
        )
        for process in range(count)
    ]


def _same(one, other, rel=1e-6):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert {*a} == {*b}
        for name in {*a} & {"step", "loss", "accuracy", "gradient_norm", "learning_rate"}:
            assert a[name] == pytest.approx(b[name], rel=rel), (name, a, b)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The records of one process with four devices, whose examples are on the devices, or on the host."""
    found = {}
    for placement in ("device", "host"):
        folder = tmp_path_factory.mktemp(placement)
        done = train(folder, *_SHORT, f"--config.data.placement={placement}", XLA_FLAGS=_QUICKLY.format(4))
        assert done.status == 0, done
        found[placement] = folder
    return found


@pytest.mark.parametrize(("count", "devices", "placement"), [(4, 1, "device"), (2, 2, "host")])
def test_several_processes_train_as_one_with_as_many_devices(tmp_path, alone, count, devices, placement):
    processes = _job(tmp_path / "run", count, *_SHORT, f"--config.data.placement={placement}", devices=devices)
    done = _ended(processes)
    assert [one.status for one in done] == [0] * count, done
    _same(read_metrics(tmp_path / "run"), read_metrics(alone[placement]))
    assert "completed after" in done[0].output
    # The first one speaks, for all.
    assert {one.output for one in done[1:]} == {""}
    assert {one.error for one in done} == {""}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["device"]["count"] == 4
    assert (tmp_path / "run" / "curves.png").is_file()


def _until_step(workdir: Path, step: int) -> None:
    metrics, deadline = workdir / "metrics.jsonl", time.monotonic() + 90
    while time.monotonic() < deadline:
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.02)
    raise AssertionError("the job has not begun")


def test_a_signal_to_one_ends_all_and_another_number_goes_on(tmp_path):
    flags = ("--config.train.epochs=12", "--config.train.chunk_steps=1")
    processes = _job(tmp_path / "run", 2, *flags)
    _until_step(tmp_path / "run", 25)
    processes[1].send(signal.SIGTERM)
    done = _ended(processes)
    assert [one.status for one in done] == [130, 130], done
    (step,) = {int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdecimal()}
    assert f"the same command goes on from step {step}" in done[0].output
    # One process with four devices goes on where two processes have ended.
    done = train(tmp_path / "run", *flags, XLA_FLAGS=_QUICKLY.format(4))
    assert done.status == 0, done
    assert f"at step {step} of" in done.output
    whole = train(tmp_path / "whole", *flags, XLA_FLAGS=_QUICKLY.format(4))
    assert whole.status == 0, whole
    _same(read_metrics(tmp_path / "run"), read_metrics(tmp_path / "whole"), rel=1e-4)


@pytest.mark.parametrize("lost", [0, 2])
def test_a_process_that_dies_ends_the_others_with_a_line_that_names_it(tmp_path, lost):
    processes = _job(tmp_path / "run", 3, *_LONG, "--config.data.batch_size=30")
    _until_step(tmp_path / "run", 60)
    processes[lost].send(signal.SIGKILL)
    began = time.monotonic()
    done = _ended(processes, 60)
    assert time.monotonic() - began < 60
    assert done.pop(lost).status == -signal.SIGKILL
    for one in done:
        assert one.mistake().startswith(f"error: process {lost} has died or is out of reach")
    # What was written is whole, and nobody is left at work there.
    steps = [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdecimal()]
    assert steps
    written = read_metrics(tmp_path / "run")[-1]["step"]
    process = start(tmp_path / "run", written + 20, [*_LONG, "--config.data.batch_size=30"])
    process.send(signal.SIGTERM)
    status, output, _ = process.ended(60)
    assert status == 130
    assert f"at step {max(steps)} of" in output


@pytest.mark.parametrize(
    ("each", "message"),
    [
        (lambda process: [f"--config.seed={process}"], "process 1 has --config.seed 1, process 0 has 0; all need"),
        (lambda process: ["--config.data.batch_size=31"], "data.batch_size is 31; it must divide over the 2 devices"),
        (
            lambda process: ["--config.data.name=missing.csv"] if process == 1 else [],
            "process 1 has --config.data.name missing.csv, process 0 has digits",
        ),
    ],
)
def test_what_does_not_fit_is_said_by_all(tmp_path, each, message):
    for one in _ended(_job(tmp_path / "run", 2, each=each)):
        assert message in one.mistake()
    assert not (tmp_path / "run").exists()


_OTHERWISE = """
import sys
import tricks
from tricks.commands import dispatch
{change}
sys.argv = ["train.py", *{arguments!r}]
dispatch.run("train")
"""
_OTHER_DATA = """
from tricks.data import dataset
whole = dataset._normalized
def less(*arguments):
    data = whole(*arguments)
    return data._replace(test=data.test._replace(targets=data.test.targets[::-1].copy()))
dataset._normalized = less
"""


_OTHER_RULE = """
from tricks.training import shardings
shardings.largest = lambda path, shape, devices: None
"""
_SIGNAL_AT_THE_END = """
import os, signal
from tricks.cli import job
shared = job.share
def late(about, *arguments):
    found = shared(about, *arguments)
    if about == "the end":
        os.kill(os.getpid(), signal.SIGTERM)
    return found
job.share = late
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tricks.__version__ = '0.0.1'", r"process 1 has version of tricks 0.0.1, process 0 has "),
        (_OTHER_DATA, "process 1 has in the test part of digits 359 examples with the checksum"),
        (_OTHER_RULE, "process 1 has weights divided with the checksum"),
    ],
)
def test_another_version_or_other_data_are_named(tmp_path, change, message):
    for one in _ended(_one_changed(tmp_path / "run", change)):
        assert message in one.mistake()


def test_a_signal_when_all_is_done_is_told_to_the_others(tmp_path):
    first, second = _ended(_one_changed(tmp_path / "run", _SIGNAL_AT_THE_END))
    assert (first.status, second.status) == (130, 130)
    assert first.error == "error: process 1: interrupted\n"
    assert (second.output, second.error) == ("", "")


def _one_changed(workdir, change):
    """Two processes, of which the second has changed something before it begins."""
    port = _free_port()
    processes = []
    for process in range(2):
        arguments = [f"--config={PLAIN}", f"--workdir={workdir}", f"--coordinator=127.0.0.1:{port}"]
        arguments += ["--processes=2", f"--process={process}", "--config.mesh.model=2", "--config.train.epochs=1"]
        script = _OTHERWISE.format(change=change if process else "", arguments=arguments)
        (workdir.parent / f"{process}.py").write_text(script)
        processes.append(_start([workdir.parent / f"{process}.py"]))
    return processes


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("127.0.0.1", "connection refused; see that process 0"),
        ("no-such-host.invalid", "there is no host of the name no"),
    ],
)
def test_a_coordinator_that_does_not_answer_is_named(monkeypatch, host, message):
    # Beside it a command takes some seconds to begin.
    assert joining._ANSWERING <= 25
    monkeypatch.setattr(joining, "_ANSWERING", 0.2)
    with pytest.raises(UserError, match=f"no answer from {host}:.* in 0.2 s, {message}"):
        joining.join(f"{host}:{_free_port()}", 2, 1)


def test_a_coordinator_that_comes_late_is_found(monkeypatch):
    monkeypatch.setattr(joining, "_await_others", lambda **of_job: found.append(of_job))
    monkeypatch.setattr(joining.job, "is_first", lambda: True)
    found = []
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
        late = threading.Timer(0.3, one.listen)
        late.start()
        joining.join(address, 3, 2)
        late.join()
    assert [(told["coordinator_address"], told["num_processes"], told["process_id"]) for told in found] == [
        (address, 3, 2)
    ]


@pytest.mark.parametrize("process", [0, 1])
def test_who_waits_for_the_others_hears_a_signal(tmp_path, process):
    port = _free_port()
    flags = [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={process}"]
    waiting = _start(["train.py", f"--config={PLAIN}", f"--workdir={tmp_path / 'run'}", *flags])
    # Process 0 listens while it waits; the other one asks.
    deadline = time.monotonic() + 60
    while process == 0 and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        time.sleep(0.05)
    time.sleep(0 if process == 0 else 2)
    began = time.monotonic()
    waiting.send(signal.SIGTERM)
    (done,) = _ended([waiting])
    assert time.monotonic() - began < 5
    assert (done.status, done.output, done.error) == (130, "", "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--processes=2"], "--coordinator, --process missing"),
        (["--coordinator=host", "--processes=2", "--process=0"], "--coordinator is 'host'; it must be HOST:PORT"),
        (["--coordinator=host:99999", "--processes=2", "--process=0"], "a port is a number from 1 to 65535"),
        (["--coordinator=host:1234", "--processes=2", "--process=2"], "--process is 2; of 2 processes it must be from"),
        (["--coordinator=host:1234", "--processes=0", "--process=0"], "--processes is 0; it must be at least 1"),
    ],
)
def test_flags_that_do_not_fit_each_other_are_refused(tmp_path, flags, message):
    assert message in train(tmp_path / "run", *flags).mistake()


def test_slurm_and_open_mpi_are_joined_without_flags(tmp_path):
    number = _free_port()
    told = {
        "slurm": lambda process: {
            "SLURM_JOB_ID": str(number % 4096),
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": str(process),
            "SLURM_LOCALID": str(process),
        },
        "ompi": lambda process: {
            "OMPI_MCA_orte_hnp_uri": f"{(number % 4096 + 1) * 4096}.0;tcp://127.0.0.1:34911",
            "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_COMM_WORLD_RANK": str(process),
            "OMPI_COMM_WORLD_LOCAL_RANK": str(process),
        },
    }
    for name, variables in told.items():
        flags = [f"--config={PLAIN}", f"--workdir={tmp_path / name}", "--config.train.epochs=1"]
        done = _ended([_start(["train.py", *flags], **variables(process)) for process in range(2)])
        assert [one.status for one in done] == [0, 0], done
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["device"]["count"] == 2


def test_an_allocation_alone_is_no_job():
    assert not supervision.is_told([], {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"})
    assert not supervision.is_told(["--config=digits", "--coordinators"], {"TPU_WORKER_HOSTNAMES": "one"})
    assert supervision.is_told([], {"TPU_WORKER_HOSTNAMES": "one,two"})
    assert supervision.is_told(["--coordinator", "host:1"], {})


@pytest.mark.parametrize(
    ("arguments", "coordinator"),
    [
        (["--coordinator=a:1", "--processes=2"], ["a:1"]),
        (["--coordinator", "a:1"], ["a:1"]),
        (["--flagfile=of_job"], [""]),
        (["--config=digits"], []),
    ],
)
def test_a_parent_stands_above_whoever_may_join_a_job(monkeypatch, arguments, coordinator):
    begun = []
    monkeypatch.setattr(supervision, "begin", begun.append)
    supervision.of_several(arguments, {})
    assert begun == coordinator


@pytest.mark.parametrize(
    ("tasks", "visible", "local", "mine"),
    [
        ("8(x4)", "0,1,2,3,4,5,6,7", 5, [5]),
        ("8(x4)", "3", 5, [0]),  # Each has been given its own.
        ("2,1", "0,1,2,3", 1, [2, 3]),
        ("1(x2)", "0,1", 0, [0, 1]),
        ("", "0,1", 0, None),
        ("8", "", 0, None),
    ],
)
def test_visible_devices_are_divided_among_the_processes_of_a_host(tasks, visible, local, mine):
    told = {"SLURM_NTASKS": "32", "SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "9"}
    told |= {"SLURM_STEP_TASKS_PER_NODE": tasks, "CUDA_VISIBLE_DEVICES": visible, "SLURM_LOCALID": str(local)}
    assert supervision.local_devices(told) == mine
    assert supervision.local_devices({**told, "JAX_LOCAL_DEVICE_IDS": "0"}) is None
    mpi = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_MCA_orte_hnp_uri": "1", "OMPI_COMM_WORLD_RANK": "3"}
    mpi |= {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4,5"}
    assert supervision.local_devices(mpi) == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("are unhealthy (stopped sending heartbeats):\n1\nThe tasks have crashed.", "process 1 has died"),
        ("are unhealthy (stopped sending heartbeats):\n1\n12\nThe tasks have", "processes 1, 12 have died"),
        ("F1122 1:2:3.4 5 c.h:80] absl::Status: UNAVAILABLE: Failed to send RPC to coordination service.", "process 0"),
        ("F1122 11:22:33.44 55 what.cc:80] something else", "this process was ended by SIGABRT: "),
        ("", "this process was ended by SIGABRT"),
    ],
)
def test_what_the_runtime_says_is_told_in_a_line(text, message):
    assert message in supervision.explained(text, signal.SIGABRT)


def test_native_noise_is_left_out_and_the_rest_is_shown():
    of_gloo = "[Gloo] Rank 0 is connected\n0 is connected to 1 peer ranks.\nmine[Gloo] Rank 1\n"
    text = f"{of_gloo}mine\nE1122 10:11:12.131415 77 x.cc:1] bad\n  more of it\nRPC: /x\nyours\n"
    assert supervision._worth_showing(text) == ["mine", "yours"]


def test_a_port_that_is_in_use_is_named(tmp_path):
    with socket.socket() as one:
        one.bind(("", 0))
        one.listen()
        flags = [f"--coordinator=127.0.0.1:{one.getsockname()[1]}", "--processes=2", "--process=0"]
        (done,) = _ended([_start(["train.py", f"--config={PLAIN}", f"--workdir={tmp_path / 'run'}", *flags])])
    assert "cannot be used here: Address already in use" in done.mistake()


def test_a_damaged_checkpoint_is_moved_aside_once_by_all(tmp_path):
    flags = ("--config.train.epochs=4", "--config.checkpoint.every_epochs=1", "--config.train.chunk_steps=1")
    processes = _job(tmp_path / "run", 2, *flags)
    _until_step(tmp_path / "run", 90)
    processes[0].send(signal.SIGINT)
    assert [one.status for one in _ended(processes)] == [130, 130]
    folder = tmp_path / "run" / "checkpoints"
    older, newest = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    for file in (folder / f"{newest:08d}" / "latest").rglob("*"):
        if file.is_file() and file.stat().st_size > 1000:
            file.write_bytes(bytes(file.stat().st_size))
    # Standard error is closed from the start, as a service may have it.
    port, closed = _free_port(), f'exec "$@" >>{tmp_path / "out"} 2>&-'
    command = [sys.executable, "train.py", f"--config={PLAIN}", f"--workdir={tmp_path / 'run'}", *flags]
    command += [f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    variables = {**ENVIRONMENT, "XLA_FLAGS": _QUICKLY.format(1)}
    processes = [
        subprocess.Popen(["sh", "-c", closed, "sh", *command, f"--process={process}"], cwd=ROOT, env=variables)
        for process in range(2)
    ]
    assert [one.wait(120) for one in processes] == [0, 0]
    assert (folder / "unreadable" / f"{newest:08d}").is_dir()
    assert f"going back to that of step {older}" in (tmp_path / "out").read_text()


def test_one_process_alone_agrees_with_itself():
    job.agree("nothing", {"a": 1})
    assert job.share("nothing", 3) == [3]
    assert job.is_first()
    job.fail("nothing", 2)
    job.leave()
    with pytest.raises(UserError, match="--process missing"):
        joining.join("host:1", 2, None)


_FLOAT64 = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
from tricks.cli import job, joining
joining.join(*(sys.argv[1:2] + [int(one) for one in sys.argv[2:4]]) if len(sys.argv) > 4 else (None, None, None))
import functools
import numpy as np
import jax.numpy as jnp
from tricks.config import Config
from tricks.data import Split, load
from tricks.training import assembly, chunk, configured, feed, programs
from jax.sharding import NamedSharding, PartitionSpec

config = Config()
config.model.hidden_sizes, config.model.dropout, config.optimizer.learning_rate = (64, 32), 0.4, 1e-2
digits = load("digits")
split = Split(digits.train.features.astype(np.float64), digits.train.targets)
plan, mesh = feed.plan_epoch(len(split.targets), 32, 7), feed.make_mesh()
static, hyper = configured.assemble(config, digits, mesh, plan.steps_per_epoch)
hyper, whole = programs.as_numbers(hyper), NamedSharding(mesh, PartitionSpec())

def start(seed):
    state = assembly.init(static, hyper, jax.random.key(seed))
    return jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, state)

train = jax.jit(start, out_shardings=whole)(0)
run = jax.jit(functools.partial(chunk.run, static, hyper), donate_argnums=0, out_shardings=whole)
for on_device in (True, False):
    for item in feed.chunks(split, plan, first_step=0, last_step=plan.steps_per_epoch, seed=0, mesh=mesh,
                            on_device=on_device):
        train, metrics = run(train, item.examples, item.indices)
assert metrics.steps.measures["loss"].dtype == jnp.float64
leaves = jax.device_get(jax.tree.leaves((train.params, train.model_state, metrics)))
if job.is_first():
    np.savez(sys.argv[-1], *leaves)
job.leave()
"""


def test_in_float64_two_epochs_agree_to_rounding(tmp_path):
    alone, together = tmp_path / "alone.npz", tmp_path / "together.npz"
    script = tmp_path / "in_float64.py"
    script.write_text(_FLOAT64)
    (done,) = _ended([_start([script, alone], devices=4)])
    assert done.status == 0, done
    address = f"127.0.0.1:{_free_port()}"
    job_of_two = [_start([script, address, 2, process, together], devices=2) for process in range(2)]
    assert [one.status for one in _ended(job_of_two)] == [0, 0]
    with np.load(alone) as one, np.load(together) as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-10, atol=1e-12)


def test_lanes_of_a_sweep_are_divided_among_processes(tmp_path):
    flags = [f"--config={PLAIN}", "--config.train.epochs=2", "--sweep.optimizer.learning_rate=1e-4,1e-3,1e-2"]
    flags += ["--seeds=2", "--halving=2"]
    alone = run_python("scripts/sweep.py", *flags, f"--workdir={tmp_path / 'alone'}", XLA_FLAGS=_QUICKLY.format(1))
    assert alone.status == 0, alone
    port = _free_port()
    of_job = [f"--workdir={tmp_path / 'together'}", f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    done = _ended([_start(["scripts/sweep.py", *flags, *of_job, f"--process={process}"]) for process in range(2)])
    assert [one.status for one in done] == [0, 0], done
    assert done[1].output == ""
    rows = [
        list(csv.DictReader((tmp_path / name / "results.csv").read_text().splitlines()))
        for name in ("alone", "together")
    ]
    assert len(rows[0]) == len(rows[1]) == 6
    assert {row["status"] for row in rows[0]} == {"completed", "eliminated"}
    for one, other in zip(*rows, strict=True):
        assert {**one, "seconds": ""}.keys() == other.keys()
        for name in {*one} - {"seconds"}:
            try:
                assert float(other[name]) == pytest.approx(float(one[name]), rel=1e-5)
            except ValueError:
                assert other[name] == one[name]


def test_a_table_is_read_alike_with_a_copy_and_without(tmp_path):
    generator = np.random.default_rng(2)
    x = generator.normal(size=(800, 6)).astype(np.float32)
    y = (x @ generator.normal(size=(6, 3))).argmax(axis=1)
    table = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({**{f"c{i}": x[:, i] for i in range(6)}, "y": y}), table, row_group_size=50)
    flags = [f"--config.data.{flag}" for flag in (f"name={table}", "target=y", "storage=disk", "shuffle_window=200")]
    flags += ["--config.train.epochs=2", "--config.model.hidden_sizes=8"]
    caches = str(tmp_path / "cache"), "/proc/nowhere"
    processes = _job(tmp_path / "run", 2, *flags, environment=lambda process: {"XDG_CACHE_HOME": caches[process]})
    done = _ended(processes)
    assert [one.status for one in done] == [0, 0], done
    assert "windows" in done[0].output
    assert "kept its numbers" in done[0].output
    whole = train(tmp_path / "whole", *flags, XLA_FLAGS=_QUICKLY.format(2), XDG_CACHE_HOME=caches[0])
    assert whole.status == 0, whole
    assert "kept" not in whole.output
    _same(read_metrics(tmp_path / "run"), read_metrics(tmp_path / "whole"), rel=1e-5)
