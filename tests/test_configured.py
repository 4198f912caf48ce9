"""What a config's names and fields come to, and what is refused because the chosen parts do not have it."""

import contextlib
import dataclasses

import numpy as np
import pytest

from tricks import losses, models, schedules
from tricks.config import Config, OptimizerConfig
from tricks.config_checks import validate
from tricks.data import Dataset, Split
from tricks.errors import UserError
from tricks.training import configured, feed, optimizer

_SPLIT = Split(np.zeros((64, 5), np.float32), np.zeros(64, np.int32))
DATA = Dataset("planted", 3, _SPLIT, _SPLIT, _SPLIT, np.zeros(5), np.ones(5))


def _config(**fields):
    changed = Config()
    for path, value in fields.items():
        section, name = path.split("__")
        setattr(getattr(changed, section), name, value)
    return changed


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model__activation", "swish", "model.activation is 'swish'; allowed: relu, "),
        ("model__initializer", "ones", "model.initializer is 'ones'; allowed: he, "),
        ("loss__name", "hinge", "loss.name is 'hinge'; allowed: cross_entropy, "),
        ("optimizer__name", "sgd", "optimizer.name is 'sgd'; allowed: momentum, "),
        ("schedule__shape", "square", "schedule.shape is 'square'; allowed: constant, "),
        (
            "early_stopping__metric",
            "speed",
            "early_stopping.metric is 'speed'; with loss.name=",
        ),
    ],
)
def test_names_that_nothing_has_are_refused_with_those_that_there_are(field, value, said):
    with pytest.raises(UserError, match=f"^{said}"):
        configured.check(_config(**{field: value}))


def test_names_of_the_library_are_all_taken():
    for section, name, values in (
        ("model", "activation", models.ACTIVATIONS),
        ("model", "initializer", models.INITIALIZERS),
        ("loss", "name", losses.LOSSES),
        ("optimizer", "name", optimizer.FAMILIES),
        ("schedule", "shape", schedules.SHAPES),
    ):
        for value in values:
            config = _config(**{f"{section}__{name}": value, "schedule__end_value": 1e-4})
            validate(config)
            configured.check(config)


def test_a_regression_has_no_accuracy_to_stop_by():
    with pytest.raises(UserError, match=r"early_stopping\.metric is 'accuracy'; with loss\.name=squared_error"):
        configured.check(_config(loss__name="squared_error", early_stopping__metric="accuracy"))


_EVERYWHERE = {"name", "learning_rate", "l1", "l2"}
_DEFAULTS = {
    field.name: field.default for field in dataclasses.fields(OptimizerConfig) if field.name not in _EVERYWHERE
}


def _other(field):
    """A value of a family's field that is allowed and not the default."""
    if isinstance(_DEFAULTS[field], bool):
        return not _DEFAULTS[field]
    for value in (0.5, 0.25, 1, 2):
        with contextlib.suppress(UserError):
            validate(_config(**{f"optimizer__{field}": value}))
            if value != _DEFAULTS[field]:
                return value
    raise AssertionError(f"add a value that optimizer.{field} may have to _other of tests/test_configured.py")


def test_every_field_of_the_optimizer_belongs_to_a_family_or_to_all():
    owned = {field for family in optimizer.FAMILIES.values() for field in family.arguments}
    missing, idle = owned - set(_DEFAULTS), set(_DEFAULTS) - owned
    assert not missing, f"add {missing} to OptimizerConfig of tricks/config.py"
    assert not idle, f"name {idle} among the arguments of a family in FAMILIES of tricks/training/optimizer.py"


@pytest.mark.parametrize("name", optimizer.FAMILIES)
def test_a_field_that_the_family_does_not_have_is_refused_unless_it_is_at_its_default(name):
    for field in _DEFAULTS:
        value = _other(field)
        config = _config(optimizer__name=name, **{f"optimizer__{field}": value})
        if field in optimizer.FAMILIES[name].arguments:
            configured.check(config)
        else:
            with pytest.raises(UserError, match=rf"^optimizer\.{field} is {value}, which {name} does not use, only "):
                configured.check(config)


@pytest.mark.parametrize("name", optimizer.FAMILIES)
def test_every_field_of_a_family_reaches_its_optimizer(name):
    for field in optimizer.FAMILIES[name].arguments:
        numbers = [
            configured.assemble(_config(optimizer__name=name, **fields), DATA, feed.make_mesh(), 10)
            for fields in ({}, {f"optimizer__{field}": _other(field)})
        ]
        (static, hyper), (other_static, other_hyper) = numbers
        if isinstance(_DEFAULTS[field], bool):
            assert static != other_static
            assert hyper == other_hyper
        else:
            assert static == other_static
            assert other_hyper.optimizer[field] == _other(field) != hyper.optimizer[field]


def test_what_is_off_is_not_in_the_program_and_what_is_on_is_a_number():
    mesh = feed.make_mesh()
    static, hyper = configured.assemble(Config(), DATA, mesh, 10)
    assert not {"dropout", "noise", "input_noise"} & set(hyper.model)
    assert not {"l1", "l2"} & set(hyper.optimizer)
    fields = {
        "model__dropout": 0.3,
        "model__noise": 0.2,
        "model__input_noise": 1.0,
        "optimizer__l1": 1e-4,
        "optimizer__l2": 1e-3,
    }
    _, on = configured.assemble(_config(**fields), DATA, mesh, 10)
    assert [on.model[name] for name in ("dropout", "noise", "input_noise")] == [0.3, 0.2, 1.0]
    assert (on.optimizer["l1"], on.optimizer["l2"]) == (1e-4, 1e-3)
    others = {"optimizer__learning_rate": 0.5, "model__batch_norm_momentum": 0.5, "schedule__warmup_steps": 3}
    same, _ = configured.assemble(_config(**others), DATA, mesh, 20)
    assert same == static
    assert hash(same) == hash(static)


def test_the_loss_says_how_many_outputs_the_network_has():
    for name, outputs in (("cross_entropy", 3), ("softmax_squared_error", 3)):
        static, _ = configured.assemble(_config(loss__name=name), DATA, feed.make_mesh(), 10)
        assert static.outputs == outputs
    with pytest.raises(UserError, match=r"^loss\.name is 'sigmoid'; it takes 2 classes, and"):
        configured.assemble(_config(loss__name="sigmoid"), DATA, feed.make_mesh(), 10)


def test_numbers_that_do_not_go_together_are_named():
    with pytest.raises(UserError, match=r"schedule\.warmup_steps is 12; the run has 2 steps"):
        configured.plan_epoch(_config(schedule__warmup_steps=12, train__epochs=1), DATA, feed.make_mesh())
