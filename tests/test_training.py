"""Step, chunk, feed and evaluation: the pieces of the loop."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tricks import losses, models, transforms
from tricks.data import Split, load
from tricks.errors import DivergedError, UserError
from tricks.losses import Batch
from tricks.training import evaluation, feed, loop, state, step


def _pieces(batch_norm=True, dropout=0.3, tx=None):
    apply, params, model_state = models.build(
        input_size=64, output_size=10, hidden_sizes=(16,), batch_norm=batch_norm, dropout=dropout, key=jax.random.key(0)
    )
    tx = tx or transforms.adam(1e-2)
    train_step = step.make_train_step(losses.mean_loss(apply, losses.cross_entropy), tx)
    return apply, state.create(params, model_state, tx, jax.random.key(1)), train_step


def _digits(count=300):
    data = load("digits").train
    return Split(data.features[:count], data.targets[:count])


def _copy(tree):
    return jax.tree.map(jnp.copy, tree)


def _run_epoch(split, plan, mesh, on_device=True, first_step=0, start=None, epochs=1):
    _, train, train_step = _pieces()
    train = jax.device_put(start or train, NamedSharding(mesh, PartitionSpec()))
    chunk = step.make_train_chunk(train_step, NamedSharding(mesh, PartitionSpec("data")))
    metrics = []
    last = plan.steps_per_epoch * epochs
    for item in feed.chunks(split, plan, first_step=first_step, last_step=last, seed=5, mesh=mesh, on_device=on_device):
        train, m = chunk(train, item.examples, item.indices)
        metrics.append(jax.device_get(m))
    return train, metrics


def test_chunk_is_the_same_steps_one_by_one():
    split, mesh = _digits(), feed.make_mesh()
    plan = feed.plan_epoch(300, 32, 4)
    train, metrics = _run_epoch(split, plan, mesh)
    _, by_hand, train_step = _pieces()
    jitted = jax.jit(train_step)
    order = np.random.default_rng((5, 0)).permutation(300)
    norms = []
    for i in range(plan.steps_per_epoch):
        rows = order[i * 32 : (i + 1) * 32]
        by_hand, m = jitted(by_hand, Batch(split.features[rows], split.targets[rows]))
        norms.append(float(m.gradient_norm))
    assert int(train.step) == 9
    chex.assert_trees_all_close(train.params, by_hand.params, rtol=1e-4, atol=1e-6)
    ends = np.cumsum(plan.chunk_lengths) - 1
    np.testing.assert_allclose([m.steps.gradient_norm[-1] for m in metrics], [norms[e] for e in ends], rtol=1e-4)


def test_gradient_norm_is_that_of_the_gradient():
    apply, train, train_step = _pieces(dropout=0.0)
    split = _digits(32)
    loss_fn = losses.mean_loss(apply, losses.cross_entropy)
    gradient = jax.grad(lambda p: loss_fn(p, train.model_state, Batch(*split), jax.random.key(0))[0])(train.params)
    _, metrics = train_step(train, Batch(*split))
    expected = np.sqrt(sum(np.square(np.asarray(g, np.float64)).sum() for g in jax.tree.leaves(gradient)))
    assert float(metrics.gradient_norm) == pytest.approx(expected, rel=1e-5)
    assert float(train_step(train, Batch(*split), False)[1].gradient_norm) == 0


def test_chunk_lengths_do_not_change_the_result():
    split, mesh = _digits(), feed.make_mesh()
    results = [_run_epoch(split, feed.plan_epoch(300, 32, n), mesh)[0].params for n in (1, 2, 100)]
    for other in results[1:]:
        chex.assert_trees_all_equal(results[0], other)


def test_streaming_from_the_host_changes_nothing():
    split, mesh = _digits(), feed.make_mesh()
    plan = feed.plan_epoch(300, 32, 4)
    a, _ = _run_epoch(split, plan, mesh, on_device=True, epochs=2)
    b, _ = _run_epoch(split, plan, mesh, on_device=False, epochs=2)
    chex.assert_trees_all_equal(a, b)


def test_a_step_depends_on_its_number_and_not_on_what_came_before():
    split, mesh = _digits(), feed.make_mesh()
    plan = feed.plan_epoch(300, 32, 3)
    whole, _ = _run_epoch(split, plan, mesh, epochs=2)
    half, _ = _run_epoch(split, feed.Plan(32, plan.chunk_lengths), mesh, epochs=1)
    rest, _ = _run_epoch(split, plan, mesh, first_step=plan.steps_per_epoch, start=half, epochs=2)
    chex.assert_trees_all_equal(whole, rest)


def test_each_step_draws_its_own_dropout_mask_from_its_number():
    _, train, train_step = _pieces(tx=transforms.momentum(0.0))
    batch = Batch(*_digits(32))
    again, first = train_step(train, batch)
    _, second = train_step(again, batch)
    assert float(first.loss) != float(second.loss), "nothing but the mask differs"
    _, repeated = train_step(train, batch)
    assert float(first.loss) == float(repeated.loss)


def test_donation_leaves_the_copy_of_the_best_weights_alone():
    split, mesh = _digits(), feed.make_mesh()
    _, train, train_step = _pieces()
    train = jax.device_put(train, NamedSharding(mesh, PartitionSpec()))
    best = jax.jit(step.copy_weights)(train)
    before = jax.tree.map(np.array, best)
    chunk = step.make_train_chunk(train_step, NamedSharding(mesh, PartitionSpec("data")))
    kernel = train.params["linear_0"]["kernel"]
    indices = jnp.arange(32, dtype=jnp.int32).reshape(1, 32)
    chunk(train, jax.device_put(Batch(*split), NamedSharding(mesh, PartitionSpec())), indices)
    assert kernel.is_deleted(), "the state is donated"
    chex.assert_trees_all_equal(before, best)


@pytest.mark.parametrize(
    ("examples", "batch", "chunk_steps"), [(1294, 32, 100), (1294, 32, 7), (1000, 1, 30), (421 * 8, 8, 100), (5, 5, 9)]
)
def test_plan_covers_every_full_batch_in_at_most_two_lengths(examples, batch, chunk_steps):
    plan = feed.plan_epoch(examples, batch, chunk_steps)
    assert plan.steps_per_epoch == examples // batch
    assert max(plan.chunk_lengths) <= chunk_steps
    assert max(plan.chunk_lengths) - min(plan.chunk_lengths) <= 1


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


@pytest.mark.parametrize("examples", [1, 5, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize("on_device", [True, False])
def test_evaluation_counts_every_example_once(examples, on_device, monkeypatch):
    monkeypatch.setattr(evaluation, "_BATCHES_AT_ONCE", 2)
    rng = np.random.default_rng(0)
    split = Split(rng.normal(size=(examples, 64)).astype(np.float32), rng.integers(0, 10, examples).astype(np.int32))
    apply, train, _ = _pieces()
    evaluate = evaluation.make_evaluate(apply, losses.cross_entropy, split, feed.make_mesh(), on_device=on_device)
    result = evaluate(state.Weights(train.params, train.model_state))
    outputs = apply(train.params, train.model_state, split.features)[0]
    loss, accuracy = losses.cross_entropy(outputs, split.targets)
    assert result.loss == pytest.approx(float(np.mean(loss)), rel=1e-5)
    assert result.accuracy == pytest.approx(float(np.mean(accuracy)), rel=1e-5)


def _fit(run_chunk, rules, evaluate=lambda weights: evaluation.Evaluation(1.0, 0.5)):
    tx = optax.chain(transforms.scale_by_learning_rate(0.1))
    train = state.create({"w": jnp.ones(1)}, {}, tx, jax.random.key(0))
    lines, saves = [], []
    items = (feed.Chunk(Batch(None, None), np.zeros((2, 4)), True) for _ in range(rules.total_steps // 2))
    result = loop.fit(
        loop.initial(train),
        items,
        run_chunk=run_chunk,
        evaluate=evaluate,
        rules=rules,
        inspect=lambda step, weights: None,
        record=lines.append,
        save=lambda s: saves.append(int(s.train.step)),
        interrupted=lambda: False,
    )
    return result, lines, saves


def _fake_chunk(losses_of_step, finite=True):
    def run_chunk(train, chunk):
        start = int(train.step)
        values = jnp.array([losses_of_step(start + i + 1) for i in range(2)], jnp.float32)
        metrics = step.ChunkMetrics(
            step.StepMetrics(values, values * 0, values * 0), jnp.float32(0.1), jnp.bool_(finite)
        )
        return state.TrainState(train.step + 2, *(getattr(train, f) for f in list(vars(train))[1:])), metrics

    return run_chunk


RULES = loop.Rules(2, 20, "loss", 3, 0.0, 2)


def test_early_stopping_ends_the_loop_after_patience_epochs():
    (last, status), _, saves = _fit(_fake_chunk(lambda s: 1.0), RULES)
    assert status == "stopped early"
    assert int(last.train.step) == 2 * 4, "the first check improves, three do not"
    assert saves == [4, 8]


def test_validation_that_is_never_finite_keeps_the_first_weights():
    (last, _), _, _ = _fit(
        _fake_chunk(lambda s: 1.0), RULES._replace(patience=0), lambda w: evaluation.Evaluation(float("nan"), 0.0)
    )
    assert int(last.stopping.best_step) == -1
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
        _fit(run_chunk, RULES)
