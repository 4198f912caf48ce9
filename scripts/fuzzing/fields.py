"""Values for every field of the config, as a person types them: some that run, some at the edge, some nonsense."""

import random
from typing import NamedTuple

_INTEGER = ("0", "-1", "1.5", "", "x", "nan", "1e3", "2147483648", "9223372036854775808", "-" + "9" * 40)
_NUMBER = ("nan", "inf", "-1", "-0.0", "", "fast", "1e-300", "1e300", "1" + "0" * 400, "1e-45")
_WORD = ("", " ", "none", "Adam", "ü", "a" * 300, "../x", "%s", "\x7f")
_SWITCH = ("maybe", "", "2", "None")


class Values(NamedTuple):
    """Values of one field. Those that run are cheap: a case must end within seconds."""

    fine: tuple[str, ...]
    hostile: tuple[str, ...]


FIELDS = {
    "seed": Values(("0", "7", "2147483647"), _INTEGER[1:]),
    "data.name": Values(("digits", "breast_cancer"), (*_WORD, "diabetes", "mnist", "digts", "emnist/letters")),
    "data.target": Values(("",), (*_WORD[1:], "a,b", ",")),
    "data.task": Values(("auto", "classes"), (*_WORD, "numbers")),
    "data.ignore": Values(("",), (*_WORD[1:], ",")),
    "data.missing": Values(("refuse", "mean"), _WORD),
    "data.normalization": Values(("feature", "channel", "none"), _WORD),
    "data.standardize_targets": Values(("true", "false"), _SWITCH),
    "data.split_column": Values(("",), _WORD[1:]),
    "data.group_column": Values(("",), _WORD[1:]),
    "data.stratify": Values(("auto", "yes", "no"), _WORD),
    "data.test_fraction": Values(("0.2", "0.5"), (*_NUMBER, "0", "1", "0.9999", "1e-9")),
    "data.label_noise": Values(("0", "0.2", "1"), (*_NUMBER, "1.1", "-0.1")),
    "data.train_fraction": Values(("1", "0.5"), (*_NUMBER, "0", "1.1", "1e-9")),
    "data.augment.shift": Values(("0", "1"), (*_NUMBER, "1e30")),
    "data.augment.rotation": Values(("0", "30"), (*_NUMBER, "1e30")),
    "data.augment.scale": Values(("0", "0.5", "0.9999999"), (*_NUMBER, "1")),
    "data.augment.cutout": Values(("0", "3"), (*_INTEGER[1:], "100")),
    "data.augment.noise": Values(("0", "0.3"), (*_NUMBER, "1e30")),
    "data.augment.feature_dropout": Values(("0", "0.5"), (*_NUMBER, "1")),
    "data.augment.mixup": Values(("0", "0.2"), (*_NUMBER, "1e30")),
    "data.augment.function": Values(("",), (*_WORD[1:], "nothing.py:f", "train.py:nothing", ":", "a:b")),
    "data.batch_size": Values(("32", "64"), (*_INTEGER, "1", "1294", "1295", "2147483647")),
    "data.validation_fraction": Values(("0.1", "0.5"), (*_NUMBER, "0", "1", "0.9999", "1e-9", "0.999")),
    "data.directory": Values(("", "elsewhere"), ("~nosuchuser/x", "gs://x/y", "/dev/null", "/proc", "a" * 300)),
    "data.placement": Values(("auto", "device", "host"), _WORD),
    "data.storage": Values(("memory",), (*_WORD, "disk")),
    "data.shuffle_window": Values(("65536",), (*_INTEGER, "1", "2147483647")),
    "model.build": Values(("perceptron",), (*_WORD, "nothing.py:f", "train.py:nothing", ":", "os:getcwd")),
    "model.hidden_sizes": Values(
        ("8", "4,4", "()", "1,1,1,1"),
        ("0", "-3", "8,", "a,b", "1.5", "", "(8", "[8]", "1" + "0" * 30 + ",1", "4000000000,1", "200000,200000", "8;9"),
    ),
    "model.activation": Values(("relu", "tanh", "sigmoid", "gelu", "linear"), _WORD),
    "model.batch_norm": Values(("true", "false"), _SWITCH),
    "model.batch_norm_momentum": Values(("0.9", "0", "0.99999999999"), (*_NUMBER, "1")),
    "model.dropout": Values(("0", "0.5", "0.9999999"), (*_NUMBER, "1")),
    "model.noise": Values(("0", "0.3"), (*_NUMBER, "1e30")),
    "model.input_noise": Values(("0", "1"), (*_NUMBER, "1e30")),
    "model.initializer": Values(("he", "glorot", "zeros", "identical"), _WORD),
    "loss.name": Values(("cross_entropy", "softmax_squared_error"), (*_WORD, "squared_error", "sigmoid")),
    "loss.outputs": Values(("0",), (*_INTEGER[1:], "3")),
    "optimizer.name": Values(("adam", "adamw", "lamb", "momentum", "rmsprop", "root_mean_square"), _WORD),
    "optimizer.learning_rate": Values(("0.01", "1e-30", "1e30", "1.2e-38", "3.4e38"), (*_NUMBER, "0")),
    "optimizer.momentum": Values(("0", "0.5", "0.99999999999"), (*_NUMBER, "1")),
    "optimizer.second_moment_decay": Values(("0", "0.9"), (*_NUMBER, "1")),
    "optimizer.epsilon": Values(("1e-8", "1", "1e30", "1.2e-38"), (*_NUMBER, "0")),
    "optimizer.nesterov": Values(("false", "true"), _SWITCH),
    "optimizer.weight_decay": Values(("0", "0.1", "1e30"), _NUMBER),
    "optimizer.l1": Values(("0", "1e-4", "1e30"), _NUMBER),
    "optimizer.l2": Values(("0", "1e-4", "1e30"), _NUMBER),
    "precision.compute": Values(("float32", "bfloat16"), (*_WORD, "float16", "float64", "bf16")),
    "schedule.shape": Values(("constant", "cosine", "linear", "inverse_time", "inverse_sqrt"), (*_WORD, "exponential")),
    "schedule.warmup_steps": Values(("0", "10"), (*_INTEGER, "80", "81", "2147483647")),
    "schedule.end_value": Values(("0", "1e-5"), (*_NUMBER, "1e-38", "1")),
    "train.epochs": Values(("1", "2", "3"), (*_INTEGER, "2147483647", "99999999")),
    "train.chunk_steps": Values(("1", "7", "1000", "2147483647"), _INTEGER),
    "early_stopping.metric": Values(("loss", "accuracy"), _WORD),
    "early_stopping.mode": Values(("auto", "min", "max"), _WORD),
    "early_stopping.patience": Values(("0", "1", "2147483647"), _INTEGER[1:]),
    "early_stopping.min_delta": Values(("0", "0.5", "1e29"), (*_NUMBER, "1e30")),
    "checkpoint.every_epochs": Values(("1", "2", "2147483647"), _INTEGER),
    "curvature.every_epochs": Values(("0", "2147483647"), _INTEGER[1:]),
    "curvature.examples": Values(("50", "2147483647"), _INTEGER),
    "diagnosis.every_epochs": Values(("0", "1", "2", "2147483647"), _INTEGER[1:]),
    "escape.enabled": Values(("false",), _SWITCH),
    "escape.window": Values(("10",), (*_INTEGER, "1", "1073741824", "1073741825")),
    "escape.min_improvement": Values(("0.5", "1e30"), _NUMBER),
    "escape.cooldown": Values(("0", "10"), (*_INTEGER[1:], "1073741825")),
    "escape.share": Values(("0", "1"), (*_NUMBER, "1.1")),
    "escape.examples": Values(("50",), (*_INTEGER, "2147483647")),
    "escape.statistics": Values(("running", "batch"), _WORD),
    "escape.max_products": Values(("3", "20"), (*_INTEGER, "2", "1073741825")),
    "escape.basis_size": Values(("5", "10"), (*_INTEGER, "4")),
    "escape.min_decrease": Values(("0", "0.5"), (*_NUMBER, "1")),
    "escape.noise": Values(("true", "false"), _SWITCH),
    "mesh.data": Values(("0", "1"), (*_INTEGER[1:], "2", "1000000")),
    "mesh.model": Values(("1",), (*_INTEGER, "2", "1000000")),
    "mesh.rule": Values(("",), (*_WORD[1:], "nothing.py:f", "train.py:nothing", ":", "a:b")),
}
# Groups that mean something together only, and whose programs are large, so that few cases have them.
TOGETHER = (
    ("--config.escape.enabled=true", "--config.escape.window=10", "--config.escape.min_improvement=1e30"),
    ("--config.curvature.every_epochs=1", "--config.curvature.examples=50"),
    ("--config.data.name=diabetes", "--config.loss.name=squared_error"),
    ("--config.data.name=breast_cancer", "--config.loss.name=sigmoid"),
    ("--config.schedule.shape=exponential", "--config.schedule.end_value=1e-5"),
    ("--config.optimizer.name=momentum", "--config.optimizer.learning_rate=1e30", "--noconfig.model.batch_norm"),
)


def draw(chance: random.Random, hostile: bool) -> tuple[str, ...]:
    """Flags for some fields.

    Args:
        chance: draws.
        hostile: whether one of them is at the edge or nonsense.

    Returns:
        Flags.
    """
    together = chance.choice(TOGETHER) if chance.random() < 0.2 else ()
    names = chance.sample(sorted(FIELDS), chance.choice((0, 1, 1, 2, 4)))
    flags = [f"--config.{name}={chance.choice(FIELDS[name].fine)}" for name in names]
    if hostile:
        name = chance.choice(sorted(FIELDS))
        flags.append(f"--config.{name}={chance.choice(FIELDS[name].hostile)}")
    return (*together, *flags)
