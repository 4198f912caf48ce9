"""The config refuses what it should, in one line that names the field."""

import dataclasses

import pytest

from tricks import config_checks
from tricks.config import Config, flatten, unflatten
from tricks.config_checks import validate
from tricks.errors import UserError

_STRENGTHS = ("shift", "rotation", "scale", "cutout", "noise", "feature_dropout", "mixup")


def _set(path: str, value) -> Config:
    changed = Config()
    *parents, name = path.split(".")
    target = changed
    for parent in parents:
        target = getattr(target, parent)
    setattr(target, name, value)
    return changed


def test_defaults_are_valid():
    validate(Config())


def test_numbers_that_runs_of_another_version_lack_are_what_they_were():
    """An older run has the default of a field that came later, so that another default would be another run."""
    numbers = {path: value for path, value in flatten(Config()).items() if not isinstance(value, str)}
    assert numbers == {
        "seed": 0,
        "data.test_fraction": 0.2,
        "data.train_fraction": 1.0,
        "data.label_noise": 0.0,
        "data.standardize_targets": True,
        **dict.fromkeys((f"data.augment.{name}" for name in _STRENGTHS), 0),
        "loss.outputs": 0,
        "data.batch_size": 32,
        "data.shuffle_window": 65536,
        "data.validation_fraction": 0.1,
        "model.hidden_sizes": (128, 128),
        "model.batch_norm": True,
        "model.batch_norm_momentum": 0.9,
        "model.dropout": 0.0,
        "model.noise": 0.0,
        "model.input_noise": 0.0,
        "optimizer.learning_rate": 1e-3,
        "optimizer.momentum": 0.9,
        "optimizer.second_moment_decay": 0.999,
        "optimizer.epsilon": 1e-8,
        "optimizer.nesterov": False,
        "optimizer.weight_decay": 0.01,
        "optimizer.l1": 0.0,
        "optimizer.l2": 0.0,
        "schedule.warmup_steps": 0,
        "schedule.end_value": 0.0,
        "train.epochs": 20,
        "train.chunk_steps": 100,
        "early_stopping.patience": 0,
        "early_stopping.min_delta": 0.0,
        "checkpoint.every_epochs": 1,
        "curvature.every_epochs": 0,
        "curvature.examples": 1000,
        "diagnosis.every_epochs": 0,
        "escape.enabled": False,
        "escape.window": 100,
        "escape.min_improvement": 0.01,
        "escape.cooldown": 100,
        "escape.share": 0.05,
        "escape.examples": 1000,
        "escape.max_products": 120,
        "escape.basis_size": 40,
        "escape.min_decrease": 0.01,
        "escape.noise": False,
        "mesh.data": 0,
        "mesh.model": 1,
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", -1),
        ("optimizer.second_moment_decay", 0.99999999),
        ("data.batch_size", 0),
        ("data.validation_fraction", 0.0),
        ("data.validation_fraction", 1.0),
        ("data.placement", "gpu"),
        ("data.storage", "tape"),
        ("data.shuffle_window", 0),
        ("data.name", ""),
        ("model.hidden_sizes", (64, 0)),
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("model.dropout", float("nan")),
        ("model.batch_norm_momentum", 1.0),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", -1e-3),
        ("optimizer.learning_rate", float("inf")),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.momentum", 1.0),
        ("optimizer.second_moment_decay", 1.5),
        ("optimizer.epsilon", 0.0),
        ("optimizer.l1", -1.0),
        ("optimizer.l2", float("inf")),
        ("schedule.warmup_steps", -1),
        ("schedule.end_value", 1.0),
        ("train.epochs", 0),
        ("data.test_fraction", 0.0),
        ("data.test_fraction", 1.0),
        ("data.train_fraction", 0.0),
        ("data.label_noise", -0.1),
        ("data.label_noise", 1.1),
        ("data.train_fraction", 1.1),
        ("data.augment.shift", -1.0),
        ("data.augment.scale", 1.0),
        ("data.augment.cutout", -1),
        ("data.augment.feature_dropout", 1.0),
        ("data.augment.mixup", float("nan")),
        ("loss.outputs", -1),
        ("train.chunk_steps", 0),
        ("early_stopping.patience", -1),
        ("early_stopping.min_delta", -0.1),
        ("early_stopping.min_delta", 1e39),
        ("checkpoint.every_epochs", 0),
        ("escape.window", 0),
        ("escape.min_improvement", -0.1),
        ("escape.cooldown", -1),
        ("escape.share", 1.1),
        ("escape.examples", 0),
        ("escape.statistics", "both"),
        ("escape.max_products", 2),
        ("escape.basis_size", 4),
        ("escape.min_decrease", 1.0),
        ("mesh.data", -1),
        ("mesh.model", 0),
    ],
)
def test_out_of_range_is_refused_by_name(path, value):
    with pytest.raises(UserError, match=rf"^{path.replace('.', '[.]')} is .*allowed: ") as caught:
        validate(_set(path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1.5),
        ("seed", True),
        ("model.hidden_sizes", (64, 1.5)),
        ("model.hidden_sizes", [64]),
        ("model.hidden_sizes", ("a",)),
        ("model.batch_norm", 1),
        ("optimizer.learning_rate", "1e-3"),
        ("data.name", 3),
    ],
)
def test_wrong_type_is_refused_by_name(path, value):
    with pytest.raises(UserError, match=rf"^{path} is .*must be of type"):
        validate(_set(path, value))


@pytest.mark.parametrize("path", ["seed", "optimizer.learning_rate"])
def test_a_number_that_python_does_not_write_is_refused_in_words(path):
    with pytest.raises(UserError, match=rf"^{path} is an integer of thousands of digits; allowed: "):
        validate(_set(path, 10**5000))


def test_unknown_field_set_in_a_file_is_refused():
    with pytest.raises(UserError, match=r"optimizer\.lr is no field"):
        validate(_set("optimizer.lr", 0.1))


def test_section_replaced_by_a_value_is_refused():
    with pytest.raises(UserError, match="model is 3"):
        validate(_set("model", 3))


def test_not_a_config_is_refused():
    with pytest.raises(UserError, match="returned dict"):
        validate({"seed": 0})


def test_exponential_decay_to_zero_is_refused():
    with pytest.raises(UserError, match=r"schedule\.end_value"):
        validate(_set("schedule.shape", "exponential"))


def test_batch_of_one_with_batch_normalization_is_refused():
    changed = _set("data.batch_size", 1)
    with pytest.raises(UserError, match=r"data\.batch_size is 1"):
        validate(changed)
    changed.model.batch_norm = False
    validate(changed)


def test_every_field_has_a_check():
    free = {
        "model.batch_norm",
        "data.standardize_targets",
        "optimizer.nesterov",
        "data.directory",
        "escape.enabled",
        "escape.noise",
    }
    # Names that the library has are checked by the library: tests/test_configured.py.
    named = {"model.activation", "model.initializer", "loss.name", "optimizer.name", "schedule.shape"}
    named |= {"early_stopping.metric", "model.build", "data.augment.function", "mesh.rule"}
    # Columns are looked for in the file.
    named |= {f"data.{name}" for name in ("target", "ignore", "split_column", "group_column")}
    assert set(flatten(Config())) == {*config_checks._RANGES, *config_checks._CHOICES, *free, *named}


def test_promised_fields_exist():
    promised = [
        "seed",
        "data.name",
        "data.batch_size",
        "data.validation_fraction",
        "model.hidden_sizes",
        "model.activation",
        "model.batch_norm",
        "model.dropout",
        "model.initializer",
        "loss.name",
        "optimizer.name",
        "optimizer.learning_rate",
        "optimizer.l1",
        "optimizer.l2",
        "schedule.shape",
        "schedule.warmup_steps",
        "train.epochs",
        "early_stopping.patience",
        "early_stopping.min_delta",
        "checkpoint.every_epochs",
    ]
    assert set(promised) <= set(flatten(Config()))


def test_integers_count_as_numbers():
    validate(_set("optimizer.learning_rate", 1))
    assert dataclasses.is_dataclass(Config)


def test_options_of_a_persons_own_are_fields():
    config = Config()
    config.model.options = {"width": 64, "sizes": (3, 3), "kind": None}
    validate(config)
    fields = flatten(config)
    assert fields["model.options.width"] == 64
    assert unflatten({**fields, "model.options.sizes": [3, 3]}) == config
    for value in ({3: 1}, ["width"], None):
        with pytest.raises(UserError, match=r"^model\.options is .*it must be a dict of options by name"):
            validate(_set("model.options", value))
    with pytest.raises(UserError, match=r"^model\.options\.width is .*it must be of type bool, int, float, str, tuple"):
        validate(_set("model.options", {"width": [1, 2]}))
