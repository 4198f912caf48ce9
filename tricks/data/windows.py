"""The order of examples on disk: blocks of neighbours by lot, then all examples of a window of blocks."""

import math
from typing import NamedTuple

import numpy as np

from tricks import streams
from tricks.errors import UserError

_BLOCK_BYTES = 2**16  # What a disk reads in about the time that it takes to find it.
_BLOCKS = 1024  # In a window, where examples are so small that more of them would fit into a block.


class Windows(NamedTuple):
    """How the examples of a split are put in order, one epoch after another.

    Each epoch puts the blocks in another order, and cuts it into windows of equally many blocks. The examples of a
    window come in an order of their own, drawn by seed, epoch and window alone, so that an epoch can begin anywhere.
    """

    edges: np.ndarray
    """(blocks + 1,): where the blocks begin in the split, and its end."""
    number: int
    """Windows of an epoch."""

    @property
    def examples(self) -> int:
        """In the split."""
        return int(self.edges[-1])

    @property
    def blocks(self) -> int:
        """In the smallest window."""
        return (len(self.edges) - 1) // self.number

    def excess(self, batch_size: int) -> float:
        """How many times the variance of a batch's mean is at most that of a full shuffle, 1 + b / K.

        K is the number of blocks in a window. It is reached where all examples of a block are alike and blocks are not,
        as in a file that is sorted by class; where neighbours are no more alike than others it is 1.

        Args:
            batch_size: b, of no more examples than a window.

        Returns:
            The bound; 1 where a window holds all blocks.

        >>> Windows(np.arange(0, 4097, 4), number=4).excess(32)
        1.125
        """
        return 1.0 if self.number == 1 else 1 + batch_size / self.blocks


def cut(examples: int, window: int, example_bytes: int) -> Windows:
    """Windows of a split that can be read from any example on.

    Args:
        examples: in the split.
        window: examples that are shuffled together, about.
        example_bytes: of one, as stored.

    Returns:
        One window of single examples where it holds them all: the order of a set in memory. Else windows of blocks.

    >>> cut(100, 100, 8).edges[:3].tolist(), cut(10**6, 2**16, 784).edges[:3].tolist()
    ([0, 1, 2], [0, 64, 128])
    """
    if window >= examples:
        return Windows(np.arange(examples + 1), 1)
    block = max(1, min(_BLOCK_BYTES // max(1, example_bytes), window // _BLOCKS))
    edges = np.r_[np.arange(0, examples, block), examples]
    return Windows(edges, _count(len(edges) - 1, window // block))


def of_groups(rows: np.ndarray, ends: np.ndarray, window: int) -> Windows:
    """Windows of a split of a file that is read by groups of rows, each a block.

    Args:
        rows: places of the examples in the file, ascending.
        ends: (groups,), of each group the first row behind it.
        window: examples that are shuffled together, at most.

    Returns:
        Windows of as many blocks as are no more examples; one of single examples where it holds them all.

    Raises:
        UserError: a window would not hold two groups.

    >>> of_groups(np.array([0, 1, 3, 4, 5]), np.array([2, 4, 6]), window=4)
    Windows(edges=array([0, 2, 3, 5]), number=2)
    """
    if window >= len(rows):
        return Windows(np.arange(len(rows) + 1), 1)
    edges = np.unique(np.r_[0, np.searchsorted(rows, ends)])
    largest = int(np.diff(edges).max())
    if window < 2 * largest:
        fewest = min(2 * largest, len(rows))
        raise UserError(
            f"data.shuffle_window is {window}; a row group of the file has up to {largest} training examples, and a "
            f"window holds whole groups: choose {fewest} or more, or write smaller groups (row_group_size)"
        )
    return Windows(edges, _count(len(edges) - 1, window // largest))


def _count(blocks: int, most: int) -> int:
    return math.ceil(blocks / max(1, most))


class Order:
    """The order of one epoch, which can be asked for from anywhere."""

    def __init__(self, windows: Windows, seed: int, epoch: int):
        """Draws the order of the blocks; that of a window is drawn when it is asked for.

        Args:
            windows: of the split.
            seed: of the run.
            epoch: from 0.
        """
        self._windows, self._seed, self._epoch = windows, seed, epoch
        order = streams.order(seed, epoch).permutation(len(windows.edges) - 1)
        self._starts, self._sizes = windows.edges[:-1][order], np.diff(windows.edges)[order]
        self._behind = np.cumsum(self._sizes)
        # Of each window, its first block and its first example.
        self._blocks = np.arange(windows.number + 1) * len(order) // windows.number
        self._bounds = np.r_[0, self._behind][self._blocks]
        self._known: tuple[int, np.ndarray] = (-1, self._starts)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The examples from one place of the epoch to another.

        >>> order = Order(Windows(np.array([0, 2, 4, 6]), 2), seed=0, epoch=3)
        >>> sorted(order.rows(0, 6).tolist()), (order.rows(0, 6)[3:5] == order.rows(3, 5)).all()
        ([0, 1, 2, 3, 4, 5], np.True_)
        """
        if self._windows.number == 1:
            return self._starts[start:stop]
        first, last = np.searchsorted(self._bounds, [start, stop - 1], side="right") - 1
        parts = [
            self._of_window(window)[max(start - self._bounds[window], 0) : stop - self._bounds[window]]
            for window in range(first, last + 1)
        ]
        return np.concatenate(parts)

    def ahead(self, start: int, stop: int) -> np.ndarray:
        """The first example of each block to fetch beside these examples, so that the next window is there in time.

        Args:
            start: place of the epoch.
            stop: likewise.

        Returns:
            As large a part of the next window's blocks as the examples are of theirs, at the end those of the next
            epoch.
        """
        if self._windows.number == 1:
            return self._starts[:0]
        most = int(np.diff(self._blocks).max())
        first, last = np.searchsorted(self._behind, [start, stop], side="right") + most
        following = self._starts[first:last]
        if last > len(self._starts):
            begun = Order(self._windows, self._seed, self._epoch + 1)._starts
            following = np.r_[following, begun[max(first - len(self._starts), 0) : last - len(self._starts)]]
        return following

    def _of_window(self, window: int) -> np.ndarray:
        if self._known[0] != window:
            mine = slice(self._blocks[window], self._blocks[window + 1])
            starts, sizes = self._starts[mine], self._sizes[mine]
            places = np.repeat(starts - (self._behind[mine] - sizes), sizes)
            places += np.arange(self._bounds[window], self._bounds[window + 1])
            streams.window(self._seed, self._epoch, window).shuffle(places)
            self._known = window, places
        return self._known[1]
