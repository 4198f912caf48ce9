"""Faults of the data and of the model beside it."""

from benchmarks.diagnosis.case import Plant
from benchmarks.diagnosis.overrides import mnist, own

_LINEAR = {"model.hidden_sizes": ()}
_WIDE = {"model.hidden_sizes": (256, 256)}


def _few(share: float, epochs: int) -> dict[str, object]:
    return {"data.train_fraction": share, "train.epochs": epochs, **_WIDE}


PLANTS = (
    Plant("digits-relu", "model_bias", "two units", {"model.hidden_sizes": (2,)}),
    Plant("mnist-relu", "model_bias", "three units", {"model.hidden_sizes": (3,)}),
    Plant("xor", "model_bias", "linear model", {**_LINEAR, "train.epochs": 30}, cheap=True),
    Plant("customers", "model_bias", "linear model", {**_LINEAR, "train.epochs": 30}),
    Plant("friedman", "model_bias", "one unit", {"model.hidden_sizes": (1,), "model.activation": "tanh"}),
    Plant("digits-gelu", "model_bias", "two units", {"model.hidden_sizes": (2,), "train.epochs": 40}),
    Plant("digits-relu", "overfitting", "few examples", _few(0.06, 80)),
    Plant("mnist-relu", "overfitting", "few examples", _few(0.02, 60)),
    Plant(
        "diabetes",
        "overfitting",
        "large and long",
        {"model.hidden_sizes": (128, 128), "optimizer.l2": 0.0, "train.epochs": 60},
        cheap=True,
    ),
    Plant("customers", "overfitting", "few examples", _few(0.06, 80)),
    Plant("friedman", "overfitting", "few examples", _few(0.04, 150)),
    Plant(
        "digits-relu-deep",
        "overfitting",
        "few examples, large and long",
        {**_few(0.06, 100), "model.activation": "tanh", "optimizer.l2": 0.0},
    ),
    Plant("digits-relu", "mismatch", "shifted features", own("digits", "shifted", 2.0), cheap=True),
    Plant("breast-cancer", "mismatch", "shifted features", own("breast_cancer", "shifted", 2.0)),
    Plant("convolutions", "mismatch", "rotated images", own("digits", "rotated", 0.8)),
    Plant("mnist-relu", "mismatch", "bright ground", mnist("inverted", 0.5)),
    Plant("digits-tanh-deep", "mismatch", "other class prior", own("digits", "prior", 0.97)),
    Plant("customers", "mismatch", "later years", {"data.name": "customers_moved.csv"}),
    Plant("customers", "mismatch", "other class prior", {"data.name": "customers_prior.csv"}),
    Plant("strided-convolutions", "mismatch", "rotated images", own("digits", "rotated", 0.8)),
    Plant("mnist-tanh", "mismatch", "bright ground", mnist("inverted", 0.5)),
    Plant("digits-relu", "label_noise", "of training", {"data.label_noise": 0.3}, cheap=True),
    Plant("convolutions", "label_noise", "of training", {"data.label_noise": 0.4}),
    Plant("breast-cancer", "label_noise", "in the file", own("breast_cancer", "label_noise", 0.25)),
    Plant("digits-gelu", "label_noise", "of training", {"data.label_noise": 0.25}),
    Plant("digits-relu-deep", "label_noise", "in the file", own("digits", "label_noise", 0.35)),
    Plant("customers", "label_noise", "in the file", {"data.name": "customers_wrong_labels.csv"}),
    Plant("digits-relu", "leakage", "into test and validation", own("digits", "leak_both", 0.5)),
    Plant("breast-cancer", "leakage", "into validation", own("breast_cancer", "leak_validation", 0.6), cheap=True),
    Plant("mnist-relu", "leakage", "into the test", mnist("leak_test", 0.4)),
    Plant("customers", "leakage", "into test and validation", {"data.name": "customers_copied.csv"}),
    Plant("digits-gelu", "leakage", "into validation", own("digits", "leak_validation", 0.5)),
    Plant("friedman", "leakage", "into the test", own("friedman", "leak_test", 0.5)),
    Plant("mnist-relu", "class_imbalance", "five rare classes", mnist("imbalance", 0.98)),
    Plant("breast-cancer", "class_imbalance", "one class of 97 %", own("risks", "imbalance", 0.97)),
    Plant("mnist-tanh", "class_imbalance", "five rare classes", mnist("imbalance", 0.985)),
    Plant("customers", "class_imbalance", "one class of 95 %", {"data.name": "customers_rare.csv"}),
)
