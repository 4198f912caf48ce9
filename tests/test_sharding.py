"""One device and eight give the same training; nothing is compiled after the first chunk."""

import json
import signal

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from conftest import interrupt, read_metrics, run_python, train
from tricks.config import Config
from tricks.training import experiment, records


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
        for name in ("loss", "accuracy", "gradient_norm", "learning_rate"):
            if a[name] is None:
                assert b[name] is None
            else:
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
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from tricks import losses, models, schedules, transforms
from tricks.data import Split, load
from tricks.training import feed, state, step

data = load("digits").train
split = Split(data.features.astype(np.float64), data.targets)
plan = feed.plan_epoch(len(data.targets), 32, 7)
results = []
for devices in (1, 8):
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))
    apply, params, model_state = models.build(
        input_size=64, output_size=10, hidden_sizes=(64, 32), batch_norm=True, dropout=0.4, key=jax.random.key(0))
    params, model_state = jax.tree.map(lambda a: a.astype(jnp.float64), (params, model_state))
    tx = transforms.adam(schedules.warmup_decay(1e-2, 10, 120))
    train = jax.device_put(
        state.create(params, model_state, tx, jax.random.key(1)), NamedSharding(mesh, PartitionSpec()))
    chunk = step.make_train_chunk(
        step.make_train_step(losses.mean_loss(apply, losses.cross_entropy), tx),
        NamedSharding(mesh, PartitionSpec("data")))
    for item in feed.chunks(split, plan, first_step=0, last_step=3 * plan.steps_per_epoch, seed=0, mesh=mesh,
                            on_device=True):
        train, metrics = chunk(train, item.examples, item.indices)
    assert metrics.steps.loss.dtype == jnp.float64
    results.append(jax.tree.leaves((train.params, train.model_state, metrics)))
for a, b in zip(*map(jax.device_get, results)):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
"""


def test_in_float64_three_epochs_agree_to_rounding():
    # Where float32 rounding cannot hide it, a dropout mask or a statistic that depended on the devices would show.
    done = run_python("-c", _FLOAT64, devices=8)
    assert done.status == 0, done.error[-2000:]


@pytest.mark.parametrize("chunk_steps", [100, 7])
def test_nothing_is_compiled_after_the_first_chunk(tmp_path, monkeypatch, chunk_steps):
    compilations, seen = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compilations.append(event) if "backend_compile" in event else None
    )
    write = records.Writer.write

    def counting_write(self, record):
        if record.split != "test":
            seen.append((record.split, len(compilations)))
        write(self, record)

    monkeypatch.setattr(records.Writer, "write", counting_write)
    config = Config()
    config.train.epochs = 4
    config.train.chunk_steps = chunk_steps
    config.model.dropout = 0.1
    config.schedule.shape = "cosine"
    experiment.run(config, tmp_path / "run")
    assert compilations, "the listener hears compilations"
    counts = {count for split, count in seen[1:]}
    assert len(counts) == 1, seen
