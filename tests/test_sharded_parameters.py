"""Weights divided among devices: the results of one device, a part of its bytes, and checkpoints that fit any mesh."""

import json
import re
import socket
from types import SimpleNamespace

import forks
import jax
import jax.numpy as jnp
import pytest

import conftest
from conftest import ENVIRONMENT, PLAIN, QUICKLY_COMPILED, ROOT, compiled_quickly, read_metrics
from tricks.config import Config, flatten
from tricks.errors import UserError
from tricks.training import configured, feed, run_directory, shardings

# What is divided is compared with what is not, by programs of one kind.
run_python, train = compiled_quickly(conftest.run_python, conftest.train)

_BEGIN = """
import functools, json, math, sys, tempfile
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from tricks.config import Config
from tricks.training import assembly, chunk, computation, division_table, feed, loop, programs, setup, shardings
from tricks.training import sources
from tricks.training.loop import Sinks

def mesh_of(data, model):
    devices = np.array(jax.devices()[:data * model])
    if model == 1:
        return Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
    return Mesh(devices.reshape(data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)

def made(config, data, model):
    return setup.assembled(config, sources.Sources({}, None), mesh_of(data, model))

def apart(tree, other):
    pairs = zip(*map(jax.tree.leaves, jax.device_get((tree, other))), strict=True)
    return max(float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-30)) for a, b in pairs)

def bytes_of_each(tree):
    found = {}
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            found[shard.device.id] = found.get(shard.device.id, 0) + shard.data.nbytes
    return sorted(set(found.values()))

def specs(tree):
    return {jax.tree_util.keystr(path, simple=True, separator="/"): [*leaf.sharding.spec]
            for path, leaf in jax.tree.leaves_with_path(tree)}

config = Config()
config.train.epochs = 1
config.model.dropout = 0.2
"""

_FLOAT32 = """
from tricks.training.saver import Saver
config.optimizer.name, config.optimizer.learning_rate = "momentum", 1e-2
records, ends, found = {}, {}, {}
silent = lambda *_: None
middle = tempfile.TemporaryDirectory()

def fit(here, computed, state, last, record):
    sinks = Sinks(record, silent, silent, lambda: False)
    state, progress = loop.validate(state, int(state.train.step), computed.parts, here.rules, sinks)
    chunks = computed.chunks(int(state.train.step), last)
    return loop.fit(state, progress, chunks, parts=computed.parts, rules=here.rules._replace(save_every_epochs=99),
                    sinks=sinks)[0]

config.train.epochs = 2
prepared = {}
for shape in ((1, 1), (4, 2), (2, 4), (1, 8)):
    here = made(config, *shape)
    computed = computation.prepare(here.static, here.hyper, here.data, here.plan, on_device=True, seed=3)
    prepared[shape] = here, computed
    lines = []
    start = computed.start()
    name = f"{shape[0]}x{shape[1]}"
    found[name] = {"start": bytes_of_each((start.train.params, start.train.opt_state, start.best.params))}
    state = fit(here, computed, start, 40, lambda line: lines.append(line.values["loss"]))
    records[shape], ends[shape] = lines, jax.device_get((state.train.params, state.train.model_state))
    found[name] |= {
        "bytes": bytes_of_each((state.train.params, state.train.opt_state, state.best.params)),
        "whole": sum(a.nbytes for a in jax.tree.leaves((state.train.params, state.train.opt_state, state.best.params))),
        "apart": apart(ends[1, 1], ends[shape]),
        "losses": max(abs(a - b) / a for a, b in zip(records[1, 1], lines, strict=True)),
        "heading": division_table.heading(here.static, state.train.params),
    }
    if shape == (4, 2):
        found["specs"] = specs(state)
        saver = Saver(Path(middle.name) / "checkpoints")
        saver.save(state, {})
        saver.wait()
        found["table"] = division_table.table(here.static, state.train.params)
# From model 2 to 1, to 4, and on without a stop: the second epoch of each is the same.
seconds = {}
for shape in ((1, 1), (2, 4), (4, 2)):
    here, computed = prepared[shape]
    read, _ = Saver(Path(middle.name) / "checkpoints").restore(computed.start())
    found[f"read {shape[0]}x{shape[1]}"] = apart(ends[4, 2], (read.train.params, read.train.model_state))
    seconds[shape] = jax.device_get(fit(here, computed, read, 80, silent).train.params)
found["after"] = [apart(seconds[4, 2], seconds[shape]) for shape in ((1, 1), (2, 4))]
print(json.dumps(found))
"""

_FLOAT64 = """
jax.config.update("jax_enable_x64", True)
config.model.noise = 0.3
wide = lambda tree: jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, tree)
ends = {}
for shape in ((1, 1), (4, 2), (1, 8)):
    here = made(config, *shape)
    hyper = programs.as_numbers(here.hyper)
    state = wide(jax.jit(functools.partial(assembly.start, here.static, hyper))(jax.random.key(0)))
    placed = shardings.of_loop(here.static, state)
    state = jax.device_put(state, placed)
    split = here.data.train._replace(features=here.data.train.features.astype(np.float64))
    everywhere = NamedSharding(here.static.mesh, PartitionSpec())
    out = everywhere if shape[1] == 1 else (placed.train, everywhere)
    run = jax.jit(functools.partial(chunk.run, here.static, hyper), out_shardings=out)
    train = state.train
    for item in feed.chunks(split, here.plan, first_step=0, last_step=40, seed=0, mesh=here.static.mesh,
                            on_device=True):
        train, metrics = run(train, item.examples, item.indices)
    assert metrics.steps.measures["loss"].dtype == np.float64
    ends[shape] = jax.device_get((train.params, train.model_state, train.opt_state, metrics.steps))
print(json.dumps({"apart": [apart(ends[1, 1], ends[shape]) for shape in ((4, 2), (1, 8))]}))
"""

_CURVATURE = """
from tricks.curvature import classify, eigenpairs, escape, hessian, trace
from tricks.curvature.division import Division, divided, division_of
from tricks.curvature.lanczos import lanczos
from tricks.training import saddle

found = {}
def placed(params, model):
    static = type("Static", (), {"mesh": mesh_of(1, model), "rule": None})
    return jax.device_put(params, shardings.of_params(static.mesh, None, params))

keys = jax.random.split(jax.random.key(0), 4)
params = {"a": jax.random.normal(keys[0], (64, 128)) / 8, "b": jnp.zeros(128), "c": jnp.ones(()),
          "d": jax.random.normal(keys[1], (128, 128)) / 12, "e": jax.random.normal(keys[2], (128, 3)) / 12}
x, y = jax.random.normal(keys[3], (64, 64)), jnp.arange(64) % 3

def loss(p, batch):
    x, y = batch
    outputs = jnp.tanh(jnp.tanh(x @ p["a"] + p["b"][None]) @ p["d"]) @ p["e"] * p["c"]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], 1))

for model in (1, 2, 4, 8):
    here = placed(params, model)
    operator = hessian(loss, here, [(x, y)])
    division = operator.division
    compiled = lanczos.lower(operator.apply, operator.like, jax.random.key(1), 1e-3, k=2, which="both", basis_size=44,
                             max_products=1000, sharding=division).compile()
    vector = 4 * operator.size
    found[f"model {model}"] = {
        "dimensions": None if division is None else list(division.dimensions),
        "held": compiled.memory_analysis().temp_size_in_bytes / vector,
    }
    if model in (1, 4):
        pairs = eigenpairs(operator, 2, "both", key=jax.random.key(1))
        found[f"model {model}"] |= {"values": pairs.values.tolist(), "vectors": specs(pairs.vectors)}
        point = classify(loss, here, [(x, y)], key=jax.random.key(2), spectrum=True, tolerance=0.05)
        found[f"model {model}"]["point"] = {
            "verdict": point.verdict, "smallest": point.smallest, "largest": point.largest, "loss": point.loss,
            "gradient_norm": point.gradient_norm, "negative": point.negative.value}
        found[f"model {model}"]["trace"] = float(trace(operator, key=jax.random.key(3)).mean)

from tricks.training.state import LoopState, TrainState, Weights
weights = {"a": {"kernel": np.ones((4, 4))}, "kernel": np.ones((4, 4))}
averages = (weights, {"kernel": np.ones(4)}, np.ones(()))
static = type("Static", (), {"mesh": mesh_of(1, 4), "rule": lambda path, *_: 1 if path == "a/kernel" else 0})
state = LoopState(TrainState(None, weights, {}, averages, None), Weights(weights, {}), ())
placed_like = shardings.of_loop(static, state)
found["optimizer"] = {jax.tree_util.keystr(path, simple=True, separator="/"): [*one.spec]
                      for path, one in jax.tree.leaves_with_path(placed_like.train.opt_state)}

# From zero, where the gradient is small and the curvature of the last two layers is not.
flat = jax.tree.map(jnp.zeros_like, params) | {"c": params["c"], "a": params["a"]}
moved = {}
for model in (1, 4):
    moved[model], evidence = escape(loss, placed(flat, model), [(x, y)], key=jax.random.key(5))
    found[f"leaves {model}"] = {"reason": evidence.reason, "loss": float(evidence.loss_after),
                                "products": int(evidence.products), "specs": specs(moved[model])}
found["left apart"] = apart(moved[1], moved[4])

# Every entry once, whatever the shape: also of what is whole and does not divide.
division = Division(mesh_of(2, 4), "model", (1, None, None, 0))
tree = {"a": jnp.arange(24.0).reshape(2, 4, 3), "b": jnp.arange(24.0, 29.0), "c": jnp.float32(29),
        "d": jnp.arange(30.0, 38.0)}
to_vector, to_tree, length = divided(tree, division, jnp.float32, 16)
vector = jax.jit(to_vector)(tree)
found["entries"] = sorted(vector.tolist())[length - 37:]
found["length"], found["spec"] = length, [*vector.sharding.spec]
found["back"] = apart(tree, jax.jit(lambda tree: to_tree(to_vector(tree)))(tree))
# By hand: device 0 has a[:, 0], two of the five of b, c and d[:2].
found["first"] = vector.addressable_shards[0].data.tolist()[:11]

config.model.dropout, config.model.hidden_sizes, config.model.batch_norm = 0.0, (512,), False
config.model.initializer, config.model.activation, config.escape.enabled = "zeros", "tanh", True
escapes = {}
for shape in ((1, 1), (2, 4)):
    here = made(config, *shape)
    static, numbers = here.static, programs.as_numbers(here.hyper)
    shapes = jax.eval_shape(lambda: assembly.start(static, numbers, jax.random.key(0)))
    state = jax.jit(lambda: assembly.start(static, numbers, jax.random.key(0)),
                    out_shardings=shardings.of_loop(static, shapes))()
    samples = saddle.sample(here.data.train, static.mesh, examples=64, seed=0)
    check = saddle.compiled_check(static, shapes)
    held = check.lower(numbers, state, samples, np.uint32(0)).compile().memory_analysis().temp_size_in_bytes
    after, evidence = check(numbers, state, samples, np.uint32(0))
    escapes[shape] = jax.device_get(after.train.params)
    found[f"escape {shape[1]}"] = {
        "reason": evidence.reason, "eigenvalue": float(evidence.eigenvalue), "loss": float(evidence.loss_after),
        "specs": specs(after.train.params), "held": held / (4 * sum(a.size for a in jax.tree.leaves(escapes[shape])))}
found["escaped apart"] = apart(escapes[1, 1], escapes[2, 4])
print(json.dumps(found))
"""


def _ran(script, folder):
    (folder / "script.py").write_text(_BEGIN + script)
    done = run_python(folder / "script.py", devices=8)
    assert done.status == 0, done.error[-3000:]
    return json.loads(done.output.splitlines()[-1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return _ran(_FLOAT32, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def curved(tmp_path_factory):
    return _ran(_CURVATURE, tmp_path_factory.mktemp("curved"))


MESHES = ("4x2", "2x4", "1x8")


@pytest.mark.parametrize("mesh", MESHES)
def test_an_epoch_is_that_of_one_device(trained, mesh):
    assert trained[mesh]["apart"] < 1e-6
    assert trained[mesh]["losses"] < 1e-6


def test_in_float64_an_epoch_is_that_of_one_device_to_rounding(tmp_path):
    assert max(_ran(_FLOAT64, tmp_path)["apart"]) < 1e-10


# Of 64x128 and 128x128 one part is on each device; 128x10, a bias of 10 and four vectors of 128 are whole.
_DIVIDED, _WHOLE = 64 * 128 + 128 * 128, 128 * 10 + 10 + 4 * 128


@pytest.mark.parametrize("mesh", MESHES)
def test_bytes_fall_with_the_devices(trained, mesh):
    model = int(mesh[-1])
    # Weights, the average of momentum, and the best weights; two scalars of the optimizer.
    wanted = 3 * 4 * (_DIVIDED // model + _WHOLE)
    for when in ("start", "bytes"):
        (on_device,) = trained[mesh][when]
        assert wanted <= on_device <= wanted + 16
    assert trained[mesh]["whole"] == pytest.approx(3 * 4 * (_DIVIDED + _WHOLE), abs=16)


def test_the_rule_is_told(trained):
    assert trained["1x1"]["heading"] == ""
    share = (_DIVIDED / 4 + _WHOLE) / (_DIVIDED + _WHOLE)
    assert trained["2x4"]["heading"] == f"model 4: 2 of 8 arrays divided, {share:.2f} of the bytes on a device"
    lines = trained["table"].splitlines()
    assert len(lines) == 9
    assert re.fullmatch(r"linear_0/kernel +64 x \[128\] +16,384 of 32,768 bytes", lines[0])


def test_the_optimizer_and_the_best_weights_lie_as_the_weights(trained):
    specs = {path: [axis for axis in spec if axis] for path, spec in trained["specs"].items()}
    divided = {path for path, spec in specs.items() if spec}
    assert divided == {path for path in specs if re.search(r"linear_[01]/kernel$", path)}
    assert len(divided) == 6
    assert all(trained["specs"][path] == [None, "model"] for path in divided)


def test_a_checkpoint_fits_any_mesh_and_the_run_goes_on_the_same(trained):
    assert trained["read 1x1"] == trained["read 2x4"] == trained["read 4x2"] == 0
    assert max(trained["after"]) < 1e-6


def test_vectors_of_lanczos_are_divided(curved):
    one = curved["model 1"]
    assert one["dimensions"] is None
    # 40 vectors of the basis, those that are returned, and a few beside them.
    assert 44 < one["held"] < 52
    for model in (2, 4, 8):
        here = curved[f"model {model}"]
        assert here["dimensions"] == [1, None, None, 1, None]
        assert here["held"] == pytest.approx(one["held"] / model, rel=0.35)
    assert curved["model 4"]["vectors"]["d"] == [None, None, "model"]
    assert curved["model 4"]["values"] == pytest.approx(one["values"], rel=1e-4)


def test_classify_agrees_with_one_device(curved):
    one, four = curved["model 1"], curved["model 4"]
    assert one["point"].pop("verdict") == four["point"].pop("verdict")
    assert one["point"] == pytest.approx(four["point"], rel=1e-3)
    assert one["trace"] == pytest.approx(four["trace"], rel=1e-4)


def test_a_divided_vector_has_every_entry_once(curved):
    # Each device has 6 of a, 2 of b, 1 of c and 2 of d, to a multiple of 16.
    assert curved["length"] == 4 * 16
    assert curved["entries"] == [float(number) for number in range(1, 38)]
    assert curved["first"] == [0.0, 1.0, 2.0, 12.0, 13.0, 14.0, 24.0, 25.0, 29.0, 30.0, 31.0]
    assert curved["spec"] == ["model"]
    assert curved["back"] == 0


def test_escape_agrees_with_one_device(curved):
    one, four = curved["escape 1"], curved["escape 4"]
    assert one["reason"] == four["reason"] == "escaped"
    assert four["eigenvalue"] == pytest.approx(one["eigenvalue"], rel=1e-5)
    assert four["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert curved["escaped apart"] < 1e-4
    assert four["specs"]["linear_0/kernel"] == [None, "model"]
    assert four["held"] < one["held"] / 3


def test_escape_outside_of_training_agrees_with_one_device(curved):
    one, four = curved["leaves 1"], curved["leaves 4"]
    assert one["reason"] == four["reason"] == "escaped"
    assert four["products"] == one["products"]
    assert four["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert curved["left apart"] < 1e-4
    assert four["specs"]["d"] == [None, "model"]


def test_of_the_largest_dimensions_the_last_is_divided_and_small_arrays_are_whole():
    assert shardings.largest("w", (64, 64), 4) == 1
    assert shardings.largest("w", (128, 64), 4) == 0
    assert shardings.largest("w", (129, 64), 4) == 1
    assert shardings.largest("w", (129, 65), 4) is None
    assert shardings.largest("w", (4095,), 5) is None
    assert shardings.largest("w", (4096,), 4) == 0


def test_what_of_the_optimizer_is_like_a_weight_is_found_by_the_end_of_its_path(curved):
    # One kernel is named within another's path; of the averages of rows and columns none has the shape of a weight.
    assert curved["optimizer"] == {
        "0/a/kernel": [None, "model"],
        "0/kernel": ["model", None],
        "1/kernel": [],
        "2": [],
    }


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (2, r"it gives 2 for w of shape \(64, 3\); allowed: 0, None"),
        (1, r"it gives 1 for w"),
        (-1, r"it gives -1 for w"),
        (True, r"it gives True for w"),
        ("0", r"it gives '0' for w"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(said, message):
    mesh = SimpleNamespace(shape={"data": 1, "model": 2})
    with pytest.raises(ValueError, match=message):
        shardings.dimensions(mesh, lambda *_: said, {"w": jnp.ones((64, 3))})


def test_a_rule_is_asked_once_for_each_array():
    answers = iter([0, None, 1])
    rule = configured._asked_once(lambda *_: next(answers))
    mesh = SimpleNamespace(shape={"data": 1, "model": 2})
    shapes = {"v": jnp.ones((64, 2)), "w": jnp.ones((64, 2))}
    assert [shardings.dimensions(mesh, rule, shapes) for _ in range(2)] == [(0, None)] * 2


def test_without_it_the_mesh_and_the_programs_are_what_they_were():
    mesh = feed.make_mesh()
    assert mesh.axis_names == ("data",)
    static = SimpleNamespace(mesh=mesh, rule=None)
    placed = shardings.of_loop(static, None)
    assert isinstance(placed, jax.sharding.NamedSharding)
    assert [*placed.spec] == []
    assert Config().mesh.model == 1


def test_a_run_goes_on_with_another_mesh_and_no_other_field(tmp_path):
    fields = {**flatten(Config()), "mesh.model": 2}
    with run_directory.opened(tmp_path / "run", fields) as resuming:
        assert not resuming
    with run_directory.opened(tmp_path / "run", {**fields, "mesh.data": 1, "mesh.model": 4}) as resuming:
        assert resuming
    with (
        pytest.raises(UserError, match=r"seed is 0 there"),
        run_directory.opened(tmp_path / "run", {**fields, "seed": 1}),
    ):
        pass


_QUICK = ("--config.train.epochs=1", "--config.model.hidden_sizes=64", "--config.train.chunk_steps=40")


def _started(number, port, workdir, *flags):
    job = (f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={number}")
    command = ["train.py", f"--config={PLAIN}", f"--workdir={workdir}", *job, *flags]
    own = {"XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {QUICKLY_COMPILED}"}
    return forks.Started(command, ROOT, own, ENVIRONMENT)


def test_weights_may_be_divided_over_two_processes_and_read_by_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = (*_QUICK, "--config.optimizer.name=momentum")
    both = [_started(number, port, tmp_path / "two", *flags, "--config.mesh.model=4") for number in range(2)]
    ended = [process.ended(200) for process in both]
    assert [status for status, *_ in ended] == [0, 0], ended
    assert "model 4: 1 of 5 arrays divided" in ended[0][1]
    assert train(tmp_path / "one", *flags).status == 0
    again = train(tmp_path / "two", *flags)
    assert again.status == 0, again
    assert "resuming" in again.output
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-6)


_RULES = """
def rows(path, shape, devices):
    return 0 if path == "linear_0/kernel" else None

def wrong(path, shape, devices):
    return len(shape)

def raises(path, shape, devices):
    return {}[path]
"""


def test_a_rule_of_ones_own_and_another_mesh_afterwards(tmp_path):
    (tmp_path / "rules.py").write_text(_RULES)
    flags = (*_QUICK, f"--config.mesh.rule={tmp_path}/rules.py:rows")
    done = train(tmp_path / "run", *flags, "--config.mesh.model=4", devices=8)
    assert done.status == 0, done
    # 64x64 of 4,096 + 64 + 64 + 640 + 10 parameters is divided by 4.
    assert f"model 4: 1 of 5 arrays divided, {(1024 + 778) / (4096 + 778):.2f} of the bytes on a device" in done.output
    done = train(tmp_path / "run", *flags, "--config.mesh.model=2", devices=2)
    assert done.status == 0, done
    assert "resuming" in done.output
    assert "model 2: 1 of 5 arrays divided" in done.output
    done = run_python("scripts/spectrum.py", f"--workdir={tmp_path}/run", "--examples=50", "--tolerance=0.1", devices=2)
    assert done.status == 0, done
    assert "verdict" in done.output


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--config.mesh.model=3"], "mesh.model is 3; it must divide the 8 devices: choose one of 1, 2, 4, 8"),
        (["--config.mesh.model=16"], "mesh.model is 16; it must divide the 8 devices"),
        (["--config.mesh.data=3"], "mesh.data is 3; with mesh.model=1 and 8 devices it must be 8"),
        (["--config.mesh.data=8", "--config.mesh.model=2"], "with mesh.model=2 and 8 devices it must be 4"),
        (["--config.mesh.model=-2"], "mesh.model is -2; allowed: an integer from 1"),
        (["--config.mesh.model=0"], "mesh.model is 0; allowed: an integer from 1"),
        (["--config.mesh.data=-1"], "mesh.data is -1; allowed: an integer from 0"),
        (["--config.mesh.rule=columns"], "mesh.rule is 'columns'; allowed: a function of your own"),
        (["--config.mesh.model=2", "--config.mesh.rule={}/rules.py:wrong"], "it gives 1 for linear_0/bias of shape"),
        (["--config.mesh.model=2", "--config.mesh.rule={}/rules.py:raises"], "it raised KeyError at rules.py, line 9"),
        (["--config.mesh.model=2", "--config.mesh.rule={}/rules.py:row"], "did you mean rows?"),
        (["--config.mesh.model=2", "--config.data.batch_size=30"], "it must divide over the 4 devices"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, flags, said):
    (tmp_path / "rules.py").write_text(_RULES)
    config = ("--noconfig.model.batch_norm",)
    done = train(tmp_path / "run", *config, *(flag.format(tmp_path) for flag in flags), devices=8)
    assert said in done.mistake()
    assert not (tmp_path / "run").exists()


def test_a_sweep_refuses_it(tmp_path):
    flags = ("--config.mesh.model=2", "--sweep.optimizer.learning_rate=1e-3,1e-2")
    done = run_python("scripts/sweep.py", f"--config={PLAIN}", f"--workdir={tmp_path}/sweep", *flags, devices=2)
    assert "mesh.model is 2; a sweep divides its lanes among the devices" in done.mistake()
