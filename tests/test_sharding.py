"""One device and eight give the same training; nothing is compiled after the first chunk."""

import json
import signal
import threading

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from conftest import QUICKLY_COMPILED, interrupt, read_metrics, run_python, train
from tricks.config import Config
from tricks.training import experiment, programs, records


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--config.seed=1"],
        ["--config.data.batch_size=64", "--config.optimizer.name=momentum", "--config.data.placement=host"],
    ],
)
def test_one_and_eight_devices_give_the_same_epoch(tmp_path, flags):
    for devices in (1, 8):
        done = train(
            tmp_path / str(devices),
            "--config=configs/digits.py",
            "--config.train.epochs=1",
            *flags,
            devices=devices,
        )
        assert done.status == 0, done
        assert json.loads((tmp_path / str(devices) / "summary.json").read_text())["device"]["count"] == devices
    one, eight = (read_metrics(tmp_path / devices) for devices in ("1", "8"))
    assert len(one) == len(eight)
    for a, b in zip(one, eight, strict=True):
        assert set(a) == set(b)
        for name in set(a) & {"loss", "accuracy", "gradient_norm", "learning_rate"}:
            assert a[name] == pytest.approx(b[name], rel=1e-5), (name, a, b)
    statistics = []
    for devices in ("1", "8"):
        (path,) = (tmp_path / devices / "checkpoints").iterdir()
        checkpointer = ocp.PyTreeCheckpointer()
        stored = checkpointer.metadata(path / "best").item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
        tree = checkpointer.restore(path / "best", restore_args=as_numpy)
        statistics.append(jax.tree.leaves(tree["model_state"]))
    assert len(statistics[0]) == 4
    for a, b in zip(*statistics, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(a).max())


def test_a_run_may_be_resumed_on_another_number_of_devices(tmp_path):
    flags = ["--config.train.epochs=4", "--config.train.chunk_steps=1"]
    _, output = interrupt(tmp_path, signal.SIGTERM, 60, flags, devices=8)
    assert "interrupted" in output
    done = train(tmp_path, *flags)
    assert done.status == 0, done
    assert "resuming" in done.output
    assert max(line["step"] for line in read_metrics(tmp_path)) == 160


_FLOAT64 = """
import functools
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from tricks.config import Config
from tricks.data import Split, load
from tricks.training import assembly, chunk, configured, feed, programs

config = Config()
config.model.hidden_sizes = (64, 32)
config.model.dropout = 0.4
config.model.noise = config.model.input_noise = 0.3
config.optimizer.learning_rate = 1e-2
config.schedule.shape = "cosine"
config.schedule.warmup_steps = 10
digits = load("digits")
split = Split(digits.train.features.astype(np.float64), digits.train.targets)
plan = feed.plan_epoch(len(split.targets), 32, 7)
results = []
for devices in (1, 8):
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))
    static, hyper = configured.assemble(config, digits, mesh, 3 * plan.steps_per_epoch)
    hyper = programs.as_numbers(hyper)
    wide = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree)
    train = jax.device_put(
        wide(assembly.init(static, hyper, jax.random.key(0))), NamedSharding(mesh, PartitionSpec()))
    run = jax.jit(functools.partial(chunk.run, static, hyper), donate_argnums=0)
    for item in feed.chunks(split, plan, first_step=0, last_step=3 * plan.steps_per_epoch, seed=0, mesh=mesh,
                            on_device=True):
        train, metrics = run(train, item.examples, item.indices)
    assert metrics.steps.measures["loss"].dtype == jnp.float64
    results.append(jax.tree.leaves((train.params, train.model_state, metrics)))
for a, b in zip(*map(jax.device_get, results)):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
"""


def test_in_float64_three_epochs_agree_to_rounding(tmp_path):
    # Where float32 rounding cannot hide it, a mask, a noise or a statistic that depended on the devices would show.
    (tmp_path / "script.py").write_text(_FLOAT64)
    done = run_python(tmp_path / "script.py", devices=8, XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done.error[-2000:]


@pytest.fixture
def compilations():
    """Names of what this thread compiles, as it happens."""
    seen = []

    def hear(event, seconds, **_):
        # What the threads compile was asked for before the first step, and may be ready later.
        if "backend_compile" in event and threading.current_thread() is threading.main_thread():
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield seen
    jax.monitoring.unregister_event_duration_listener(hear)


@pytest.mark.parametrize("chunk_steps", [100, 7])
def test_nothing_is_compiled_after_the_first_chunk(tmp_path, monkeypatch, compilations, chunk_steps):
    jax.jit(lambda x: x * 3)(1)
    assert compilations, "the listener hears compilations"
    programs._compiled.cache_clear()
    seen = []
    write = records.Writer.write

    def counting_write(self, record):
        seen.append((record.kind, len(compilations)))
        write(self, record)

    monkeypatch.setattr(records.Writer, "write", counting_write)
    config = Config()
    config.train.epochs = 4
    config.train.chunk_steps = chunk_steps
    config.model.dropout = 0.1
    config.schedule.shape = "cosine"
    experiment.run(config, tmp_path / "run")
    assert [kind for kind, _ in seen[:2]] == ["validation", "train"]
    # The test at the end is compiled beside the rest, too.
    counts = {count for _, count in seen[1:]}
    assert len(counts) == 1, seen


def test_another_rate_decay_or_seed_compiles_nothing(tmp_path, monkeypatch, compilations):
    programs._compiled.cache_clear()
    config = Config()
    config.train.epochs = 1
    config.model.dropout = 0.1
    config.optimizer.l2 = 1e-4
    config.schedule.shape = "cosine"
    asked = []
    compile_later = programs.later
    monkeypatch.setattr(programs, "later", lambda *given: asked.append(given) or compile_later(*given))
    experiment.run(config, tmp_path / "first")
    before = len(compilations)
    assert len(asked) == 5
    config.seed = 1
    config.model.dropout = 0.2
    config.model.batch_norm_momentum = 0.5
    config.optimizer.learning_rate = 1
    config.optimizer.momentum = 0.8
    config.optimizer.l2 = 1e-3
    config.schedule.warmup_steps = 5
    config.schedule.end_value = 1e-5
    config.train.epochs = 2
    config.early_stopping.patience = 3
    experiment.run(config, tmp_path / "second")
    assert (len(compilations), len(asked)) == (before, 5)
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("first", "second")]
    assert losses[0] != losses[1][: len(losses[0])]
