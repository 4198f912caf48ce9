"""Real data sets that scikit-learn carries: no download."""

from sklearn import datasets

from tricks.data.raw import Raw

_LOADERS = {
    "digits": (datasets.load_digits, 10),
    "breast_cancer": (datasets.load_breast_cancer, 2),
    "diabetes": (datasets.load_diabetes, None),
}
NAMES = tuple(_LOADERS)


def read(name: str) -> Raw:
    """Reads one of `NAMES`: digits (1,797 images of 8x8, 10 classes), breast_cancer (569, 2), diabetes (442, numbers).

    >>> read("diabetes").features.shape
    (442, 10)
    """
    loader, classes = _LOADERS[name]
    features, targets = loader(return_X_y=True)
    return Raw(name == "digits", classes, features, targets)
