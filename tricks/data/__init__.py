"""Data sets: real examples, split into train, validation and test, normalized by the training part."""

from tricks.data.dataset import Dataset, Split, load

__all__ = ["Dataset", "Split", "load"]
