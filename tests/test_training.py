"""Step, chunk, feed and evaluation: the pieces of the loop."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from tricks import losses, models
from tricks.config import Config
from tricks.data import Dataset, Split, load, take
from tricks.errors import DivergedError, UserError
from tricks.losses import Batch
from tricks.training import assembly, chunk, configured, evaluation, feed, loop, programs, state

MESH = feed.make_mesh()


@functools.cache
def _digits(count=300):
    return take(load("digits").train, np.arange(count))


@functools.cache
def _assembled(dropout=0.3, optimizer="adam", learning_rate=1e-2):
    config = Config()
    config.model.hidden_sizes = (16,)
    config.model.dropout = dropout
    config.optimizer.name = optimizer
    config.optimizer.learning_rate = learning_rate
    split = _digits()
    data = Dataset("digits", 10, split, split, split, np.zeros(64), np.ones(64))
    static, hyper = configured.assemble(config, data, MESH, 1000)
    return static, programs.as_numbers(hyper)


@functools.cache
def _step(**options):
    static, hyper = _assembled(**options)
    return jax.jit(functools.partial(assembly.step, static, hyper))


@functools.cache
def _chunk():
    static, hyper = _assembled()
    replicated = NamedSharding(MESH, PartitionSpec())
    return jax.jit(functools.partial(chunk.run, static, hyper), donate_argnums=0, out_shardings=replicated)


def _start(**options):
    return jax.jit(functools.partial(assembly.init, *_assembled(**options)))(jax.random.key(1))


def _run_epoch(split, plan, on_device=True, first_step=0, start=None, epochs=1):
    train = jax.device_put(start or _start(), NamedSharding(MESH, PartitionSpec()))
    metrics = []
    last = plan.steps_per_epoch * epochs
    for item in feed.chunks(split, plan, first_step=first_step, last_step=last, seed=5, mesh=MESH, on_device=on_device):
        train, m = _chunk()(train, item.examples, item.indices)
        metrics.append(jax.device_get(m))
    return train, metrics


def test_chunk_is_the_same_steps_one_by_one():
    split = _digits()
    plan = feed.plan_epoch(300, 32, 4)
    train, metrics = _run_epoch(split, plan)
    by_hand = _start()
    order = np.random.default_rng((5, 0)).permutation(300)
    norms = []
    for i in range(plan.steps_per_epoch):
        rows = order[i * 32 : (i + 1) * 32]
        by_hand, m = _step()(by_hand, Batch(split.features[rows], split.targets[rows]))
        norms.append(float(m.gradient_norm))
    assert int(train.step) == 9
    chex.assert_trees_all_close(train.params, by_hand.params, rtol=1e-4, atol=1e-6)
    ends = np.cumsum(plan.chunk_lengths) - 1
    np.testing.assert_allclose([m.steps.gradient_norm[-1] for m in metrics], [norms[e] for e in ends], rtol=1e-4)


class Recurrent(nnx.Module):
    """Reads a picture by rows."""

    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.SimpleCell(8, 6, rngs=rngs), rngs=rngs)
        self.last = nnx.Linear(6, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(self.rnn(x.reshape(-1, 8, 8))[:, -1])


def test_a_recurrent_network_takes_the_steps_of_the_module_itself():
    static, hyper = _assembled(optimizer="momentum", learning_rate=0.1)
    network = models.from_nnx(Recurrent)
    static = dataclasses.replace(static, network=lambda example, outputs: network, options=())
    hyper, tx = hyper._replace(model={}), optax.sgd(0.1, momentum=0.9)
    start = assembly.init(static, hyper, jax.random.key(0))
    graph, own, rest = nnx.split(Recurrent(nnx.Rngs(0)), nnx.Param, ...)
    nnx.replace_by_pure_dict(own, start.params)
    split, rows = _digits(96), np.arange(96).reshape(3, 32)
    state, metrics = jax.jit(functools.partial(chunk.run, static, hyper))(start, Batch(*split), rows)

    @jax.jit
    def step(own, rest, averages, x, targets):
        def loss(module):
            return optax.softmax_cross_entropy_with_integer_labels(module(x), targets).mean()

        value, gradient = nnx.value_and_grad(loss)(nnx.merge(graph, own, rest))
        updates, averages = tx.update(gradient, averages)
        return optax.apply_updates(own, updates), averages, value

    averages, values = tx.init(own), []
    for some in rows:
        own, averages, value = step(own, rest, averages, split.features[some], split.targets[some])
        values.append(value)
    np.testing.assert_allclose(metrics.steps.measures["loss"], values, rtol=1e-5)
    chex.assert_trees_all_close(state.params, nnx.to_pure_dict(own), rtol=1e-4, atol=1e-6)


def test_gradient_norm_is_that_of_the_gradient():
    (static, _), train = _assembled(dropout=0.0), _start(dropout=0.0)
    split, train_step = _digits(32), _step(dropout=0.0)
    loss_fn = losses.mean_loss(assembly.make_network(static).apply, static.loss)
    gradient = jax.grad(lambda p: loss_fn(p, train.model_state, Batch(*split), jax.random.key(0))[0])(train.params)
    _, metrics = train_step(train, Batch(*split))
    expected = np.sqrt(sum(np.square(np.asarray(g, np.float64)).sum() for g in jax.tree.leaves(gradient)))
    assert float(metrics.gradient_norm) == pytest.approx(expected, rel=1e-5)
    assert float(train_step(train, Batch(*split), False)[1].gradient_norm) == 0


def test_chunk_lengths_do_not_change_the_result():
    split = _digits()
    results = [_run_epoch(split, feed.plan_epoch(300, 32, n))[0].params for n in (1, 2, 100)]
    for other in results[1:]:
        chex.assert_trees_all_equal(results[0], other)


def test_streaming_from_the_host_changes_nothing():
    split = _digits()
    plan = feed.plan_epoch(300, 32, 4)
    a, _ = _run_epoch(split, plan, on_device=True, epochs=2)
    b, _ = _run_epoch(split, plan, on_device=False, epochs=2)
    chex.assert_trees_all_equal(a, b)


def test_a_step_depends_on_its_number_and_not_on_what_came_before():
    split = _digits()
    plan = feed.plan_epoch(300, 32, 3)
    whole, _ = _run_epoch(split, plan, epochs=2)
    half, _ = _run_epoch(split, feed.Plan(32, plan.chunk_lengths), epochs=1)
    rest, _ = _run_epoch(split, plan, first_step=plan.steps_per_epoch, start=half, epochs=2)
    chex.assert_trees_all_equal(whole, rest)


def test_each_step_draws_its_own_dropout_mask_from_its_number():
    # A rate of almost nothing: weights of about 0.1 do not move in float32.
    options = {"optimizer": "momentum", "learning_rate": 1e-30}
    train, train_step, batch = _start(**options), _step(**options), Batch(*_digits(32))
    again, first = train_step(train, batch)
    _, second = train_step(again, batch)
    assert float(first.measures["loss"]) != float(second.measures["loss"]), "nothing but the mask differs"
    _, repeated = train_step(train, batch)
    assert float(first.measures["loss"]) == float(repeated.measures["loss"])


def test_donation_leaves_the_copy_of_the_best_weights_alone():
    first = jax.jit(functools.partial(assembly.start, *_assembled()))(jax.random.key(1))
    before = jax.tree.map(np.array, first.best)
    kernel = first.train.params["linear_0"]["kernel"]
    examples = jax.device_put(Batch(*_digits()), NamedSharding(MESH, PartitionSpec()))
    _chunk()(first.train, examples, jnp.arange(32, dtype=jnp.int32).reshape(1, 32))
    assert kernel.is_deleted(), "the state is donated"
    chex.assert_trees_all_equal(before, first.best)


def test_a_chunk_in_parts_is_the_whole_chunk():
    static, hyper = _assembled()
    run = jax.jit(functools.partial(chunk.run, static, hyper))
    examples, rows = Batch(*_digits()), np.arange(7 * 32, dtype=np.int32).reshape(7, 32)
    whole, metrics = run(_start(), examples, rows)
    train, parts = _start(), []
    for first, last in ((0, 3), (3, 4), (4, 7)):
        train, m = run(train, examples, rows, np.int32(first), np.int32(last))
        parts.append(m)
        assert np.count_nonzero(m.steps.gradient_norm) == 1
        assert m.steps.gradient_norm[last - 1] > 0
    chex.assert_trees_all_close(state.weights(train), state.weights(whole), rtol=1e-5, atol=1e-7)
    together = jax.tree.map(lambda *rows: sum(rows), *(m.steps.measures for m in parts))
    chex.assert_trees_all_close(together, metrics.steps.measures, rtol=1e-6)


@pytest.mark.parametrize(
    ("examples", "batch", "chunk_steps"), [(1294, 32, 100), (1294, 32, 7), (1000, 1, 30), (421 * 8, 8, 100), (5, 5, 9)]
)
def test_plan_covers_every_full_batch_in_at_most_two_lengths(examples, batch, chunk_steps):
    plan = feed.plan_epoch(examples, batch, chunk_steps)
    assert plan.steps_per_epoch == examples // batch
    assert max(plan.chunk_lengths) <= chunk_steps
    assert max(plan.chunk_lengths) - min(plan.chunk_lengths) <= 1


@pytest.mark.parametrize(
    ("steps", "chunk_steps", "lengths"),
    [
        (14, 10, (7, 7)),
        (15, 7, (5, 5, 5)),
        (35, 16, (7,) * 5),  # Two chunks more than are needed, but one program less.
        (49, 20, (17, 16, 16)),  # Seven of seven would be more than twice as many.
        (3, 2, (1, 1, 1)),
        (4, 4, (4,)),
    ],
)
def test_chunks_come_out_even_where_that_takes_no_more_than_twice_as_many(steps, chunk_steps, lengths):
    assert feed.plan_epoch(10 * steps + 3, 10, chunk_steps).chunk_lengths == lengths


def test_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match=r"data\.batch_size is 33; the training part has 32"):
        feed.plan_epoch(32, 33, 10)


def test_batch_that_does_not_divide_over_the_devices_is_refused():
    with pytest.raises(UserError, match="8 devices: choose 96"):
        feed.plan_epoch(1000, 100, 10, devices=8)


def test_each_epoch_has_an_order_of_its_own_and_uses_each_row_once():
    plan = feed.plan_epoch(100, 10, 3)
    rows = [r for r, _ in feed._rows(100, plan, 0, 20, seed=0)]
    chunks = len(plan.chunk_lengths)
    first, second = np.concatenate(rows[:chunks]).ravel(), np.concatenate(rows[chunks:]).ravel()
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)


@functools.cache
def _sums():
    static, _ = _assembled()
    return jax.jit(functools.partial(evaluation.sums, assembly.make_network(static), static.loss))


@pytest.mark.parametrize("examples", [1, 5, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize("on_device", [True, False])
def test_evaluation_counts_every_example_once(examples, on_device, monkeypatch):
    monkeypatch.setattr(evaluation, "_BATCHES_AT_ONCE", 2)
    rng = np.random.default_rng(0)
    split = Split(rng.normal(size=(examples, 64)).astype(np.float32), rng.integers(0, 10, examples).astype(np.int32))
    weights = state.weights(_start())
    blocks = evaluation.blocks(split, MESH, on_device=on_device)
    result = evaluation.means(_sums(), weights, blocks, MESH, examples)
    assert list(result) == ["loss", "accuracy"]
    outputs = assembly.make_network(_assembled()[0]).apply(*weights, split.features)[0]
    for name, measure in losses.cross_entropy(outputs, split.targets).items():
        assert result[name] == pytest.approx(float(np.mean(measure)), rel=1e-5)


def _fit(run_chunk, rules=None, patience=3, evaluate=lambda weights: {"loss": 1.0, "accuracy": 0.5}):
    static, hyper = _assembled()
    hyper = hyper._replace(early_stopping={"patience": patience, "min_delta": 0.0})
    lines, saves = [], []
    rules = rules or RULES
    items = (feed.Chunk(Batch(None, None), np.zeros((2, 4)), True) for _ in range(rules.total_steps // 2))
    first = assembly.start(static, hyper, jax.random.key(0))
    result = loop.fit(
        first,
        assembly.progress_of(first.stopping, patience),
        items,
        parts=loop.Parts(run_chunk, evaluate, functools.partial(assembly.after_epoch, static, hyper)),
        rules=rules,
        sinks=loop.Sinks(lines.append, lambda *_: None, lambda s: saves.append(int(s.train.step)), lambda: False),
    )
    return result, lines, saves


def _fake_chunk(losses_of_step, finite=True):
    def run_chunk(before, chunk_):
        start = int(before.train.step)
        values = np.array([losses_of_step(start + i + 1) for i in range(2)], np.float32)
        metrics = chunk.ChunkMetrics(
            assembly.StepMetrics({"loss": values, "accuracy": np.zeros(2)}, np.zeros(2)), np.float32(0.1), finite
        )
        fields = vars(before.train) | {"step": before.train.step + 2}
        return before._replace(train=state.TrainState(**fields)), metrics, []

    return run_chunk


RULES = loop.Rules(2, 20, 2)


def test_early_stopping_ends_the_loop_after_patience_epochs():
    (last, _, status), _, saves = _fit(_fake_chunk(lambda s: 1.0))
    assert status == "stopped early"
    assert int(last.train.step) == 2 * 4, "the first check improves, three do not"
    assert saves == [4, 8]


def test_validation_that_is_never_finite_keeps_the_first_weights():
    never = {"loss": float("nan"), "accuracy": 0.0}
    (last, progress, _), _, _ = _fit(_fake_chunk(lambda s: 1.0), patience=0, evaluate=lambda weights: never)
    assert int(last.stopping.best_step) == progress.best_step == -1
    assert int(last.train.step) == 20


@pytest.mark.parametrize(
    ("run_chunk", "said"),
    [
        (_fake_chunk(lambda s: float("nan") if s == 5 else 1.0), r"loss is nan at step 5 \(epoch 3\)"),
        (_fake_chunk(lambda s: float("inf") if s == 8 else 1.0), r"loss is inf at step 8 \(epoch 4\)"),
        (_fake_chunk(lambda s: 1.0, finite=False), r"not finite at step 2 \(epoch 1\)"),
    ],
)
def test_divergence_names_the_step(run_chunk, said):
    with pytest.raises(DivergedError, match=said):
        _fit(run_chunk)


@pytest.mark.parametrize(
    ("part", "name", "call"),
    [
        ("optimizer", "learning_rate", lambda static, hyper: assembly.make_optimizer(static, hyper)),
        ("optimizer", "epsilon", lambda static, hyper: assembly.make_optimizer(static, hyper)),
        ("schedule", "warmup_steps", lambda static, hyper: assembly.make_optimizer(static, hyper)),
        ("early_stopping", "min_delta", lambda s, h: assembly.after_epoch(s, h, None, {"loss": jnp.ones(())})),
    ],
)
def test_a_number_that_is_missing_is_named(part, name, call):
    static, hyper = _assembled()
    numbers = {other: value for other, value in getattr(hyper, part).items() if other != name}
    with pytest.raises(ValueError, match=f"hyper.{part} lacks {name}; it has"):
        call(static, hyper._replace(**{part: numbers}))
