"""The command of a sweep: what it is given, what it refuses, and that it goes on after a signal."""

import json
import signal
import time

import forks
import pyarrow.csv
import pyarrow.parquet
import pytest

import conftest
from conftest import ENVIRONMENT, PLAIN, QUICKLY_COMPILED, ROOT, compiled_quickly

# Lanes here are compared with lanes of the same programs.
(run_python,) = compiled_quickly(conftest.run_python)

_SMALL = (f"--config={PLAIN}", "--config.model.hidden_sizes=8", "--config.data.batch_size=128")
_RATES = "--sweep.optimizer.learning_rate=1e-3,1e-2"


def _sweep(workdir, *flags, devices=1):
    return run_python("scripts/sweep.py", f"--workdir={workdir}", *_SMALL, *flags, devices=devices)


NETWORK = """
import jax, jax.numpy as jnp
from tricks import models
def build(example, outputs, width=4, bias=True):
    def init(key):
        one, two = jax.random.split(key)
        first = jax.random.normal(one, (64, width)) / 8
        return {"a": first, "b": jax.random.normal(two, (width, outputs)) / width**0.5, "c": jnp.zeros(outputs)}, {}
    def apply(params, state, x, *, rng=None, batch_statistics=None):
        y = jnp.tanh(x.reshape(len(x), -1) @ params["a"]) @ params["b"]
        return y + params["c"][None] if bias else y, state
    return models.from_functions(init, apply)
"""


def test_a_sweep_of_a_network_of_ones_own_from_the_command_to_its_files(tmp_path):
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "mine.py").write_text(
        "from tricks.config import Config\ndef get_config():\n    config = Config()\n"
        "    config.model.build = 'network.py:build'\n    config.train.epochs = 2\n    return config\n"
    )
    flags = (
        f"--config={tmp_path}/mine.py",
        "--sweep.model.options.width=2,8",
        "--sweep.optimizer.learning_rate=1e-4:1e-1:log:3",
        "--seeds=2",
        f"--workdir={tmp_path}/sweep",
    )
    done = run_python("scripts/sweep.py", *flags)
    assert (done.status, done.error) == (0, "")
    assert "12 lanes, 2 programs, 6 lanes at once" in done.output
    assert all(len(line) < 80 for line in done.output.splitlines() if not line.startswith("directory")), done.output
    rows = pyarrow.parquet.read_table(tmp_path / "sweep" / "results.parquet").to_pylist()
    assert [row["model.options.width"] for row in rows] == [2] * 6 + [8] * 6
    assert [row["seed"] for row in rows] == [0, 1] * 6
    assert pyarrow.csv.read_csv(tmp_path / "sweep" / "results.csv").num_rows == 12
    assert (tmp_path / "sweep" / "sweep.png").stat().st_size > 10_000
    kept = tmp_path / "sweep" / "groups" / "000" / "sources" / "model.build" / "network.py"
    assert kept.read_text() == NETWORK
    again = run_python("scripts/sweep.py", *flags)
    assert "12 had ended before" in again.output
    assert pyarrow.parquet.read_table(tmp_path / "sweep" / "results.parquet").to_pylist() == rows
    assert run_python("scripts/sweep.py", f"--workdir={tmp_path}/sweep", "--export=7").status == 0
    exported = (tmp_path / "sweep" / "lane-00007.py").read_text()
    assert f"config.model.build = '{tmp_path}/network.py:build'" in exported
    assert "'width': 8" in exported
    (tmp_path / "network.py").write_text(NETWORK + "\n")
    assert "made with another network.py (model.build)" in run_python("scripts/sweep.py", *flags).mistake()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_ended_goes_on(tmp_path, number):
    flags = (_RATES, "--sweep.model.dropout=0,0.3", "--seeds=8", "--config.train.epochs=12")
    arguments = ("scripts/sweep.py", f"--workdir={tmp_path}/cut", *_SMALL, *flags)
    # As many devices as below: rounding depends on them.
    own = {"XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {QUICKLY_COMPILED}"}
    process = forks.Started(arguments, ROOT, own, ENVIRONMENT)
    deadline = time.monotonic() + 60
    # The first sixteen of 32 lanes have ended.
    while len([*tmp_path.glob("cut/lanes/*.json")]) < 16 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send(number)
    status, output, error = process.ended(60)
    assert "Traceback" not in output + error
    if number == signal.SIGINT:
        assert status == 130
        assert "the same command goes on" in output
    ended = {path.name: path.read_bytes() for path in tmp_path.glob("cut/lanes/*.json")}
    assert 16 <= len(ended) < 32
    done = _sweep(tmp_path / "cut", *flags)
    assert done.status == 0, done
    assert "had ended before" in done.output
    for name, content in ended.items():
        assert (tmp_path / "cut" / "lanes" / name).read_bytes() == content, "it is not trained again"
    assert _sweep(tmp_path / "whole", *flags).status == 0
    one, other = (
        pyarrow.parquet.read_table(tmp_path / which / "curves.parquet").drop_columns([]) for which in ("cut", "whole")
    )
    assert one.equals(other)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "nothing is swept; give --sweep.FIELD=RANGE"),
        (["--sweep.optimizer.learning_rat=1,2"], "--sweep.optimizer.learning_rat is no field of the config; did you"),
        (["--sweep.seed=1,2"], "give --seeds=N"),
        (["--sweep.model.dropout="], "a value is missing"),
        (["--sweep.model.dropout"], "--sweep.model.dropout has no values"),
        (["--sweep.model.dropout=0.5:0.1:linear:3"], "its low end must be below its high end"),
        (["--sweep.optimizer.learning_rate=0:1:log:3"], "a logarithmic interval begins above 0"),
        (["--sweep.model.dropout=0", "--sweep.model.dropout=0.5"], "--sweep.model.dropout is given twice"),
        (["--sweep.model.dropout=0,1"], "model.dropout is 1.0; allowed: 0 <= value < 1"),
        ([_RATES, "--sweep.schedule.end_value=0,0.005"], "schedule.end_value is 0.005; allowed: 0 <= value <= opt"),
        (["--sweep.optimizer.name=adam,sgd"], "optimizer.name is 'sgd'"),
        (["--sweep.data.batch_size=32,4096"], "data.batch_size is 4096; the training part has 1294 examples"),
        (["--sweep.schedule.warmup_steps=0,100000"], "(in the setting schedule.warmup_steps=100000)"),
        (["--sweep.optimizer.nesterov=true,false"], "optimizer.nesterov is True, which adam does not use"),
        (["--sweep.model.options.width=1,2"], "model.options.width is an option of no function"),
        ([_RATES, "--seeds=0"], "--seeds is 0; give 1 or more"),
        ([_RATES, "--halving=1"], "--halving is 1"),
        ([_RATES, "--halving=-1"], "--halving is -1"),
        ([_RATES, "--sweep=random:x"], "--sweep is 'random:x'; give random:N"),
        (["--sweep=random:3"], "draws from ranges"),
        (["--sweep=nowhere.csv"], "cannot be read (No such file or directory)"),
        (["--sweep.FILE=nowhere.csv"], "cannot be read (No such file or directory)"),
        (["--sweep.optimizer.learning_rate=1e-3:1:log:1000000000000"], "give 2 to 10000"),
        ([_RATES, "--sweep=nowhere.csv"], "is a list of settings; leave out --sweep.optimizer.learning_rate"),
        ([_RATES, "--config.escape.enabled"], "escape.enabled is on; a sweep looks at no Hessian"),
        ([_RATES, "--config.curvature.every_epochs=1"], "curvature.every_epochs is on"),
        ([_RATES, "--config.diagnosis.every_epochs=1"], "diagnosis.every_epochs is on"),
        ([_RATES, "sweep"], "unexpected argument 'sweep'"),
        ([_RATES, "--config.data.label_noise=2"], "data.label_noise is 2.0; allowed: 0 <= value <= 1"),
        ([_RATES, "--export=3"], "holds no sweep"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_a_line(tmp_path, flags, said):
    mistake = _sweep(tmp_path / "sweep", *flags).mistake()
    assert said in mistake
    if "range" not in said and len(flags) == 1 and "model.dropout=0,1" in flags[0]:
        assert mistake.endswith("(in the setting model.dropout=1)")
    assert not (tmp_path / "sweep").exists()


def test_when_all_lanes_diverge_the_status_says_so(tmp_path):
    done = _sweep(tmp_path / "sweep", "--sweep.optimizer.learning_rate=1e20,1e25", "--config.model.batch_norm=false")
    assert done.status == 3, done
    assert "2 of 2 lanes diverged" in done.output
    rows = pyarrow.parquet.read_table(tmp_path / "sweep" / "results.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"diverged"}
    assert (tmp_path / "sweep" / "sweep.png").exists()


def test_a_run_directory_is_no_sweep_and_the_other_way_round(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "is not empty and holds no sweep; choose another" in _sweep(tmp_path, _RATES).mistake()
    assert json.loads((tmp_path / "config.json").read_text()) == {}
