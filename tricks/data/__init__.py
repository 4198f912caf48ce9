"""Data sets: real examples, split into train, validation and test, normalized by the training part."""

from tricks.data.dataset import Dataset, Split, load
from tricks.data.sampling import count, draw, take

__all__ = ["Dataset", "Split", "count", "draw", "load", "take"]
