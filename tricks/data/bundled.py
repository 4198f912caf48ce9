"""Real data sets that scikit-learn carries: no download."""

from tricks.data.raw import Raw

_CLASSES = {"digits": 10, "breast_cancer": 2, "diabetes": None}
NAMES = tuple(_CLASSES)


def read(name: str) -> Raw:
    """Reads one of `NAMES`: digits (1,797 images of 8x8, 10 classes), breast_cancer (569, 2), diabetes (442, numbers).

    >>> read("diabetes").features.shape
    (442, 10)
    """
    from sklearn import datasets  # A second of every start; most sets do without.

    features, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Raw(name == "digits", _CLASSES[name], features, targets)
