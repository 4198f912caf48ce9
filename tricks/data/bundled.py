"""Real data sets that scikit-learn carries: no download."""

import importlib.util
from pathlib import Path

import numpy as np

from tricks.data.raw import Raw

_CLASSES = {"digits": 10, "breast_cancer": 2, "diabetes": None}
NAMES = tuple(_CLASSES)


def read(name: str) -> Raw:
    """Reads one of `NAMES`: digits (1,797 images of 8x8, 10 classes), breast_cancer (569, 2), diabetes (442, numbers).

    Args:
        name: of the set.

    Returns:
        All its examples, in the units of the files: what `load_digits`, `load_breast_cancer` and
        `load_diabetes(scaled=False)` of scikit-learn return; images as (height, width, 1).

    >>> read("diabetes").features.shape, read("digits").features.shape
    ((442, 10), (1797, 8, 8, 1))
    """
    if name == "digits":
        table = _table("digits.csv.gz", delimiter=",")
    elif name == "breast_cancer":
        table = _table("breast_cancer.csv", delimiter=",", skiprows=1)
    else:
        features, targets = _table("diabetes_data_raw.csv.gz"), _table("diabetes_target.csv.gz")
        return Raw(features, targets, None, "numbers")
    features, targets = table[:, :-1], table[:, -1].astype(np.int64)
    if name == "digits":
        return Raw(features.reshape(-1, 8, 8, 1), targets, _CLASSES[name], "pixels")
    return Raw(features, targets, _CLASSES[name], "numbers")


def _table(file: str, **options: object) -> np.ndarray:
    # The package's place is asked for without importing it, which takes longer than a short training.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("scikit-learn, which carries this data set, is not installed")
    return np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / file, **options)  # type: ignore[call-overload]
