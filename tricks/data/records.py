"""Examples of a prepared set that stay in its array records."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

_READ_AT_ONCE = 256  # One at a time they take half as long again.


class Records:
    """One feature of a split of TensorFlow Datasets, decoded as it is read."""

    def __init__(self, builder: Any, split: str, feature: str):
        """Reads the first record.

        Args:
            builder: of the set.
            split: its name.
            feature: its name.
        """
        self._source, self._feature, self._lock = builder.as_data_source(split=split), feature, threading.Lock()
        first = np.asarray(self._source[0][feature])
        self.shape, self.dtype = (len(self._source), *first.shape), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Rows by their places or a slice."""
        places = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        read = np.empty((len(places), *self.shape[1:]), self.dtype)
        for start in range(0, len(places), _READ_AT_ONCE):
            some = places[start : start + _READ_AT_ONCE].tolist()
            with self._lock:
                examples = self._source.__getitems__(some)
            for i, example in enumerate(examples, start):
                read[i] = example[self._feature]
        return read


def blocks(values: Any, split: str) -> Iterator[np.ndarray]:
    """All examples, a few at a time, with a bar of what is decoded.

    Args:
        values: `Records`, or an array.
        split: that is decoded, for the bar; empty for none.

    Yields:
        One block after another.

    >>> [block.tolist() for block in blocks(np.arange(3), "")]
    [[0, 1, 2]]
    """
    disable = None if split else True
    with tqdm(total=len(values), desc=f"decoding {split}", unit="example", leave=False, disable=disable) as bar:
        for start in range(0, len(values), _READ_AT_ONCE):
            block = values[start : start + _READ_AT_ONCE]
            yield block
            bar.update(len(block))


def in_memory(values: Any, split: str) -> np.ndarray:
    """All examples as an array.

    Args:
        values: `Records`.
        split: that is decoded, for the bar.

    Returns:
        (n, ...).
    """
    found, start = np.empty(values.shape, values.dtype), 0
    for block in blocks(values, split):
        found[start : start + len(block)] = block
        start += len(block)
    return found


def read_labels(builder: Any, split: str, feature: str, label: str, skip: Any) -> np.ndarray:
    """The classes of a split, in one pass that decodes nothing else.

    Args:
        builder: of the set.
        split: its name.
        feature: its name.
        label: likewise.
        skip: what leaves a feature as it is stored, `tensorflow_datasets.decode.SkipDecoding()`.

    Returns:
        (n,) in int32.
    """
    source = builder.as_data_source(split=split, decoders={feature: skip})
    found = np.empty(len(source), np.int32)
    for start in range(0, len(source), _READ_AT_ONCE):
        rows = range(start, min(start + _READ_AT_ONCE, len(source)))
        found[rows.start : rows.stop] = [example[label] for example in source.__getitems__(rows)]
    return found
