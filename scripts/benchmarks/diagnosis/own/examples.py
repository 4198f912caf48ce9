"""Data of the corpus: sets whose parts are known, and the faults that lie in data.

`load` is what `data.name = "examples.py:load"` calls; `data.split_column` is "part".
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tricks import data

PARTS = np.array(["train", "validation", "test"])


class Examples(NamedTuple):
    """Arrays of one length."""

    features: np.ndarray
    targets: np.ndarray
    part: np.ndarray
    """Place in `PARTS`."""


def load(source: str = "digits", fault: str = "none", amount: float = 0.5) -> dict[str, np.ndarray]:
    """The examples of a source with a fault of an amount in them."""
    examples = with_fault(SOURCES[source](), fault, amount)
    return {"features": examples.features, "targets": examples.targets, "part": PARTS[examples.part]}


def with_fault(examples: Examples, fault: str, amount: float) -> Examples:
    """The examples with one of `FAULTS` in them, always the same."""
    return FAULTS[fault](examples, amount, np.random.default_rng(1))


def named(name: str, train: int | None = None, held: int | None = None) -> Examples:
    """A set by its name, of each part so many examples."""
    loaded = data.load(name, normalization="none", standardize_targets=False, validation_fraction=0.15)
    sizes = (train, held, held)
    splits = [
        data.Split(split.features[:size], split.targets[:size])
        for split, size in zip((loaded.train, loaded.validation, loaded.test), sizes, strict=True)
    ]
    part = np.repeat(np.arange(3), [len(split.targets) for split in splits])
    return Examples(
        np.concatenate([split.features for split in splits]), np.concatenate([split.targets for split in splits]), part
    )


def _drawn(features: np.ndarray, targets: np.ndarray) -> Examples:
    """Three fifths for training, a fifth each for validation and test."""
    part = np.array([0, 0, 0, 1, 2])[np.arange(len(targets)) % 5]
    return Examples(features.astype(np.float32), targets, part)


def _friedman() -> Examples:
    """Friedman 1991: 10 features of which 5 matter, noise of deviation 1 on a target of deviation 5."""
    rng = np.random.default_rng(5)
    x = rng.uniform(size=(4000, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return _drawn(x, (y + rng.normal(size=len(y))).astype(np.float32))


def _risks() -> Examples:
    """Two overlapping classes, the second where a sum of squares is large: 12 features of scale 1."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(6000, 12))
    score = (x[:, :4] ** 2).sum(axis=1) + 0.5 * x[:, 4] + 0.5 * rng.normal(size=len(x))
    return _drawn(x, (score > 3.5).astype(np.int64))


def _xor() -> Examples:
    rng = np.random.default_rng(7)
    corners = rng.integers(0, 2, (1000, 2))
    x = 2.0 * corners - 1 + 0.25 * rng.normal(size=corners.shape)
    return _drawn(x, corners[:, 0] ^ corners[:, 1])


def _rings() -> Examples:
    rng = np.random.default_rng(8)
    targets = rng.integers(0, 2, 1200)
    radius = np.where(targets == 1, 2.0, 0.7) + 0.15 * rng.normal(size=len(targets))
    angle = rng.uniform(0, 2 * np.pi, len(targets))
    return _drawn(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), targets)


def _waves() -> Examples:
    rng = np.random.default_rng(9)
    x = rng.uniform(-3, 3, (1200, 1))
    return _drawn(x, (np.sin(5 * x[:, 0] + 0.5) + 0.05 * rng.normal(size=len(x))).astype(np.float32))


def _bumps() -> Examples:
    """A high bump and a low one far from it."""
    rng = np.random.default_rng(10)
    x = rng.uniform(-6, 6, (1200, 2))
    bump = lambda at: np.exp(-((x - np.array(at)) ** 2).sum(axis=1) / 2)  # noqa: E731
    y = 3 * bump((3.5, 3.5)) + 0.8 * bump((-3.5, -3.5)) + 0.02 * rng.normal(size=len(x))
    return _drawn(x, y.astype(np.float32))


SOURCES: dict[str, Callable[[], Examples]] = {
    "digits": lambda: named("digits"),
    "breast_cancer": lambda: named("breast_cancer"),
    "diabetes": lambda: named("diabetes"),
    "friedman": _friedman,
    "risks": _risks,
    "xor": _xor,
    "rings": _rings,
    "waves": _waves,
    "bumps": _bumps,
}


def _shifted(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
    """A third of the features of the test part are moved by so many standard deviations."""
    x, test = examples.features.astype(np.float32), examples.part == 2
    size = x[0].size
    chosen = rng.permutation(size)[: max(size // 3, 1)]
    flat = x.reshape(len(x), -1).copy()
    flat[np.ix_(test, chosen)] += amount * flat[~test][:, chosen].std(axis=0)
    return examples._replace(features=flat.reshape(x.shape))


def _rotated(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
    """A share of the images of the test part stand on their side."""
    x = examples.features.copy()
    test = np.flatnonzero(examples.part == 2)
    turned = test[rng.random(len(test)) < amount]
    x[turned] = np.rot90(x[turned], axes=(1, 2))
    return examples._replace(features=x)


def _inverted(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
    """Images of the test part have a brighter ground: x <- (1 - amount) x + amount * largest."""
    x, test = examples.features.astype(np.float32), examples.part == 2
    moved = np.where(test.reshape(-1, *[1] * (x.ndim - 1)), (1 - amount) * x + amount * x.max(), x)
    return examples._replace(features=moved.astype(np.float32))


def _prior(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
    """The upper half of the classes is left in the training and validation parts to 1 - amount; the test has more of
    it than of the others."""
    upper = examples.targets > np.median(np.unique(examples.targets))
    keep = np.where(
        examples.part == 2, upper | (rng.random(len(upper)) > amount), ~upper | (rng.random(len(upper)) > amount)
    )
    return Examples(*(array[keep] for array in examples))


def _label_noise(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
    """A share of all examples has another class, or the target of another example."""
    chosen = rng.random(len(examples.targets)) < amount
    targets = examples.targets.copy()
    if np.issubdtype(targets.dtype, np.integer):
        classes = int(targets.max()) + 1
        targets[chosen] = (targets[chosen] + rng.integers(1, classes, chosen.sum())) % classes
    else:
        targets[chosen] = rng.permutation(targets[chosen])
    return examples._replace(targets=targets)


def _leak(into: tuple[int, ...]) -> Callable[[Examples, float, np.random.Generator], Examples]:
    def leaked(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
        """A share of each of these parts is replaced by copies of training examples."""
        x, y = examples.features.copy(), examples.targets.copy()
        train = np.flatnonzero(examples.part == 0)
        for part in into:
            rows = np.flatnonzero(examples.part == part)
            rows = rows[rng.random(len(rows)) < amount]
            of = rng.choice(train, len(rows))
            x[rows], y[rows] = x[of], y[of]
        return Examples(x, y, examples.part)

    return leaked


def _imbalance(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
    """All classes of the upper half are left to 1 - amount, in every part."""
    upper = examples.targets > np.median(np.unique(examples.targets))
    keep = ~upper | (rng.random(len(upper)) > amount)
    return Examples(*(array[keep] for array in examples))


def _scales(examples: Examples, amount: float, rng: np.random.Generator) -> Examples:
    """Features are in units of 10^-amount to 10^amount, and off by some units."""
    x = examples.features.astype(np.float32)
    units = 10 ** rng.uniform(-amount, amount, x.shape[1:])
    return examples._replace(features=((x + rng.uniform(0, 3, x.shape[1:])) * units).astype(np.float32))


FAULTS: dict[str, Callable[[Examples, float, np.random.Generator], Examples]] = {
    "none": lambda examples, amount, rng: examples,
    "shifted": _shifted,
    "rotated": _rotated,
    "inverted": _inverted,
    "prior": _prior,
    "label_noise": _label_noise,
    "leak_test": _leak((2,)),
    "leak_validation": _leak((1,)),
    "leak_both": _leak((1, 2)),
    "imbalance": _imbalance,
    "scales": _scales,
}
