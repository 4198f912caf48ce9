"""Steps of training with the features in their files, beside the same steps with the features in memory."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pyarrow
from pyarrow import parquet

from benchmarks.harness import Comparison, seconds
from tricks.config import Config
from tricks.data import Dataset, load
from tricks.training import computation, configured, feed

_ROWS, _COLUMNS, _GROUP = 60_000, 717, 2000
_BATCH = 128
_WINDOW = 10_000  # A fifth of the training part: a table without a copy has two in memory.
_IN_MEMORY = "the same in memory, streamed"
_NOWHERE = "/proc/nowhere"


def compare(rounds: int) -> list[Comparison]:
    """Measures a mapped array, a table whose numbers are kept in the cache, and one that is decoded each epoch."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        _write(folder)
        table = str(folder / "table.parquet")
        try:
            os.environ["XDG_CACHE_HOME"] = directory
            sets = {
                "pixels": load(f"{folder}/"),
                "table": load(table, target="y"),
                "pixels, mapped": load(f"{folder}/", storage="disk"),
                "table, kept": load(table, target="y", storage="disk", shuffle_window=_WINDOW),
            }
            os.environ["XDG_CACHE_HOME"] = _NOWHERE
            sets["table, decoded each epoch"] = load(table, target="y", storage="disk", shuffle_window=_WINDOW)
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before
        found = seconds({name: _epoch(data) for name, data in sets.items()}, rounds)
    steps = len(sets["table"].train.targets) // _BATCH
    milliseconds = {name: 1e3 * spent / steps for name, spent in found.items()}
    in_memory = {name: milliseconds.pop(name) for name in ("pixels", "table")}
    case = f"{_COLUMNS} columns, 512-512-10, BN, Adam, batch {_BATCH}: "
    rows = []
    for name, spent in milliseconds.items():
        peer = in_memory[name.split(",")[0]]
        rows.append(Comparison(case + name, _IN_MEMORY, spent, peer, peer / spent, "ms/step"))
    return rows


def _write(folder: Path) -> None:
    """Made up in the shape of MNIST, four pixels of five 0 as there."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(1, 256, (_ROWS, _COLUMNS)).astype(np.uint8)
    pixels *= generator.random(pixels.shape, np.float32) < 0.2
    classes = generator.integers(10, size=_ROWS)
    np.save(folder / "features.npy", pixels.reshape(_ROWS, 3, -1))
    np.save(folder / "targets.npy", classes)
    table = pyarrow.table({**{f"x{j}": np.ascontiguousarray(pixels[:, j]) for j in range(_COLUMNS)}, "y": classes})
    parquet.write_table(table, folder / "table.parquet", row_group_size=_GROUP)


def _epoch(data: Dataset) -> Callable[[], object]:
    """The first epoch, over and over, as `train.py` runs it."""
    config = Config()
    config.data.batch_size, config.train.chunk_steps = _BATCH, 20
    config.model.hidden_sizes = (512, 512)
    mesh = feed.make_mesh()
    plan = configured.plan_epoch(config, data, mesh)
    static, hyper = configured.assemble(config, data, mesh, plan.steps_per_epoch)
    computed = computation.prepare(static, hyper, data, plan, on_device=False, seed=config.seed)
    loop = computed.start()

    def run() -> object:
        nonlocal loop
        for chunk in computed.chunks(0, plan.steps_per_epoch):
            loop, metrics, _ = computed.parts.run_chunk(loop, chunk)
        return jax.block_until_ready((loop, metrics))

    return run
