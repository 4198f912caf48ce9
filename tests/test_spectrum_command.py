"""The curvature of runs: what training logs, what the command on a finished run says, writes and refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import conftest
from conftest import ENVIRONMENT, ROOT, compiled_quickly, read_metrics
from tricks import streams
from tricks.curvature import dense, hessian
from tricks.curvature.signs import Interval
from tricks.data import draw
from tricks.diagnosis import finished_run, spectrum
from tricks.errors import UserError
from tricks.losses import Batch, objective
from tricks.training import run_directory

# What is measured is compared with whole matrices, or with what the same programs make of another run.
interrupt, run_python, train = compiled_quickly(conftest.interrupt, conftest.run_python, conftest.train)

SMALL = ("--config.model.hidden_sizes=10", "--config.model.activation=tanh", "--config.train.epochs=4")


def _spectrum(*flags):
    return run_python("scripts/spectrum.py", *flags)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "small"
    done = train(workdir, *SMALL, "--config.curvature.every_epochs=2", "--config.curvature.examples=300")
    assert done.status == 0, done.error
    return workdir


def test_training_logs_curvature(small):
    rows = [row for row in read_metrics(small) if row["split"] == "curvature"]
    assert [row["epoch"] for row in rows] == [0, 2, 4]
    for row in rows:
        assert row["smallest_eigenvalue"] < 0 < row["largest_eigenvalue"]
        assert 0 < row["minimum_ratio"] < 1
    assert all("trace" not in row for row in read_metrics(small) if row["split"] != "curvature")
    # The last line against the whole matrix of the same examples.
    run = finished_run.load(small)
    (sample,) = draw(run.data.train, [300], streams.sample(0, "curvature"))
    batch = Batch(*sample)
    loss_fn = objective(run.network.apply, run.loss, run.weights.model_state)
    values = np.linalg.eigvalsh(np.asarray(dense(hessian(loss_fn, run.weights.params, [batch])), np.float64))
    last = rows[-1]
    assert last["loss"] == pytest.approx(float(loss_fn(run.weights.params, batch)), rel=1e-5)
    assert last["smallest_eigenvalue"] == pytest.approx(values[0], abs=0.02 * values[-1])
    assert last["largest_eigenvalue"] == pytest.approx(values[-1], rel=0.02)
    assert last["trace"] == pytest.approx(values.sum(), rel=0.25)
    beyond = values[abs(values) > 1e-2 * values[-1]]
    assert last["minimum_ratio"] == pytest.approx((beyond > 0).mean(), abs=0.1)


@pytest.mark.parametrize(
    ("asked", "counts"), [(100, (100, 100)), (1290, (647, 647)), (1294, (1294, 0)), (0, (1294, 0))]
)
def test_what_a_verdict_is_checked_on_is_as_much_as_what_it_is_made_of(small, asked, counts):
    subject = spectrum.subject_of(finished_run.load(small), examples=asked)
    assert (spectrum._count(subject.batches), spectrum._count(subject.held_out)) == counts


@pytest.mark.parametrize(
    ("interval", "number", "ratio"),
    [
        (Interval(1234.0, 1234.0, 1234.0), "1,234", "1234.0000"),
        (Interval(0.5, 0.25, 0.75), "about 0 (0 to 1)", "about 0.5000 (0.2500 to 0.7500)"),
    ],
)
def test_what_was_estimated_is_said_to_be_about(interval, number, ratio):
    assert (spectrum._number(interval), spectrum._ratio(interval)) == (number, ratio)


def test_another_seed_measures_curvature_by_the_same_program(small, tmp_path):
    # Of one's own, since other tests add to the one that all share.
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    for entry in Path(ENVIRONMENT["JAX_COMPILATION_CACHE_DIR"]).glob("jit_*.tricks"):
        shutil.copy(entry, compiled)
    before = {path.name for path in compiled.glob("jit_numbers*")}
    assert before
    flags = ("--config.curvature.every_epochs=2", "--config.curvature.examples=300", "--config.seed=1")
    assert train(tmp_path / "run", *SMALL, *flags, JAX_COMPILATION_CACHE_DIR=str(compiled)).status == 0
    assert {path.name for path in compiled.glob("jit_numbers*")} == before


def test_curvature_is_logged_alike_by_a_run_that_was_interrupted(tmp_path):
    flags = (*SMALL, "--config.curvature.every_epochs=1", "--config.curvature.examples=300")
    assert train(tmp_path / "whole", *flags).status == 0
    interrupt(tmp_path / "cut", 15, 60, flags)
    assert train(tmp_path / "cut", *flags).status == 0
    one, two = (
        [row for row in read_metrics(tmp_path / name) if row["split"] == "curvature"] for name in ("whole", "cut")
    )
    assert one == two


def test_the_command_says_what_the_whole_matrix_says(small):
    done = _spectrum(f"--workdir={small}")
    assert done.status == 0, done.error
    assert all(len(line) < 80 for line in done.output.splitlines() if not line.startswith("written"))
    assert "Traceback" not in done.error
    content = json.loads((small / "spectrum.json").read_text())
    assert content["verdict"] in done.output
    assert content["mode"] == "running statistics, no dropout"
    assert content["examples"] == 1294
    run = finished_run.load(small)
    batch = Batch(*run.data.train)
    loss_fn = objective(run.network.apply, run.loss, run.weights.model_state)
    values = np.linalg.eigvalsh(np.asarray(dense(hessian(loss_fn, run.weights.params, [batch])), np.float64))
    np.testing.assert_allclose(np.sort(content["spectrum"]["nodes"][0]), values, atol=1e-5 * values[-1])
    assert content["minimum_ratio"]["value"] == pytest.approx((values > 0).mean(), abs=0.01)
    for picture in ("spectrum.png", "surface.png"):
        assert (small / picture).read_bytes().startswith(b"\x89PNG")


def test_a_run_from_zero_weights_stands_at_a_saddle(tmp_path):
    flags = (
        *SMALL,
        "--config.model.initializer=zeros",
        "--config.model.batch_norm=false",
        "--config.optimizer.learning_rate=0.05",
        "--config.schedule.shape=cosine",
        "--config.data.batch_size=1000",
        "--config.train.epochs=100",
    )
    assert train(tmp_path / "run", *flags).status == 0
    # What is left of the gradient is what other examples than those of the batches say.
    done = _spectrum(f"--workdir={tmp_path / 'run'}", "--gradient_tolerance=0.05")
    content = json.loads((tmp_path / "run" / "spectrum.json").read_text())
    assert content["verdict"] == "saddle", done.output
    assert content["smallest"] < -0.01


def test_a_sample_is_checked_against_other_examples(small):
    done = _spectrum(f"--workdir={small}", "--examples=200", "--statistics=batch", "--weights=best", "--split=train")
    assert done.status == 0, done.error
    content = json.loads((small / "spectrum.json").read_text())
    assert (content["examples"], content["held_out_examples"]) == (200, 200)
    assert content["mode"] == "batch statistics, no dropout"
    assert content["held_out_curvature"] is not None


def _files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_a_run_that_is_going_on_is_read_on_any_number_of_devices_and_left_as_it_is(small):
    before = _files(small)
    # Seven devices do not divide its batches, and another process has its lock.
    with run_directory.opened(small, run_directory.read_config(small)):
        done = run_python("scripts/spectrum.py", f"--workdir={small}", "--examples=70", devices=7)
    assert done.status == 0, done
    written = {small / name for name in ("spectrum.json", "spectrum.png", "surface.png", ".lock")}
    after = _files(small)
    assert set(after) - set(before) <= written
    assert {path: time for path, time in after.items() if path not in written} == {
        path: time for path, time in before.items() if path not in written
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--workdir is missing"),
        (["--workdir=SMALL", "--exampels=3"], "unknown flag --exampels; did you mean --examples?"),
        (["--workdir=SMALL", "--tolerance=2"], "tolerance is 2.0; allowed: a number between 0 and 1"),
    ],
)
def test_mistakes_are_named(small, flags, message):
    mistake = _spectrum(*(flag.replace("SMALL", str(small)) for flag in flags)).mistake()
    assert message in mistake, mistake


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "exam"}, "--split is 'exam'; allowed: train, validation, test"),
        ({"statistics": "none"}, "--statistics is 'none'; allowed: running, batch"),
        ({"statistics": "batch"}, "the model of this run has no batch normalization"),
    ],
)
def test_what_cannot_be_analysed_is_named(small, options, message):
    run = finished_run.load(small)
    without = run._replace(weights=run.weights._replace(model_state={}))
    with pytest.raises(UserError, match=message):
        spectrum.subject_of(without, **options)


def test_damaged_runs_are_named(small, tmp_path):
    def refused(workdir, message, weights="last"):
        with pytest.raises(UserError, match=message):
            finished_run.load(workdir, weights)

    refused(tmp_path / "nowhere", "holds no run")
    refused(small, "--weights is 'first'; allowed: last, best", "first")
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    shutil.rmtree(copy / "checkpoints")
    refused(copy, "has no checkpoints")
    (copy / "config.json").write_text("{")
    refused(copy, "is damaged")
    (copy / "config.json").write_text('{"model.width": 3}')
    refused(copy, "model.width is no field")


def test_a_directory_that_cannot_be_written_is_named(small, tmp_path):
    copy = shutil.copytree(small, tmp_path / "copy")
    (copy / "spectrum.json.tricks-tmp").mkdir()
    line = _spectrum(f"--workdir={copy}", "--examples=50").mistake()
    assert f"--workdir {copy} cannot be written to" in line


def test_a_seed_that_no_key_can_hold_is_refused():
    line = _spectrum("--workdir=runs/digits", f"--seed={2**63}").mistake()
    assert "--seed=9223372036854775808" in line
    assert "2147483647" in line


def test_the_command_names_its_flags():
    done = _spectrum("--help")
    assert done.status == 0
    assert "--workdir" in done.output
    assert (ROOT / "scripts" / "spectrum.py").exists()
