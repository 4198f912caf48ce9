"""One way to build a run: lanes of a vmap are the runs that they would be alone; checks come where windows end."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import QUICKLY_COMPILED, read_metrics, train
from tricks import schedules
from tricks.config import Config
from tricks.data import Dataset, load, take
from tricks.losses import Batch
from tricks.training import assembly, configured, feed, optimizer, programs

STEPS, LANES = 12, 4
# Of each number, what the lanes take. The last lane has the zeros that a program of its own would leave out.
RANGES = {
    "learning_rate": (1e-3, 1e-2, 5e-2, 1e-3),
    "momentum": (0.0, 0.5, 0.9, 0.8),
    "second_moment_decay": (0.5, 0.9, 0.999, 0.99),
    "epsilon": (1e-8, 1e-4, 1e-2, 1e-8),
    "weight_decay": (1e-4, 0.01, 0.5, 0.0),
    "l1": (1e-5, 1e-4, 1e-3, 0.0),
    "l2": (1e-4, 1e-3, 1e-2, 0.0),
    "dropout": (0.1, 0.3, 0.5, 0.0),
    "noise": (0.3, 0.1, 0.5, 0.0),
    "input_noise": (0.5, 1.0, 0.1, 0.0),
    "batch_norm_momentum": (0.5, 0.9, 0.99, 0.8),
    "warmup_steps": (0, 2, 5, 1),
    "end_value": (1e-4, 5e-4, 1e-3, 2e-4),
    "total_steps": (12, 20, 9, 15),
    "patience": (0, 1, 2, 3),
    "min_delta": (0.0, 0.1, 0.01, 0.2),
}


@functools.cache
def _data():
    split = take(load("digits").train, np.arange(STEPS * 16))
    return Dataset("digits", 10, split, split, split, np.zeros(64), np.ones(64))


def _default(name, shape):
    """No decays, no dropout and no noise."""
    config = Config()
    config.data.batch_size = 16
    config.model.hidden_sizes = (8,)
    config.optimizer.name = name
    config.schedule.shape = shape
    config.schedule.end_value = 1e-4
    return config


def _everything_on(name, shape):
    config = _default(name, shape)
    config.model.dropout = config.model.noise = config.model.input_noise = 0.3
    config.optimizer.l1 = config.optimizer.l2 = 1e-3
    return config


def _of_lane(hyper, lane):
    missing = {name for part in hyper for name in part} - set(RANGES)
    assert not missing, f"add a row with {LANES} values to RANGES of tests/test_assembly.py for each of {missing}"
    return assembly.Hyper(*({name: RANGES[name][lane] for name in part} for part in hyper))


def _widened(tree, dtype):
    return jax.tree.map(lambda a: a.astype(dtype) if a.dtype == jnp.float32 else a, tree)


@functools.cache
def _lanes_of_init():
    """Initial states of all lanes from one mapped program, checked against those of the solo runs."""
    static, hyper = configured.assemble(_everything_on("adam", "cosine"), _data(), feed.make_mesh(), STEPS)
    lanes = [programs.as_numbers(_of_lane(hyper, lane)) for lane in range(LANES)]

    def init(hyper, seed):
        state = assembly.init(static, hyper, jax.random.key(seed))
        return state.params, state.model_state, jax.random.key_data(state.rng)

    mapped = jax.jit(jax.vmap(init))(jax.tree.map(lambda *n: np.stack(n), *lanes), np.arange(LANES, dtype=np.uint32))
    solo = jax.jit(init)
    for lane in range(LANES):
        for a, b in zip(jax.tree.leaves(solo(lanes[lane], np.uint32(lane))), jax.tree.leaves(mapped), strict=True):
            np.testing.assert_allclose(b[lane], a, rtol=1e-6)
    return jax.tree.map(np.asarray, mapped)


def _trained(static, dtype):
    """`run(hyper, start) -> state, metrics` over some steps on the same batches."""
    rows = np.arange(STEPS * 16).reshape(STEPS, 16)
    batches = Batch(*(jnp.asarray(a[rows], dtype if a.dtype == np.float32 else a.dtype) for a in _data().train))

    def run(hyper, start):
        params, model_state, rng = start
        opt_state = assembly.make_optimizer(static, hyper).init(params)
        state = assembly.TrainState(jnp.int32(0), params, model_state, opt_state, jax.random.wrap_key_data(rng))
        state, metrics = jax.lax.scan(lambda s, batch: assembly.step(static, hyper, s, batch), state, batches)
        return (state.params, state.model_state, state.opt_state, state.step), metrics

    return run


def _agree(lane, mapped, solo, tolerance):
    for a, b in zip(jax.tree.leaves(solo), jax.tree.leaves(mapped), strict=True):
        scale = np.abs(a).max() if a.size else 1.0
        np.testing.assert_allclose(b[lane], a, rtol=tolerance, atol=tolerance * max(scale, 1e-30))


def _steps_by_noise(numbers):
    """Whether a gradient that is rounding noise, some 1e-9, makes a whole step, whose sign is then noise as well.

    That takes a family that divides it by its own root mean square and hardly more, and no decay beside it. Measured
    here: weights off by 6e-4 of their scale, the gradient's norm by 8e-5, the loss by 2e-5; in float64 nothing.
    """
    decays = any(numbers.get(name) for name in ("l1", "l2"))
    return not decays and numbers.get("epsilon", 1) < 1e-6


def _check_lanes(config, dtype, tolerance, compiler_options=None):
    static, hyper = configured.assemble(config, _data(), feed.make_mesh(), STEPS)
    lanes = [programs.as_numbers(_of_lane(hyper, lane)) for lane in range(LANES)]
    together = jax.tree.map(lambda *numbers: np.stack(numbers), *lanes)
    starts = _widened(_lanes_of_init(), dtype)
    run = _trained(static, dtype)
    # One program for all lanes, and one for every solo run.
    mapped = jax.jit(jax.vmap(run), compiler_options=compiler_options)(together, starts)
    alone = jax.jit(run, compiler_options=compiler_options)
    for lane in range(LANES):
        state, metrics = alone(lanes[lane], jax.tree.map(lambda a, lane=lane: a[lane], starts))
        noisy = dtype == jnp.float32 and _steps_by_noise(lanes[lane].optimizer)
        assert state[-1] == STEPS
        _agree(lane, mapped[0], state, 1e-3 if noisy else tolerance)
        _agree(lane, mapped[1].gradient_norm, metrics.gradient_norm, 1e-3 if noisy else tolerance)
        _agree(lane, mapped[1].measures, metrics.measures, 5e-5 if noisy else tolerance)
    assert alone._cache_size() == 1
    losses = np.asarray(mapped[1].measures["loss"])
    assert losses.dtype == dtype
    assert np.isfinite(losses).all()
    assert len({tuple(row) for row in losses}) == LANES


# Every family and every shape at least once, however many there are of either.
_COUNT = max(len(optimizer.FAMILIES), len(schedules.SHAPES))
CASES = list(itertools.islice(zip(itertools.cycle(optimizer.FAMILIES), itertools.cycle(schedules.SHAPES)), _COUNT))
every_case = pytest.mark.parametrize(("name", "shape"), CASES)
every_config = pytest.mark.parametrize("config", [_everything_on, _default])


@every_config
@every_case
def test_each_lane_of_a_vmap_is_its_solo_run(name, shape, config):
    _check_lanes(config(name, shape), jnp.float32, 1e-5)


@every_config
@every_case
def test_in_float64_it_is_so_to_ten_digits(name, shape, config):
    _lanes_of_init()
    with jax.enable_x64(True):
        # So many digits leave room for kernels of either kind: the quicker ones to compile.
        _check_lanes(config(name, shape), jnp.float64, 1e-10, programs.run_once(feed.make_mesh()))


def test_numbers_as_arguments_are_the_numbers_as_constants():
    # 1 - b2 of 0.999 is larger by 1.3e-5 of itself as a float32 argument than as a constant of Python.
    static, hyper = configured.assemble(_everything_on("adam", "cosine"), _data(), feed.make_mesh(), STEPS)
    run, start = _trained(static, jnp.float32), jax.tree.map(lambda a: a[0], _lanes_of_init())
    as_arguments = jax.jit(run)(programs.as_numbers(hyper), start)
    as_constants = jax.jit(functools.partial(run, hyper))(start)
    a, b = (np.asarray(result[1].measures["loss"]) for result in (as_arguments, as_constants))
    np.testing.assert_allclose(a, b, rtol=2e-5)


def test_validation_of_lanes_is_a_mask_and_not_a_branch():
    static, hyper = configured.assemble(_everything_on("adam", "cosine"), _data(), feed.make_mesh(), STEPS)
    numbers = programs.as_numbers(hyper._replace(early_stopping={"patience": 2, "min_delta": 0.0}))
    start = jax.vmap(functools.partial(assembly.start, static, numbers))
    loop = start(jax.vmap(jax.random.key)(np.arange(2)))
    after = jax.jit(jax.vmap(functools.partial(assembly.after_epoch, static, numbers)))
    best = [jax.tree.map(np.array, loop.best)]
    for step, losses in enumerate([(3.0, 3.0), (2.0, 4.0), (1.0, 5.0)]):
        moved = jax.tree.map(lambda a: a + 1, loop.train.params)
        train_state = assembly.TrainState(
            jnp.full(2, step + 1), moved, *(getattr(loop.train, name) for name in ("model_state", "opt_state", "rng"))
        )
        measures = {"loss": jnp.array(losses), "accuracy": jnp.zeros(2)}
        loop, progress = after(loop._replace(train=train_state), measures)
        best.append(jax.tree.map(np.array, loop.best))
    assert progress.best_step.tolist() == [3, 1]
    assert progress.stops.tolist() == [False, True]
    for now, first in zip(jax.tree.leaves(best[3].params), jax.tree.leaves(best[1].params), strict=True):
        np.testing.assert_allclose(now[0], first[0] + 2, rtol=1e-6)
        np.testing.assert_array_equal(now[1], first[1])


def test_when_a_check_comes_does_not_depend_on_the_chunks(tmp_path):
    flags = ("--config.escape.enabled=true", "--config.escape.window=15", "--config.escape.min_improvement=0.9")
    flags += (
        "--config.escape.share=1.0",
        "--config.escape.cooldown=20",
        "--config.train.epochs=6",
        "--config.escape.examples=32",
    )
    lines = {}
    for chunk_steps in (100, 7):
        workdir = tmp_path / str(chunk_steps)
        done = train(workdir, *flags, f"--config.train.chunk_steps={chunk_steps}", XLA_FLAGS=QUICKLY_COMPILED)
        assert done.status == 0, done
        lines[chunk_steps] = [line for line in read_metrics(workdir) if line["split"] in ("escape", "validation")]
        assert json.loads((workdir / "summary.json").read_text())["escape"]["checks"] >= 2
    checked = [line["step"] for line in lines[100] if line["split"] == "escape"]
    # The second window has not fallen by nine tenths; then the cooldown, and on.
    assert checked[0] == 30
    assert [line["step"] for line in lines[7]] == [line["step"] for line in lines[100]]
    for a, b in zip(lines[100], lines[7], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
