"""Arrays of examples that stay in their files: read, and normalized, a few rows at a time."""

import contextlib
import os
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from tricks.data.windows import Windows
from tricks.errors import UserError

_VALUES_AT_ONCE = 2**18  # Of a block that stays in the cache.


class Source(Protocol):
    """Examples as stored: a mapped array, or whatever reads some rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...)."""

    @property
    def dtype(self) -> np.dtype:
        """As stored."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


class Stored:
    """Some examples of a source, normalized as they are read.

    It has what code asks of an array of features: `shape`, `dtype`, `size`, `len`, and rows by their places. Whoever
    makes an array of it reads all of it.
    """

    def __init__(
        self,
        source: Source,
        rows: np.ndarray,
        *,
        kind: str,
        mean: np.ndarray | None,
        scale: np.ndarray | None,
        windows: Windows | None = None,
    ):
        """Reads nothing.

        Args:
            source: the examples as stored.
            rows: places in it, ascending.
            kind: `numbers`, `pixels` or `tokens`.
            mean: m, or None for features as they are.
            scale: s, or None.
            windows: how an epoch is ordered, of examples that are trained on.
        """
        small = len(source) < 2**31
        self._source, self._rows = source, rows.astype(np.int32) if small else rows
        self._mean, self._scale = mean, scale
        self.windows = windows
        self.shape = (len(rows), *source.shape[1:])
        self.dtype = np.dtype(np.int32 if kind == "tokens" else np.float32)

    @property
    def size(self) -> int:
        """Values of all examples."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Examples by a place, places, a mask or a slice."""
        places = self._rows[rows]
        if not places.ndim:
            return self._read(places[None])[0]
        return self._read(places.reshape(-1)).reshape(*places.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def expect(self, rows: np.ndarray) -> None:
        """Tells of rows that will be needed, which a source may fetch with their neighbours.

        Args:
            rows: places in the split.
        """
        fetch: Callable[[np.ndarray], None] | None = getattr(self._source, "expect", None)
        if fetch is not None:
            fetch(self._rows[rows])

    def _read(self, places: np.ndarray) -> np.ndarray:
        _require_whole(self._source)
        # In the order of the file, for the sake of the disk.
        order = np.argsort(places, kind="stable")
        read = np.empty((len(places), *self.shape[1:]), self.dtype)
        together = max(1, _VALUES_AT_ONCE // max(1, int(np.prod(self.shape[1:]))))
        buffer = np.empty((min(together, len(places)), *self.shape[1:]), self.dtype)
        for start in range(0, len(places), together):
            chosen = order[start : start + together]
            block = buffer[: len(chosen)]
            block[...] = self._source[places[chosen]]
            if self._mean is not None and self._scale is not None:
                np.subtract(block, self._mean, out=block)
                np.divide(block, self._scale, out=block)
            read[chosen] = block
        return read


def _require_whole(source: Any) -> None:
    """A mapped file that was cut would end the process by a signal, where it is read beyond its end."""
    copy = getattr(source, "mapped", None)
    mapped = source if copy is None else copy
    while isinstance(mapped, np.ndarray) and not isinstance(mapped, np.memmap):
        mapped = mapped.base
    if isinstance(mapped, np.memmap) and mapped.filename is not None:
        needed = mapped.offset + mapped.nbytes
        with contextlib.suppress(FileNotFoundError):  # What is mapped stays, though its name is gone.
            size = os.path.getsize(mapped.filename)
            if size < needed:
                way_out = "restore it, and the same command goes on" if copy is None else "the same command goes on"
                raise UserError(
                    f"{mapped.filename} has become shorter while it was read: {size:,} bytes, of which {needed:,} are "
                    f"needed; {way_out}"
                )


def is_stored(features: Any) -> bool:
    """Whether features stay in their files.

    >>> is_stored({"word": np.ones(3)})
    False
    """
    return any(isinstance(leaf, Stored) for leaf in jax.tree.leaves(features))


def windows_of(features: Any) -> Windows | None:
    """How an epoch of features that stay in their files is ordered; None of others.

    >>> windows_of({"word": np.ones(3)})
    """
    return next((leaf.windows for leaf in jax.tree.leaves(features) if isinstance(leaf, Stored)), None)


def expect(features: Any, rows: np.ndarray) -> None:
    """Tells features that stay in their files which rows will be needed.

    Args:
        features: pytree of arrays.
        rows: places in the split.
    """
    for leaf in jax.tree.leaves(features):
        if isinstance(leaf, Stored):
            leaf.expect(rows)
