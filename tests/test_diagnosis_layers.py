"""Measurements of what goes through a network: activations, layers, curvature, and where a run became non-finite."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from conftest import QUICKLY_COMPILED, read_metrics, train
from tricks import losses, streams, transforms
from tricks.data import draw
from tricks.diagnosis import finished_run, replay
from tricks.diagnosis.measurements import curvature, descent, history, layers, origin
from tricks.losses import Batch
from tricks.models import from_functions, multilayer_perceptron
from tricks.training import activations, assembly, equations, feed, glances, records
from tricks.training import layers as figures
from tricks.training.assembly import Hyper, Static
from tricks.training.feed import Chunk
from tricks.training.loop import Rules
from tricks.training.optimizer import FAMILIES
from tricks.training.state import TrainState, Weights, weights

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LR = 0.01


@jax.custom_vjp
def _straight_through(x):
    return jnp.tanh(x)


_straight_through.defvjp(lambda x: (jnp.tanh(x), None), lambda _, t: (t,))

KINDS = {
    "relu": ("relu", jax.nn.relu),
    "max": ("relu", lambda x: jnp.maximum(0, x)),
    "where": ("relu", lambda x: jnp.where(x > 0, x, 0)),
    "times the sign": ("relu", lambda x: x * (x > 0)),
    "vmapped": ("relu", jax.vmap(jax.nn.relu)),
    "half precision": ("relu", lambda x: jax.nn.relu(x.astype(jnp.bfloat16))),
    "relu6": ("relu6", jax.nn.relu6),
    "leaky": ("leaky_relu", jax.nn.leaky_relu),
    "leaky by where": ("leaky_relu", lambda x: jnp.where(x >= 0, x, 0.1 * x)),
    "leaky by max": ("leaky_relu", lambda x: jnp.maximum(0.1 * x, x)),
    "elu": ("elu", jax.nn.elu),
    "elu by where": ("elu", lambda x: jnp.where(x > 0, x, jnp.expm1(x))),
    "selu": ("selu", jax.nn.selu),
    "tanh": ("tanh", jnp.tanh),
    "recomputed": ("tanh", jax.checkpoint(jnp.tanh)),
    "own derivative": ("tanh", _straight_through),
    "sigmoid": ("sigmoid", jax.nn.sigmoid),
    "gelu": ("gelu", jax.nn.gelu),
    "exact gelu": ("gelu", functools.partial(jax.nn.gelu, approximate=False)),
    "silu": ("silu", jax.nn.silu),
    "silu by hand": ("silu", lambda x: x * jax.nn.sigmoid(1.5 * x)),
    "softplus": ("softplus", jax.nn.softplus),
}


@pytest.mark.parametrize("case", KINDS)
def test_activations_are_found_in_any_function(case):
    kind, function = KINDS[case]
    outputs, found = activations.recorded(lambda w, x: function(function(x) @ w).sum(1), jnp.eye(4), X)
    assert [(a.name, a.kind) for a in found] == [(f"{kind} 1", kind), (f"{kind} 2", kind)]
    for activation in found:
        assert activation.values.shape == (6, 4)
    np.testing.assert_allclose(np.float32(found[0].values), np.float32(function(X)), atol=1e-6)
    np.testing.assert_allclose(np.float32(outputs), np.float32(function(function(X) @ jnp.eye(4)).sum(1)), rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        jax.nn.softmax,
        jnp.abs,
        lambda x: jnp.maximum(x, 1.0),
        lambda x: jnp.where(x > 0, 1.0, 0.0),
        lambda x: jnp.sqrt(jnp.maximum(jnp.mean(x**2, axis=0), 0))[None] * x,
    ],
)
def test_what_is_no_activation_is_left_alone(function):
    assert activations.recorded(function, X)[1] == []


def test_gates_of_other_values_are_activations_of_their_own():
    _, found = activations.recorded(lambda x, y: jnp.tanh(x) * jax.nn.sigmoid(y), X, X + 1)
    assert [a.name for a in found] == ["tanh 1", "sigmoid 1"]


def test_recording_can_be_compiled_and_loops_are_counted():
    def looped(x):
        return jax.lax.scan(lambda x, _: (jax.nn.relu(x), None), jnp.tanh(x), length=2)[0]

    outputs, found = jax.jit(functools.partial(activations.recorded, looped))(X)
    assert [a.name for a in found] == ["tanh 1"]
    np.testing.assert_allclose(outputs, np.maximum(np.tanh(X), 0), atol=1e-6)
    assert activations.in_loops(activations.trace(looped, X)[0]) == 1


def _deep(params, x):
    """Eleven layers, whose names sort otherwise than they are used."""
    for i in range(11):
        x = jnp.tanh(x @ params[f"layer_{i}"]["kernel"] + params[f"layer_{i}"]["bias"][None])
    return x


def test_layers_come_in_the_order_of_use():
    params = {f"layer_{i}": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)} for i in range(11)}
    flat, *_ = activations.trace(_deep, params, X)
    assert list(figures.layers_of(params, equations.first_uses(flat)[:22])) == [f"layer_{i}" for i in range(11)]


def test_figures_are_those_of_the_formulas():
    rng = np.random.default_rng(1)
    params = {
        "in": {"kernel": rng.normal(size=(4, 5)).astype(np.float32), "bias": np.zeros(5, np.float32)},
        "out": {"kernel": rng.normal(size=(5, 2)).astype(np.float32)},
    }
    params["in"]["bias"][3] = -100  # Dead.
    y = rng.normal(size=(6, 2)).astype(np.float32)

    def subject(params, batch):
        x, y = batch
        hidden = jax.nn.relu(x @ params["in"]["kernel"] + params["in"]["bias"][None])
        outputs = jnp.tanh(10 * hidden @ params["out"]["kernel"])
        # The loss has a sigmoid of its own, which is none of the network's.
        return jnp.mean(jnp.sum((outputs - y) ** 2, 1) + 0 * jax.nn.sigmoid(outputs)[:, 0]), outputs

    found = layers.measure_function(subject, params, (X, y))
    hidden = np.maximum(X @ params["in"]["kernel"] + params["in"]["bias"], 0)
    outputs = np.tanh(10 * hidden @ params["out"]["kernel"])
    by_outputs = 2 * (outputs - y)  # Of each example, not of their mean.
    by_hidden = by_outputs * (1 - outputs**2) * 10 @ params["out"]["kernel"].T
    slope_out = 10 * hidden.T @ (by_outputs * (1 - outputs**2)) / 6
    slope_in = X.T @ (by_hidden * (hidden > 0)) / 6
    slope_bias = np.mean(by_hidden * (hidden > 0), axis=0)
    one, two = found["layers"]
    assert (one["name"], two["name"]) == ("in", "out")
    assert two["gradient_norm"] == pytest.approx(np.linalg.norm(slope_out), rel=1e-4)
    assert one["gradient_norm"] == pytest.approx(
        np.hypot(np.linalg.norm(slope_in), np.linalg.norm(slope_bias)), rel=1e-4
    )
    assert one["gradient_rms"] == pytest.approx(np.linalg.norm(slope_in) / math.sqrt(20), rel=1e-4)
    assert one["weight_norm"] == pytest.approx(np.hypot(np.linalg.norm(params["in"]["kernel"]), 100), rel=1e-5)
    assert two["relative_gradient"] == pytest.approx(two["gradient_norm"] / two["weight_norm"])
    relu, tanh = found["activations"]
    assert (relu["name"], relu["units"], relu["dead_units"], relu["saturated"]) == ("relu 1", 5, 1, None)
    assert tanh["saturated"] == pytest.approx(np.mean(np.abs(outputs) > 0.99))
    assert relu["scale"] == pytest.approx(np.sqrt(np.mean(hidden**2)), rel=1e-4)
    assert relu["signal"] == pytest.approx(np.sqrt(np.mean(by_hidden**2)), rel=1e-4)
    alive = hidden[hidden.any(axis=1)]
    units = alive / np.linalg.norm(alive, axis=1, keepdims=True)
    pairs = np.triu_indices(len(alive), 1)
    assert relu["similarity"] == pytest.approx((units @ units.T)[pairs].mean(), rel=1e-4)
    assert found["output_scale"] == pytest.approx(np.sqrt(np.mean(outputs**2)), rel=1e-4)
    assert found["gradient_ratio"] == pytest.approx(relu["signal"] / tanh["signal"])


def test_gradients_go_by_the_rules_that_a_network_has_of_its_own():
    def subject(w, x):
        return jnp.mean(_straight_through(x @ w["a"])), None

    found = figures.glance(subject, {"a": jnp.ones((4, 1))}, X)
    np.testing.assert_allclose(found.gradient["a"][:, 0], X.mean(0), atol=1e-6)


@functools.cache
def _of_depth(activation):
    network = multilayer_perceptron(
        input_size=4, output_size=3, hidden_sizes=(16,) * 6, activation=activation, initializer="he"
    )
    return network, network.init(jax.random.key(0))[0]


@pytest.mark.parametrize(
    ("activation", "scale", "low", "high"), [("sigmoid", 1, 0, 0.02), ("relu", 1, 0.2, 5), ("relu", 3, 50, 1e9)]
)
def test_the_ratio_of_signals_tells_vanishing_and_exploding_from_healthy(activation, scale, low, high):
    network, params = _of_depth(activation)
    params = jax.tree.map(lambda w: scale * w, params)
    found = layers.measure(
        network.apply, losses.cross_entropy, Weights(params, {}), Batch(jnp.asarray(X), jnp.arange(6) % 3)
    )
    assert low < found["gradient_ratio"] < high
    assert found["mode"] == "no dropout"
    assert len(found["layers"]) == 7


def test_a_network_whose_statistics_hang_on_dropout_is_seen_with_the_running_ones():
    def apply(params, state, x, *, rng):
        mean = state["mean"] if rng is None else x.mean(0)
        return (x - mean[None]) @ params["w"], {"mean": mean}

    network = from_functions(lambda key: ({"w": jnp.ones((4, 1))}, {"mean": jnp.ones(4)}), apply)
    both = Weights(*network.init(jax.random.key(0)))
    found = layers.measure(network.apply, losses.squared_error, both, Batch(jnp.asarray(X), jnp.zeros(6)))
    assert found["mode"] == "running statistics, no dropout"
    assert found["loss"] == pytest.approx(np.mean((X - 1).sum(1) ** 2), rel=1e-5)


def test_update_ratios_are_shares_of_the_weights():
    before = {"a": {"w": jnp.array([3.0, 4.0])}, "b": {"w": jnp.zeros(2)}, "c": {"w": jnp.zeros(2)}}
    after = {"a": {"w": jnp.array([3.0, 3.0])}, "b": {"w": jnp.ones(2)}, "c": {"w": jnp.zeros(2)}}
    ratios = figures.update_ratios(before, after)
    assert {name: float(r) for name, r in ratios.items()} == {"a": pytest.approx(0.2), "b": math.inf, "c": 0.0}


def _step(rule, beta, a, w, m):
    """One step of a rule on a quadratic of curvature a / eta."""
    if rule == "average":
        m = beta * m + (1 - beta) * a * w
        return w - m, m
    m = beta * m + a * w
    return w - (beta * m + a * w if rule == "nesterov" else m), m


@pytest.mark.parametrize(
    ("optimizer", "rule", "beta"),
    [
        ("momentum", "sum", 0.0),
        ("momentum", "sum", 0.9),
        ("momentum", "nesterov", 0.9),
        ("adam", "average", 0.9),
        ("lamb", "average", 0.5),
        ("rmsprop", "sum", 0.0),
    ],
)
def test_the_limit_of_stability_is_where_steps_begin_to_climb(optimizer, rule, beta):
    limit = descent.stability_limit(optimizer, {"momentum": beta, "nesterov": rule == "nesterov"})
    for share, falls in ((0.97, True), (1.03, False)):
        w, m = 1.0, 0.0
        for _ in range(1000):
            w, m = _step(rule, beta, share * limit, w, m)
        assert (abs(w) < 1e-3) == falls, (share, w)


def _static(network, *, optimizer="momentum", loss=losses.squared_error):
    return Static(
        network=lambda example, outputs: network,
        example=assembly.example_of(jax.ShapeDtypeStruct((6, 4), jnp.float32)),
        outputs=1,
        options=(),
        loss=loss,
        optimizer=optimizer,
        optimizer_options=(("nesterov", False),) if optimizer == "momentum" else (),
        schedule="constant",
        monitored="loss",
        falls=True,
        mesh=feed.make_mesh(),
    )


_NUMBERS = {"momentum": 0.9, "second_moment_decay": 0.99, "epsilon": 1e-3, "weight_decay": 0.1}


def _hyper(optimizer, rate=LR):
    numbers = {name: _NUMBERS[name] for name in FAMILIES[optimizer].arguments if name in _NUMBERS}
    schedule = {"warmup_steps": 0, "total_steps": 10, "end_value": 0.0}
    return Hyper({}, {"learning_rate": rate, **numbers}, schedule, {"patience": 0, "min_delta": 0.0})


@pytest.mark.parametrize("optimizer", FAMILIES)
def test_an_optimizer_is_seen_as_what_it_does(optimizer):
    network = from_functions(lambda key: ({"w": jnp.ones((4, 1))}, {}), lambda p, s, x, *, rng: (x @ p["w"], s))
    static, hyper = _static(network, optimizer=optimizer), _hyper(optimizer)
    made = assembly.make_optimizer(static, hyper)
    params = {"w": jnp.array([[1.0], [-2.0], [3.0], [0.5]])}
    opt_state, slope = made.init(params), {"w": jnp.array([[0.1], [1.0], [-2.0], [3.0]])}
    for _ in range(3):
        updates, opt_state = made.update(slope, opt_state, params)
    seen = descent.descent_of(static, hyper, TrainState(jnp.int32(3), params, {}, opt_state, jax.random.key(0)))
    assert seen.learning_rate == pytest.approx(LR)
    if optimizer == "momentum":
        assert seen.scale is None
        return
    averages = [leaf for leaf in jax.tree.leaves(opt_state) if leaf.shape == (4, 1)]
    # Of three equal gradients the average of Adam's kind is m; the others take the gradient itself.
    m = averages[0] if len(averages) > 1 else slope["w"]
    decays = {"adamw": 0.1 * params["w"], "lamb": None}.get(optimizer, 0)
    if decays is None:
        decays = seen.scale["w"] ** 2 * 0  # LAMB's decay is scaled with the rest: compared without it below.
        adam = m / (1 - 0.9**3) / (jnp.sqrt(averages[1] / (1 - 0.99**3)) + 1e-3)
        ratio = jnp.linalg.norm(params["w"]) / jnp.linalg.norm(adam + 0.1 * params["w"])
        np.testing.assert_allclose(seen.scale["w"] ** 2 * m, ratio * adam, rtol=1e-4)
        return
    np.testing.assert_allclose(updates["w"], -LR * (seen.scale["w"] ** 2 * m + decays), rtol=1e-4)


def test_an_optimizer_without_averages_yet_is_not_judged():
    network = from_functions(lambda key: ({"w": jnp.ones((4, 1))}, {}), lambda p, s, x, *, rng: (x @ p["w"], s))
    static, hyper = _static(network, optimizer="adam"), _hyper("adam")
    assert descent.descent_of(static, hyper, assembly.init(static, hyper, jax.random.key(0))) is None


def test_curvature_is_that_of_the_matrix():
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(12, 12)).astype(np.float32)
    matrix = (matrix + matrix.T) / 2
    slope = rng.normal(size=12).astype(np.float32) / 10
    root = rng.uniform(0.1, 2, size=12).astype(np.float32)

    def loss_fn(w, batch):
        # A quartic, so that it does not fall without end.
        return jnp.mean(batch) * (w @ matrix @ w / 2 + slope @ w + jnp.sum(w**4) + 5)

    point = curvature.Point(loss_fn, jnp.zeros(12), jnp.ones(3), jnp.ones(3))
    seen = descent.Descent(0.1, 0.2, 2.0, jnp.asarray(root))
    found = curvature.measure(point, descent=seen, key=jax.random.key(0))
    values = np.linalg.eigvalsh(matrix)
    numbers = found.numbers
    assert (numbers["smallest"], numbers["largest"]) == (
        pytest.approx(values[0], rel=1e-3),
        pytest.approx(values[-1], rel=1e-3),
    )
    preconditioned = np.linalg.eigvalsh(root[:, None] * matrix * root)[-1]
    assert numbers["stability"] == pytest.approx(0.1 * preconditioned, rel=1e-3)
    assert numbers["peak_stability"] == pytest.approx(0.2 * preconditioned, rel=1e-3)
    assert numbers["verdict"] == "not critical"
    assert numbers["flat_verdict"] == "saddle"
    assert numbers["gradient_norm"] == pytest.approx(np.linalg.norm(slope), rel=1e-4)
    assert numbers["minimum_ratio"] == pytest.approx(np.mean(values > 0), abs=0.25)
    # The best of a few distances is not as low as a fine search finds.
    u = np.asarray(found.smallest_vector)
    assert abs(u @ np.linalg.eigh(matrix)[1][:, 0]) == pytest.approx(1, abs=1e-3)
    distances = np.linspace(-3, 3, 6001)
    w = distances[:, None] * u
    falls = -(np.einsum("ni,ij,nj->n", w, matrix, w) / 2 + w @ slope + (w**4).sum(1)).min()
    assert 0.5 * falls < numbers["escape_gain"] <= falls * 1.001
    assert numbers["descent_gain"] > 0
    drawn = curvature.surface(point, found)
    middle = len(drawn["first"]) // 2
    assert drawn["losses"][middle][middle] == pytest.approx(5, rel=1e-5)


def test_held_out_examples_refuse_a_curvature_of_the_sample_alone():
    point = curvature.Point(
        lambda w, batch: jnp.mean(batch) * w[0] ** 2 / 2 + w[1] ** 2, jnp.zeros(2), -jnp.ones(3), jnp.ones(3)
    )
    numbers = curvature.measure(point, key=jax.random.key(0)).numbers
    assert numbers["flat_verdict"] == "undecided"
    assert numbers["escape_gain"] == 0
    assert numbers["stability"] is None


def _network(apply):
    def init(key):
        kernel = jnp.full((4, 4), 0.1)
        return {"in": {"kernel": kernel}, "middle": {"kernel": kernel}, "out": {"kernel": jnp.ones((4, 1))}}, {}

    return from_functions(init, lambda p, s, x, *, rng: (apply(p, x), s))


def _plainly(p, x):
    return jax.nn.relu(jax.nn.relu(x @ p["in"]["kernel"]) @ p["middle"]["kernel"]) @ p["out"]["kernel"]


def _with_a_bad_root(p, x):
    # Finite at 0, its derivative not.
    x = x @ p["in"]["kernel"]
    return jnp.sqrt(jnp.abs(x @ p["middle"]["kernel"] * 0.0)) @ p["out"]["kernel"]


def _explained(apply, features, *, rate=LR, change=lambda params: params, loss=losses.squared_error):
    static, hyper = _static(_network(apply), loss=loss), _hyper("momentum", rate)
    state = assembly.init(static, hyper, jax.random.key(0))
    state = TrainState(state.step, change(state.params), state.model_state, state.opt_state, state.rng)
    return origin.explain(static, hyper, state, Batch(jnp.asarray(features), jnp.ones(6)))


def _larger(layer):
    return lambda params: {**params, layer: {"kernel": params[layer]["kernel"] * 1e38}}


@pytest.mark.parametrize(
    ("case", "what", "layer"),
    [
        (functools.partial(_explained, _plainly, 1e3 + X * 0, change=_larger("middle")), "forward", "middle"),
        (functools.partial(_explained, _plainly, 1e3 + X * 0, change=_larger("in")), "forward", "in"),
        (functools.partial(_explained, _plainly, X * np.nan), "forward", None),
        (functools.partial(_explained, _plainly, 1e21 + X * 0), "loss", None),
        (functools.partial(_explained, _with_a_bad_root, X), "gradient", "middle"),
        (functools.partial(_explained, _plainly, 1e6 + X * 0, rate=3e38), "update", None),
        (
            functools.partial(
                _explained, _plainly, X, change=lambda p: {**p, "out": {"kernel": p["out"]["kernel"] * jnp.nan}}
            ),
            "weights",
            "out",
        ),
    ],
)
def test_the_first_value_that_is_not_finite_is_named_with_its_layer(case, what, layer):
    found = case()
    assert found["what"] == what, found
    if layer is not None:
        assert found["layer"] == layer
        assert layer in found["sentence"]


def test_the_step_where_it_began_is_found():
    static, hyper = _static(_network(_plainly)), _hyper("momentum")
    state = assembly.init(static, hyper, jax.random.key(0))
    features = np.repeat(np.ones((6, 4), np.float32)[None], 12, 0)
    features[7, 2] = np.nan
    rows = np.arange(72, dtype=np.int32).reshape(12, 6)
    batch = Batch(jnp.asarray(features.reshape(72, 4)), jnp.ones(72))
    chunks = [Chunk(batch, jnp.asarray(part), False) for part in (rows[:6], rows[6:])]
    found = origin.find(static, hyper, state, chunks, Rules(6, 12, 1))
    assert (found["step"], found["epoch"], found["what"]) == (8, 2, "forward")
    assert found["sentence"].startswith("at step 8 (epoch 2) the examples")
    assert origin.find(static, hyper, state, chunks[:1], Rules(6, 12, 1)) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    flags = ("--config.model.hidden_sizes=10", "--config.train.epochs=4", "--config.model.activation=tanh")
    flags += ("--config.diagnosis.every_epochs=2", "--config.data.batch_size=64")
    done = train(workdir, *flags, XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done.error
    return workdir


def _files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_training_logs_layers_and_its_steps_can_be_taken_again(run):
    before = _files(run)
    again = replay.of_run(run)
    data = again.setup.data.train
    batch = Batch(*draw(data, [64], streams.sample(0, "diagnosis"))[0])
    seen = history.measure(again, batch)
    logged = history.of_records(records.read(run))
    assert [line["step"] for line in logged] == [0, 40, 80]
    assert (seen["step"], seen["complete"]) == (80, True)
    assert set(logged[0]["gradient_norms"]) == {"linear_0", "linear_1", "norm_0"}
    for line in logged:
        (same,) = (other for other in seen["history"] if other["step"] == line["step"])
        for kind in ("gradient_norms", "update_ratios"):
            assert same[kind] == pytest.approx(line[kind], rel=2e-3)
        assert same["saturated"] == pytest.approx(line["saturated"], abs=0.01)
        assert line["dead"] is None
    # Whoever goes on from the checkpoint sees what the run saw there.
    stored = replay.stored(again, run)
    assert int(stored.train.step) == 80
    measure = glances.make_measure(again.setup.static, again.setup.hyper, data, examples=64, seed=0)
    last = [row for row in read_metrics(run) if row["split"] == "diagnosis"][-1]
    numbers = measure(stored.train)
    assert numbers == pytest.approx({name: last[name] for name in numbers}, rel=1e-3)
    np.testing.assert_array_equal(
        stored.train.params["linear_0"]["kernel"], finished_run.load(run).weights.params["linear_0"]["kernel"]
    )
    assert _files(run) == before


def test_what_is_logged_is_the_gradient_and_the_step(run):
    again = replay.of_run(run)
    state = replay.stored(again, run).train
    batch = Batch(*draw(again.setup.data.train, [64], streams.sample(0, "diagnosis"))[0])
    static, hyper = again.setup.static, again.hyper
    numbers = jax.jit(functools.partial(glances.numbers_of, static))(hyper, state, batch)
    loss_fn = losses.objective(
        assembly.make_network(static).apply, static.loss, state.model_state, batch_statistics=True
    )
    gradient = jax.jit(jax.grad(loss_fn))(state.params, batch)
    norm = optax.tree.norm(gradient["linear_1"])
    assert float(numbers["gradient_norm/linear_1"]) == pytest.approx(float(norm), rel=1e-4)
    updates, _ = assembly.make_optimizer(static, hyper).update(gradient, state.opt_state, state.params)
    ratio = optax.tree.norm(updates["linear_0"]) / optax.tree.norm(state.params["linear_0"])
    assert float(numbers["update_ratio/linear_0"]) == pytest.approx(float(ratio), rel=1e-3)
    assert transforms.current_learning_rate(state.opt_state) == pytest.approx(1e-3)
    whole = weights(state)
    assert whole.params is state.params


def test_a_run_that_diverged_is_followed_to_where_it_began(tmp_path):
    workdir = tmp_path / "run"
    flags = ("--noconfig.model.batch_norm", "--config.optimizer.name=momentum", "--config.optimizer.learning_rate=1e8")
    flags += ("--config.model.hidden_sizes=10", "--config.data.batch_size=64")
    done = train(workdir, *flags, XLA_FLAGS=QUICKLY_COMPILED)
    said = int(re.search(r"the loss is \S+ at step (\d+)", done.error)[1])
    again = replay.of_run(workdir)
    assert replay.stored(again, workdir) is None
    state = replay.initial(again).train
    rules = again.setup.rules
    found = origin.find(again.setup.static, again.hyper, state, again.chunks(0, rules.total_steps), rules)
    assert said - 1 <= found["step"] <= said, found
    assert found["layer"] in ("linear_0", "linear_1")


def test_losses_that_shake_are_told_from_losses_that_fall():
    generator = np.random.default_rng(0)
    independent = history.shaking((2 + 0.1 * generator.normal(size=200)).tolist())
    assert independent["alternating"] == pytest.approx(-0.5, abs=0.1)
    # |x_t - (x_{t-1} + x_{t+1}) / 2| of independent noise s has deviation s (3 / 2)^(1/2), and median .674 of that.
    assert independent["noise"] == pytest.approx(0.674 * 0.1 * 1.5**0.5 / 2, rel=0.2)
    falling = history.shaking(np.exp(-np.arange(50) / 10).tolist())
    assert falling["alternating"] > 0.8
    assert falling["noise"] < 0.01
    assert history.shaking([1.0] * 50) is None
    assert history.shaking([1.0, 2.0]) is None
