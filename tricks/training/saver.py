"""Checkpoints in a thread: training goes on while the last one is written."""

import functools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tricks.cli import job
from tricks.errors import UserError
from tricks.training.state import LoopState

_SMALL = 2**26  # Bytes of a state of which there may be several copies.


class Saver:
    """Writes checkpoints into a folder, the newest two of which are kept; what fails is raised by the next call.

    Not only the disk is slow: the library is imported, and the folder opened, where the first of them is written. Of
    small states two may wait, and what two newer ones have overtaken is not written, as it would be removed anyway.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"checkpoints cannot be written to {directory}: {error.strerror}") from error
        self._directory = directory
        self._threads = ThreadPoolExecutor(1)
        self._opened: Any = None
        self._waiting: deque[tuple[LoopState, dict[str, float]]] = deque(maxlen=2)
        self._writing: Future[None] | None = None
        self._lock = threading.Lock()
        self._at_work = False

    def restore(self, like: LoopState) -> tuple[LoopState, dict[str, float]] | None:
        """The newest state that can be read, as `checkpoints.restore` gives it."""
        return self._now(lambda checkpoints, opened: checkpoints.restore(opened, like))

    def save(self, loop: LoopState, spent: Mapping[str, float]) -> None:
        """Takes a copy of a state, to write it.

        Args:
            loop: the state; its arrays may be donated afterwards.
            spent: seconds, by name.

        Raises:
            UserError: one before could not be written.
        """
        if job.is_joined():
            # All of them write it together, and wait for each other.
            self._now(lambda checkpoints, opened: checkpoints.save(opened, loop, spent))
            return
        large = sum(leaf.nbytes for leaf in jax.tree.leaves(loop)) > _SMALL
        if large or (self._writing is not None and self._writing.done()):
            self.wait()
        copied = _on_host(loop)
        with self._lock:
            self._waiting.append((copied, dict(spent)))
            if not self._at_work:
                self._at_work, self._writing = True, self._submit(self._write_all)

    def wait(self) -> None:
        """Returns when everything is written.

        Raises:
            UserError: it could not be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.result()
            finally:
                self._at_work = False

    def describe_last(self) -> str:
        """Which checkpoint a person can fall back on, in words."""
        return self._now(lambda checkpoints, opened: checkpoints.describe_last(opened))

    def _write_all(self, checkpoints: Any, opened: Any) -> None:
        while (item := self._next()) is not None:
            loop, spent = item
            checkpoints.save(opened, jax.tree.map(lambda leaf: leaf() if callable(leaf) else leaf, loop), spent)

    def _next(self) -> tuple[LoopState, dict[str, float]] | None:
        # With the lock, so that nothing is put in the row of one who has just seen it empty.
        with self._lock:
            self._at_work = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None

    def _now(self, do: Callable[[Any, Any], Any]) -> Any:
        self.wait()
        return self._submit(do).result()

    def _submit(self, do: Callable[[Any, Any], Any]) -> Future[Any]:
        def run() -> Any:
            from tricks.training import checkpoints

            if self._opened is None:
                self._opened = checkpoints.open_directory(self._directory)
            return do(checkpoints, self._opened)

        return self._threads.submit(run)


def _on_host(loop: LoopState) -> LoopState:
    def copied(leaf: jax.Array) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            # Made a key again where it is written: that is a program, to be compiled.
            words: Any = np.array(jax.random.key_data(leaf))
            return functools.partial(jax.random.wrap_key_data, words, impl=jax.random.key_impl(leaf))
        # A view of the buffer would change under the next step, which writes into it.
        return np.array(leaf)

    return jax.tree.map(copied, loop)
