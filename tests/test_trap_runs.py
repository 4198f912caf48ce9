"""Runs that start in a trap: the plateau, the escape, the descent, and what they leave behind."""

import json

import pytest

from conftest import read_metrics, train

TRAP = ("--config=configs/trap_identical_units.py", "--config.train.epochs=110", "--config.escape.window=50")


@pytest.fixture(scope="module")
def escaped(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "escaped"
    done = train(workdir, *TRAP)
    assert done.status == 0, done
    return workdir, done.output


def _checks(workdir):
    return [line for line in read_metrics(workdir) if line["split"] == "escape"]


def _last_loss(workdir):
    return [line["loss"] for line in read_metrics(workdir) if line["split"] == "train"][-1]


def test_the_escape_is_on_the_screen_in_the_metrics_and_in_the_summary(escaped):
    workdir, output = escaped
    first, *_ = [line for line in _checks(workdir) if line["outcome"] == "escaped"]
    assert first["smallest_eigenvalue"] < -0.1
    assert first["held_out_curvature"] < first["smallest_eigenvalue"] / 2
    assert first["loss_after"] < 0.99 * first["loss"]
    assert first["products"] <= 40
    assert first["distance"] > 0
    assert first["epoch"] == -(-first["step"] // 10)
    assert f"step {first['step']}: escaped ({first['smallest_eigenvalue']:.2g}, {first['products']} products)" in output
    assert max(len(line) for line in output.splitlines()) < 80
    summary = json.loads((workdir / "summary.json").read_text())["escape"]
    assert summary["checks"] == len(summary["events"]) == len(_checks(workdir))
    assert summary["escapes"] == sum(event["outcome"] == "escaped" for event in summary["events"])
    assert summary["products"] == sum(line["products"] for line in _checks(workdir))
    assert summary["events"][0]["step"] == _checks(workdir)[0]["step"]
    assert (workdir / "curves.png").stat().st_size > 10_000


def test_the_loss_falls_after_it_and_does_not_without_it(escaped, tmp_path):
    workdir, _ = escaped
    step = _checks(workdir)[0]["step"]
    after = [line["loss"] for line in read_metrics(workdir) if line["split"] == "train" and line["step"] > step + 200]
    assert max(after) < 0.9 * _checks(workdir)[0]["loss"]
    assert _last_loss(workdir) < 0.1
    done = train(tmp_path, *TRAP, "--config.escape.enabled=false")
    assert done.status == 0, done
    assert _last_loss(tmp_path) > 1.2
    assert not _checks(tmp_path)
    assert "escape" not in json.loads((tmp_path / "summary.json").read_text())


def test_eight_devices_take_the_same_way_out(escaped, tmp_path):
    workdir, _ = escaped
    done = train(tmp_path, *TRAP, "--config.escape.examples=640", devices=8)
    assert done.status == 0, done
    one, eight = (_checks(path)[0] for path in (workdir, tmp_path))
    assert eight["outcome"] == "escaped"
    assert eight["step"] == pytest.approx(one["step"], abs=50)
    assert eight["smallest_eigenvalue"] == pytest.approx(one["smallest_eigenvalue"], rel=0.3)
    assert _last_loss(tmp_path) < 0.1


def test_batch_statistics_and_noise_run_too(tmp_path):
    done = train(
        tmp_path,
        "--config.escape.enabled=true",
        "--config.escape.statistics=batch",
        "--config.escape.noise=true",
        "--config.escape.window=10",
        "--config.escape.min_improvement=0.9",
        "--config.train.epochs=2",
        "--config.data.placement=host",
    )
    assert done.status == 0, done
    assert _checks(tmp_path)
    checks = [line for line in done.output.splitlines() if line.startswith("step ")]
    assert len(checks) == len(_checks(tmp_path))
    assert max(map(len, checks)) < 80
