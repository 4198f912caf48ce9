"""Trainings that this project knows nothing of: what is found, what is not judged, and what is refused."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import ROOT
from tricks.data import Split
from tricks.diagnosis import diagnose, foreign_chance, foreign_inputs


def _run_example(name, capsys):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "finding"), [("diagnose_plain_jax", "saddle"), ("diagnose_equinox", "rate too small")]
)
def test_the_fault_of_an_example_is_found(name, finding, capsys):
    said = _run_example(name, capsys)
    assert said.splitlines()[1].startswith(finding)
    assert max(map(len, said.splitlines())) <= 80


def _line(count=200, noise=0.0, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5]) + noise * generator.normal(size=count)).astype(np.float32)
    return (x[: count // 2], y[: count // 2]), (x[count // 2 :], y[count // 2 :])


def _loss(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] - y) ** 2)


WELL = {"w": jnp.array([1.0, -2.0, 0.5])}


@pytest.fixture(scope="module")
def told():
    train, test = _line()
    calls = []

    def train_fn(*, seed=0, rate_factor=1.0):
        calls.append((seed, rate_factor))
        return (0.01, 0.02) if rate_factor == 10 else ((4.0, 4.2) if rate_factor <= 1 else (float("nan"), 1.0))

    found = diagnose(
        _loss,
        {"w": jnp.zeros(3)},
        train,
        test,
        history={"train_loss": [5.2, 5.1, 5.0], "validation_loss": [5.3, 5.2, 5.1]},
        initial_params={"w": jnp.zeros(3)},
        train_fn=train_fn,
    )
    return found, calls


def test_comparison_runs_are_those_that_the_function_has_keywords_for(told):
    found, calls = told
    assert calls == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (0, 0.1), (0, 0.01), (0, 10.0), (0, 100.0)]
    rows = {row["name"]: row for row in found.report["measurements"]["comparisons"]}
    assert rows["rate x 100"]["status"] == "diverged"
    assert found.findings[0]["name"] == "rate_too_small"
    assert found.findings[0]["prescription"][0]["overrides"] == {}


def test_what_is_measured_is_so(told):
    found, _ = told
    measured = found.report["measurements"]
    train, test = _line()
    assert measured["gaps"]["train"]["loss"] == pytest.approx(float(np.mean(train[1] ** 2)), rel=1e-4)
    assert measured["gaps"]["test"]["loss"] == pytest.approx(float(np.mean(test[1] ** 2)), rel=1e-4)
    assert measured["task"]["chance_loss"] == pytest.approx(float(np.var(train[1])), rel=1e-4)
    assert [row["epoch"] for row in measured["curves"]["epochs"]] == [1, 2, 3]
    exact = 2 * train[0].T.astype(np.float64) @ train[0] / len(train[0])
    assert measured["curvature"]["largest"] == pytest.approx(np.linalg.eigvalsh(exact)[-1], rel=0.3)


def test_it_is_written_and_printed(told, tmp_path):
    found, _ = told
    found.write(tmp_path / "new" / "folder")
    assert json.loads((tmp_path / "new" / "folder" / "report.json").read_text())["findings"] == found.findings
    assert "rate" in (tmp_path / "new" / "folder" / "report.html").read_text()
    assert "The learning rate is too small" in str(found)


def test_what_is_not_given_is_not_judged():
    train, _ = _line(noise=0.1)
    found = diagnose(_loss, WELL, train)
    said = " ".join(found.report["not_judged"])
    for argument in ("history", "initial_params", "test", "train_fn"):
        assert argument in said
    # Without examples that were not trained on nobody knows whether it is well.
    assert found.findings == []
    assert "Not enough evidence" in str(found)


def test_rows_and_columns_of_a_history_are_the_same():
    rows = [{"loss": np.float32(3.0), "val_loss": 4.0}, {"loss": jnp.array(2.0), "val_loss": None}]
    columns = {"train_loss": [3.0, 2.0], "validation_loss": np.array([4.0, np.nan])}
    expected = [{"train_loss": 3.0, "validation_loss": 4.0}, {"train_loss": 2.0}]
    assert foreign_inputs.rows_of_history(rows) == foreign_inputs.rows_of_history(columns) == expected


def _vector_loss(params, batch):
    return (batch[0] @ params["w"] - batch[1]) ** 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss_fn": _vector_loss}, "loss_fn gives an array of shape"),
        ({"loss_fn": lambda params, batch: 3}, "loss_fn gives an int"),
        ({"train": (np.ones((4, 3)), np.ones(5))}, "train has arrays of"),
        ({"train": (np.ones((0, 3)), np.ones(0))}, "train has arrays of"),
        ({"train": np.ones((4, 3))}, "train is a ndarray"),
        ({"test": "later"}, "test is a str"),
        ({"history": [1.0, 2.0]}, "history"),
        ({"history": "all"}, "history"),
        ({"history": {"train_loss": ["low"]}}, "history has 'low' as train_loss"),
        ({"chance_loss": -1.0}, "chance_loss is -1.0"),
        ({"params": {"name": "layer"}}, "params has no floating arrays"),
        ({"initial_params": {"v": jnp.ones(3)}}, "initial_params has another structure"),
        ({"apply": lambda params, x: (x, x)}, "apply gives a tuple"),
        ({"apply": lambda params, x: x[:2]}, "apply gives outputs of shape"),
        ({"loss_fn": lambda params, batch: float(_loss(params, batch))}, "loss_fn gives a float"),
        ({"loss_fn": lambda params, batch: params["missing"]}, "loss_fn cannot be called"),
        ({"train_fn": 3}, "train_fn is an int"),
        ({"train_fn": lambda seed: (1.0, 1.0)}, "train_fn needs seed"),
        ({"train_fn": lambda: 1.0}, "train_fn gives a float"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_line(change, said):
    train, test = _line(20)
    arguments = {"loss_fn": _loss, "params": WELL, "train": train, "test": test} | change
    with pytest.raises(ValueError, match=said) as raised:
        diagnose(**arguments)
    assert "\n" not in str(raised.value)


def test_a_loss_whose_closure_changes_is_seen_as_it_is():
    train, test = _line()
    shift = {"by": jnp.zeros(())}

    def loss_fn(params, batch):
        return _loss(params, batch) + shift["by"]

    first = diagnose(loss_fn, WELL, train, test).report["measurements"]["gaps"]["train"]["loss"]
    shift["by"] = jnp.ones(())
    found = diagnose(loss_fn, WELL, train, test).report["measurements"]
    assert found["gaps"]["train"]["loss"] == pytest.approx(first + 1, rel=1e-4)
    assert found["curvature"]["loss"] == pytest.approx(1, rel=1e-3)
    assert jax.tree.leaves(WELL)[0].shape == (3,)


def test_a_loss_that_is_not_finite_is_the_finding():
    train, test = _line()
    found = diagnose(lambda params, batch: _loss(params, batch) * jnp.nan, WELL, train, test)
    assert found.findings[0]["name"] == "non_finite"
    assert "not finite" in " ".join(found.report["not_judged"])
    (x, y), _ = train, test
    broken = (np.where(np.arange(len(x))[:, None] == 3, np.nan, x).astype(np.float32), y)
    found = diagnose(_loss, WELL, broken, test)
    assert found.findings[0]["name"] == "non_finite"
    assert found.report["measurements"]["features"]["non_finite"]


def test_one_comparison_that_fails_does_not_lose_the_others():
    train, test = _line()

    def train_fn(rate_factor=1.0):
        if rate_factor > 10:
            raise OverflowError("too large")
        return (0.01, 0.02) if rate_factor == 10 else (4.0, 4.2)

    found = diagnose(_loss, {"w": jnp.zeros(3)}, train, test, train_fn=train_fn)
    rows = {row["name"]: row for row in found.report["measurements"]["comparisons"]}
    assert rows["rate x 100"]["message"] == "too large"
    assert found.findings[0]["name"] == "rate_too_small"


def test_repeating_the_training_alone_compares_nothing():
    train, test = _line()
    found = diagnose(_loss, {"w": jnp.zeros(3)}, train, test, train_fn=lambda: (float("nan"), float("nan")))
    assert all(one["confidence"] <= 0.75 for one in found.findings)
    assert "healthy" not in [one["name"] for one in found.findings]


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        *(([-1, 1], 2), ([0, 3_000_000_000], 2), ([False, True], 2), ([5, 5], 1), ([2, 0, 1], 3)),
        *(([0.0, 1.0], 2), ([0.0, 2.0], None)),
    ],
)
def test_whole_numbers_of_any_size_are_classes(targets, classes):
    given = np.array(targets)[np.arange(60) % len(targets)]
    parts = {name: Split(np.zeros((30, 1)), part) for name, part in (("train", given[:30]), ("test", given[30:]))}
    found, count = foreign_inputs.with_classes(parts)
    assert count == classes
    if classes:
        assert np.array_equal(np.unique(given)[found["train"].targets], given[:30])


def test_a_single_class_is_judged_as_far_as_it_goes():
    (x, _), _ = _line(40)
    found = diagnose(lambda w, batch: jnp.mean(jax.nn.softplus(batch[0] @ w["w"])), WELL, (x, np.full(20, 5)))
    assert found.report["measurements"]["task"]["classes"] == 1


def test_amounts_that_are_whole_numbers_are_no_classes():
    (x, _), _ = _line(400)
    prices = np.round(1000 * (x @ np.array([1.0, -2.0, 0.5]))).astype(np.int32)
    found, classes = foreign_inputs.with_classes({"train": Split(x, prices)})
    assert classes is None
    assert found["train"].targets.dtype == np.float32


def test_any_pytree_of_parameters_is_taken():
    import equinox as eqx

    train, test = _line()
    module = eqx.nn.MLP(3, "scalar", 4, 1, key=jax.random.key(0))

    def loss_fn(model, batch):
        return jnp.mean((jax.vmap(model)(batch[0]) - batch[1]) ** 2)

    found = diagnose(loss_fn, module, train, test, initial_params=module)
    assert found.report["measurements"]["task"]["parameters"] == 3 * 4 + 4 + 4 + 1
    assert len(found.report["measurements"]["layers"]["initial"]["layers"]) == 2
    mixed = foreign_inputs.parameters_of({"w": WELL["w"], "step": jnp.array(3), "rate": 0.5, "name": "line"})
    assert [leaf.size for leaf in jax.tree.leaves(mixed.numbers)] == [1, 3]
    assert mixed.whole(jax.tree.map(lambda leaf: 2 * leaf, mixed.numbers))["rate"] == 1.0
    assert mixed.whole(mixed.numbers)["name"] == "line"


def _chance(loss_fn, targets, numbers=0.0, features=None):
    features = np.zeros((len(targets), 1), np.float32) if features is None else features
    given = Split(features, np.asarray(targets))
    known, classes = foreign_inputs.with_classes({"train": given})
    return foreign_chance.of(loss_fn, jnp.asarray(numbers), given, classes, known["train"].targets)


_HALVES = np.arange(40) % 2
_ENTROPY = float(np.log(2))


def _cross_entropy(sign):
    """Of two classes, with a logit that is right or wrong by so much."""

    def loss(scale, batch):
        return jnp.mean(jnp.logaddexp(0.0, -sign * scale * batch[0][:, 0] * (2 * batch[1] - 1)))

    return loss


def test_a_constant_answer_is_that_of_the_loss_that_fits():
    features = (2.0 * _HALVES[:, None] - 1).astype(np.float32)
    learned = _chance(_cross_entropy(1), _HALVES.astype(np.float32), 3.0, features)
    assert (learned.loss, learned.accuracy, learned.reason) == (pytest.approx(_ENTROPY), 0.5, "")
    squared = _chance(lambda w, batch: jnp.mean((w + 0 * batch[1] - batch[1]) ** 2), _HALVES.astype(np.float32), 0.5)
    assert squared.loss == pytest.approx(0.25)
    one_hot = np.eye(2, dtype=np.float32)[_HALVES]
    softmax = _chance(lambda w, batch: -jnp.mean(jnp.sum(batch[1] * jnp.log(0.5), axis=1)) + 0 * w, one_hot)
    assert softmax.loss == pytest.approx(_ENTROPY)


@pytest.mark.parametrize(
    ("loss_fn", "told"),
    [
        (lambda w, batch: jnp.mean(jnp.abs(w - batch[1])), "give chance_loss"),
        (lambda w, batch: -jnp.mean(batch[1]) + 0 * w, "below 0"),
        (lambda w, batch: jnp.nan * w, "not finite"),
    ],
)
def test_a_constant_answer_that_cannot_be_known_is_asked_for(loss_fn, told):
    found = _chance(loss_fn, np.linspace(10, 90, 40, dtype=np.float32), 50.0)
    assert found.loss is None
    assert told in found.reason


def test_a_sum_over_examples_is_refused():
    with pytest.raises(ValueError, match="it is a sum; give a mean loss"):
        _chance(lambda w, batch: jnp.sum((w - batch[1]) ** 2), np.linspace(0, 1, 40, dtype=np.float32))


def test_parts_of_other_shapes_are_refused():
    parts = {"train": Split(np.zeros((5, 3)), np.zeros(5)), "test": Split(np.zeros((5, 2)), np.zeros(5))}
    with pytest.raises(ValueError, match=r"test has examples of shapes \(2,\) and \(\); those of train have \(3,\)"):
        foreign_inputs.alike(parts)
