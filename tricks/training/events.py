"""TensorBoard events: the same numbers as `metrics.jsonl`, in the same folder."""

import math
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tricks.training.records import Record

_SUFFIX = ".tricks"


class Events:
    """Writes events anew, from the records that a resumed run keeps on.

    All of it happens in a thread: no step waits for the library to be imported, nor for the disk.
    """

    def __init__(self, directory: Path, kept: Iterable[Record]) -> None:
        self._records: SimpleQueue[Record | None] = SimpleQueue()
        self._failure: list[BaseException] = []
        # A daemon: a run that fails elsewhere does not wait for it.
        self._thread = threading.Thread(target=self._run, args=(directory,), daemon=True)
        self._thread.start()
        for record in kept:
            self.write(record)

    def write(self, record: Record) -> None:
        """Adds the numbers of a record."""
        self._records.put(record)

    def close(self) -> None:
        """Waits until all is written, and closes the file.

        Raises:
            OSError: it could not be written.
        """
        self._records.put(None)
        self._thread.join()
        if self._failure:
            raise self._failure[0]

    def _run(self, directory: Path) -> None:
        try:
            _write_all(directory, self._records)
        except BaseException as error:
            self._failure.append(error)


def _write_all(directory: Path, records: "SimpleQueue[Record | None]") -> None:
    # Others may keep events there too.
    for before in directory.glob(f"events.out.tfevents.*{_SUFFIX}"):
        if not before.is_dir():
            before.unlink()
    writer = _summary_writer()(str(directory), filename_suffix=_SUFFIX)
    while (record := records.get()) is not None:
        for name, value in record.values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                writer.add_scalar(f"{record.kind}/{name}", value, record.step)
    writer.close()


def _summary_writer() -> Any:
    # It imports PyTorch wherever that is installed, which takes as long as a short run, for a type annotation.
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter
