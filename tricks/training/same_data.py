"""All processes of a job need the same examples, of which each takes its part, and the same network."""

import zlib

import jax
import numpy as np

from tricks.cli import job
from tricks.data import Dataset, Split
from tricks.training import shardings
from tricks.training.assembly import Static

_SEEN = 256


def require(data: Dataset, network: str, static: Static) -> None:
    """Refuses to train where another process of the job has loaded something else.

    Args:
        data: of this process. Of features that stay in their files some rows are compared, as normalized; of all else
            every byte.
        network: fingerprint of a network and a loss of one's own.
        static: how its weights are divided.

    Raises:
        UserError: names the part that differs.
    """
    if job.is_joined():
        parts = ("train", "validation", "test")
        told = {f"in the {part} part of {data.name}": _described(getattr(data, part)) for part in parts}
        divided = str(shardings.dimensions(static.mesh, static.rule, shardings.shapes(static)))
        told |= {"a network and a loss with the fingerprint": network}
        job.agree("data", {**told, "weights divided with the checksum": f"{zlib.crc32(divided.encode()):08x}"})


def _described(split: Split) -> str:
    total = 0
    for leaf in jax.tree.leaves(tuple(split)):
        # Of what stays on disk a part.
        rows = slice(None) if isinstance(leaf, np.ndarray) else np.linspace(0, len(leaf) - 1, _SEEN).astype(np.int64)
        total = zlib.crc32(np.ascontiguousarray(leaf[rows]).view(np.uint8).data, total)
    return f"{len(split.targets):,} examples with the checksum {total:08x}"
