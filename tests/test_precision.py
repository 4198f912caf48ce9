"""Layers in bfloat16: what is in which type, what is lost by it, and runs from the command line."""

import dataclasses
import functools
import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
from flax import linen, nnx

import conftest
from conftest import QUICKLY_COMPILED, compiled_quickly, read_metrics, run_python
from tricks import losses, models
from tricks.config import Config
from tricks.data import Dataset, load, take
from tricks.diagnosis import finished_run
from tricks.losses import Loss
from tricks.models import noise
from tricks.models.precision import computed_in
from tricks.training import assembly, configured, feed, programs

# Each run is compared with others of its programs alone.
interrupt, train = compiled_quickly(conftest.interrupt, conftest.train)

HALF = "--config.precision.compute=bfloat16"
SMALL = ("--config.model.hidden_sizes=16", "--config.train.epochs=6")


@functools.cache
def _digits():
    split = take(load("digits").train, np.arange(96))
    return Dataset("digits", 10, split, split, split, np.zeros(64), np.ones(64))


def _assembled(compute="bfloat16", network=None, **model):
    config = Config()
    config.model.hidden_sizes = (16, 12)
    config.optimizer.name = "lamb"
    config.precision.compute = compute
    for name, value in model.items():
        setattr(config.model, name, value)
    static, hyper = configured.assemble(config, _digits(), feed.make_mesh(), 100)
    if network is not None:
        static = dataclasses.replace(static, network=lambda example, outputs: network, options=())
        hyper = hyper._replace(model={})
    return static, programs.as_numbers(hyper)


def _step(static, hyper):
    """The steps of a training step as a list, inner ones too; shapes of states; and metrics."""
    before = jax.eval_shape(lambda: assembly.init(static, hyper, jax.random.key(0)))
    batch = assembly.batch_of(_digits().train, 32)
    traced = jax.make_jaxpr(lambda state, batch: assembly.step(static, hyper, state, batch))(before, batch)
    after, metrics = jax.eval_shape(lambda state, batch: assembly.step(static, hyper, state, batch), before, batch)
    return _equations(traced.jaxpr), before, after, metrics


def _equations(jaxpr):
    found = []
    for equation in jaxpr.eqns:
        found.append(equation)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            found += _equations(inner) if hasattr(inner, "eqns") else []
    return found


def _types(equations, *names):
    return [str(v.aval.dtype) for e in equations if e.primitive.name in names for v in e.invars]


def _floating(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


class Convolutional(nnx.Module):
    def __init__(self, rngs):
        self.convolution = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.convolution(x.reshape(-1, 8, 8, 1))))
        return self.last(self.dropout(x.reshape(len(x), -1)))


class Dense(linen.Module):
    dtype: jnp.dtype | None = None

    @linen.compact
    def __call__(self, x, train):
        x = linen.Dense(8, dtype=self.dtype)(x.reshape(-1, 64))
        x = linen.relu(linen.BatchNorm(use_running_average=not train, dtype=self.dtype)(x))
        return linen.Dense(10, dtype=self.dtype)(linen.Dropout(0.2, deterministic=not train)(x))


def _linen(dtype=None):
    return models.from_linen(Dense(dtype), jax.ShapeDtypeStruct((32, 8, 8, 1), jnp.float32))


def _functions():
    def init(key):
        return {"kernel": 0.1 * jax.random.normal(key, (64, 10))}, {"mean": jnp.zeros(10)}

    def apply(params, model_state, x, *, rng):
        outputs = x.reshape(-1, 64) @ params["kernel"]
        mean = 0.9 * model_state["mean"] + 0.1 * outputs.mean(axis=0)
        return outputs, model_state if rng is None else {"mean": mean}

    return models.from_functions(init, apply)


# How often a matrix is multiplied in a step: a layer takes three, the first one two, since features have no gradient;
# of the perceptron it stands in the step, and is dropped when that is compiled.
@pytest.mark.parametrize(
    ("network", "products"),
    [
        (None, 9),
        (models.from_nnx(Convolutional), 5),
        (_linen(), 5),
        (_functions(), 2),
    ],
    ids=["perceptron", "nnx", "linen", "functions"],
)
def test_matrices_are_multiplied_in_bfloat16_and_all_that_stays_is_float32(network, products):
    options = {} if network else {"dropout": 0.3, "noise": 0.3, "input_noise": 0.3}
    equations, before, after, metrics = _step(*_assembled(network=network, **options))
    assert _types(equations, "dot_general", "conv_general_dilated") == ["bfloat16"] * 2 * products
    assert jax.tree.map(lambda a: (a.shape, a.dtype), before) == jax.tree.map(lambda a: (a.shape, a.dtype), after)
    assert _floating(before) == _floating(metrics) == {"float32"}


def test_a_float32_run_has_the_network_itself():
    static, hyper = _assembled("float32")
    network = models.multilayer_perceptron(input_size=1, output_size=1)
    static = dataclasses.replace(static, network=lambda *_, **__: network)
    assert assembly.computing_network(static, hyper) is network
    equations, *_ = _step(*_assembled("float32", dropout=0.3, noise=0.3, input_noise=0.3))
    assert not {"bfloat16"} & {str(v.aval.dtype) for e in equations for v in (*e.invars, *e.outvars)}


@pytest.mark.parametrize("batch_norm", [False, True])
def test_sums_over_examples_are_in_float32(batch_norm):
    """Losses, norms, statistics, and gradients by biases."""
    equations, *_ = _step(*_assembled(batch_norm=batch_norm, noise=0.3))
    assert {"float32"} == {dtype for dtype in _types(equations, "reduce_sum") if "float" in dtype}


def test_gradients_by_kernels_are_summed_in_float32():
    """Over devices too: the sum over them is in the type of the product."""
    equations, *_ = _step(*_assembled(batch_norm=False))
    products = [e for e in equations if e.primitive.name == "dot_general" and e.invars[0].aval.shape[0] == 32]
    of_kernels = [e.outvars[0].aval for e in products if e.invars[1].aval.shape[0] == 32]
    assert sorted(a.shape for a in of_kernels) == [(12, 10), (16, 12), (64, 16)]
    assert {str(a.dtype) for a in of_kernels} == {"float32"}


@pytest.mark.parametrize("hidden", [(), (16, 12)])
def test_a_gradient_of_bfloat16_is_that_of_float32_but_for_rounding(hidden):
    network = models.multilayer_perceptron(input_size=64, output_size=10, hidden_sizes=hidden)
    params, state = network.init(jax.random.key(0))
    batch = losses.Batch(_digits().train.features[:32].reshape(32, 64), _digits().train.targets[:32])

    def gradient(network):
        loss = losses.mean_loss(network.apply, losses.cross_entropy)
        return jax.jit(jax.grad(lambda params: loss(params, state, batch, None)[0]))(params)

    found = [jax.tree.leaves(gradient(one)) for one in (network, computed_in(network, "bfloat16"))]
    for wide, narrow in zip(*found, strict=True):
        assert narrow.dtype == wide.dtype == np.float32
        np.testing.assert_allclose(narrow, wide, atol=2**-5 * np.abs(wide).max())


def test_a_loss_sees_float32():
    seen = []

    def measures(outputs, targets):
        seen.append(outputs.dtype)
        return losses.cross_entropy.measures(outputs, targets)

    static, hyper = _assembled()
    loss = Loss(measures, losses.cross_entropy.names, losses.cross_entropy.count_outputs)
    _step(dataclasses.replace(static, loss=loss), hyper)
    assert {*seen} == {jnp.dtype("float32")}


def test_the_type_that_a_module_sets_itself_is_its_own():
    equations, *_ = _step(*_assembled(network=_linen(jnp.float32)))
    assert _types(equations, "dot_general") == ["float32"] * 10


def test_moving_averages_keep_their_digits():
    """With p = 1 - 2^-10, from 1 towards 2: 1 + 2^-10, for which bfloat16 has 1; then 1 + 2^-9 - 2^-20."""

    def apply(params, model_state, x, **_):
        mean = (1 - 2**-10) * model_state["mean"] + 2**-10 * (x @ params["kernel"]).mean()
        return x, {"mean": mean, "rounded": jnp.asarray(mean, jnp.bfloat16), "count": model_state["count"] + 1}

    network = computed_in(models.Network(None, apply), "bfloat16")
    state = {"mean": jnp.float32(1), "rounded": jnp.float32(0), "count": jnp.int32(0)}
    for _ in range(2):
        _, state = network.apply({"kernel": jnp.ones((1, 1))}, state, jnp.full((4, 1), 2.0))
    assert state["mean"] == 1 + 2**-9 - 2**-20
    assert jax.tree.map(lambda a: str(a.dtype), state) == {"mean": "float32", "rounded": "float32", "count": "int32"}
    assert state["count"] == 2


def test_running_statistics_of_the_perceptron_are_near_those_of_float32():
    found = []
    for compute in ("float32", "bfloat16"):
        static, hyper = _assembled(compute, batch_norm_momentum=0.5)
        state = assembly.init(static, hyper, jax.random.key(0))
        step = jax.jit(functools.partial(assembly.step, static, hyper))
        batch = losses.Batch(*take(_digits().train, np.arange(32)))
        for _ in range(3):
            state, _ = step(state, batch)
        found.append(state.model_state)
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        # A value of bfloat16 is off by up to 2^-8 of itself, and weights, features and sums are rounded each.
        np.testing.assert_allclose(other, one, atol=2**-6 * np.abs(one).max())
        assert not np.array_equal(other, other.astype(jnp.bfloat16).astype(np.float32)), "rounded"


def test_whole_numbers_among_the_features_are_left_alone():
    """Of 999 and 1001 bfloat16 makes 1000."""

    def apply(params, model_state, x, **_):
        return params["table"][x["word"]] * x["weight"], model_state

    network = computed_in(models.Network(None, apply), "bfloat16")
    table = (jnp.arange(1002) == 999).astype(jnp.float32)
    features = {"word": jnp.array([998, 999, 1001]), "weight": jnp.full(3, 1 / 3)}
    outputs, _ = network.apply({"table": table}, {}, features)
    np.testing.assert_array_equal(outputs, np.float32([0, 0.333984375, 0]))


def test_dropout_keeps_the_mean():
    """With 1 / 0.7 in bfloat16 it would be too large by 8e-4 of itself."""
    x = jnp.linspace(1, 2, 2**14, dtype=jnp.bfloat16)[None]
    survivors = np.float64(noise.drop(x, 0.3, jax.random.key(1)))
    ratio = survivors[survivors > 0].sum() / np.float64(x)[survivors > 0].sum()
    assert ratio == pytest.approx(1 / 0.7, rel=1e-4)


def test_noise_is_that_of_float32_rounded():
    zeros, key = jnp.zeros((8, 100)), jax.random.key(1)
    half = noise.disturb(zeros.astype(jnp.bfloat16), 0.7, key, 0)
    np.testing.assert_array_equal(half, noise.disturb(zeros, 0.7, key, 0).astype(jnp.bfloat16))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Five seeds of configs/digits.py in each precision, as lanes of a sweep."""
    workdir = tmp_path_factory.mktemp("sweeps") / "digits"
    flags = ("--config=digits", "--sweep.precision.compute=float32,bfloat16", "--seeds=5")
    done = run_python("-m", "tricks", "sweep", *flags, f"--workdir={workdir}")
    assert done.status == 0, done
    return pyarrow.parquet.read_table(workdir / "results.parquet").to_pylist()


def test_accuracy_is_within_the_spread_of_the_seeds(swept):
    by_precision = {"float32": [], "bfloat16": []}
    for row in swept:
        by_precision[row["precision.compute"]].append(row["best_test_accuracy"])
    float32, bfloat16 = by_precision.values()
    assert len(float32) == len(bfloat16) == 5
    assert abs(np.mean(bfloat16) - np.mean(float32)) <= np.ptp(float32)
    assert float32 != bfloat16


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = train(workdir, *SMALL, HALF, "--config.curvature.every_epochs=3", "--config.train.chunk_steps=5")
    assert done.status == 0, done
    return workdir, done.output


def test_a_run_says_its_precision(whole, tmp_path):
    workdir, output = whole
    assert "layers in bfloat16; parameters, averages, losses and norms in float32" in output
    assert max(map(len, output.splitlines())) < 80
    assert json.loads((workdir / "summary.json").read_text())["precision"] == "bfloat16"
    plain = train(tmp_path / "plain", *SMALL)
    assert "float32" not in plain.output
    assert "precision" not in json.loads((tmp_path / "plain" / "summary.json").read_text())


def test_curvature_is_that_of_the_network_in_float32(whole):
    workdir, _ = whole
    run = finished_run.load(workdir)
    features = run.data.train.features[:32]
    traced = jax.make_jaxpr(lambda params: run.network.apply(params, run.weights.model_state, features))
    assert "bf16" not in str(traced(run.weights.params))
    assert len([line for line in read_metrics(workdir) if line["split"] == "curvature"]) == 3
    done = run_python("scripts/spectrum.py", f"--workdir={workdir}", "--examples=100", XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(whole, tmp_path):
    workdir, _ = whole
    flags = (*SMALL, HALF, "--config.curvature.every_epochs=3", "--config.train.chunk_steps=5")
    assert interrupt(tmp_path / "again", signal.SIGTERM, 45, flags)[0] == 130
    assert train(tmp_path / "again", *flags).status == 0
    lines = [
        [{name: value for name, value in line.items() if name != "examples_per_second"} for line in read_metrics(one)]
        for one in (workdir, tmp_path / "again")
    ]
    assert lines[0] == lines[1]
    one, other = (finished_run.load(run).weights for run in (workdir, tmp_path / "again"))
    assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))
    assert _floating(one) == {"float32"}


def test_a_run_does_not_go_on_in_another_precision(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    flags = ("--config.curvature.every_epochs=3", "--config.train.chunk_steps=5")
    mistake = train(tmp_path / "run", *SMALL, *flags).mistake()
    assert "precision.compute" in mistake


def test_a_saddle_is_left_in_bfloat16(tmp_path):
    flags = ("--config=configs/trap_identical_units.py", "--config.train.epochs=110", "--config.escape.window=50")
    done = train(tmp_path, *flags, HALF)
    assert done.status == 0, done
    assert json.loads((tmp_path / "summary.json").read_text())["escape"]["escapes"] >= 1
    assert [line["loss"] for line in read_metrics(tmp_path) if line["split"] == "train"][-1] < 0.1


@pytest.mark.parametrize("value", ["float16", "float64", "bf16", ""])
def test_another_type_is_refused(tmp_path, value):
    mistake = train(tmp_path / "run", f"--config.precision.compute={value}").mistake()
    assert mistake == f"error: precision.compute is {value!r}; allowed: float32, bfloat16"


FIXED = """
import jax, jax.numpy as jnp
from tricks import models
def build(example, outputs):
    def init(key):
        return {"kernel": jnp.zeros((64, outputs))}, {}
    def apply(params, model_state, x, *, rng):
        shifted = jax.lax.add(x, jnp.ones(x.shape, jnp.float32))
        return shifted.reshape(-1, 64) @ params["kernel"], model_state
    return models.from_functions(init, apply)
def factored(example, outputs):
    def apply(params, model_state, x, *, rng):
        return x.reshape(-1, 64) @ jnp.linalg.qr(params["kernel"])[0], model_state
    return models.from_functions(lambda key: ({"kernel": jax.random.normal(key, (64, outputs))}, {}), apply)
"""


def test_a_network_that_takes_float32_alone_is_refused_in_a_line(tmp_path):
    (tmp_path / "fixed.py").write_text(FIXED)
    flags = (f"--config.model.build={tmp_path / 'fixed.py'}:build", "--config.train.epochs=1")
    assert train(tmp_path / "plain", *flags).status == 0
    mistake = train(tmp_path / "half", *flags, HALF).mistake()
    assert mistake.startswith("error: precision.compute is 'bfloat16', in which the network cannot be computed; choose")
    assert "fixed.py, line 8" in mistake
    of_kernels = f"--config.model.build={tmp_path / 'fixed.py'}:factored"
    assert "network follow the types" in train(tmp_path / "half", of_kernels, flags[1], HALF).mistake()
    assert not (tmp_path / "half").exists()
