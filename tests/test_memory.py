"""What counts as free, and what vectors take."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tricks import memory
from tricks.errors import UserError


def _machine(monkeypatch, **files):
    texts = {
        "/proc/meminfo": "MemTotal: 64 kB\nMemFree: 10 kB\nMemAvailable:   2048 kB\nCached: 40 kB\n",
        "/sys/fs/cgroup/memory.max": "max\n",
        "/sys/fs/cgroup/memory.current": "1000\n",
        "/sys/fs/cgroup/memory.stat": "anon 500\nfile 400\n",
        **files,
    }
    monkeypatch.setattr(memory, "_text", lambda path: texts.get(path, ""))


def test_what_is_kept_of_files_is_free(monkeypatch):
    _machine(monkeypatch)
    assert memory.available() == 2048 * 1024
    _machine(monkeypatch, **{"/sys/fs/cgroup/memory.max": "1500\n"})
    assert memory.available() == 1500 - 1000 + 400
    _machine(monkeypatch, **{"/proc/meminfo": "", "/sys/fs/cgroup/memory.max": "1500\n"})
    assert memory.available() == 900


def test_what_is_narrow_is_counted_as_it_is_held(monkeypatch):
    for dtype, size in ((jnp.bfloat16, 4), (jnp.float32, 4), (jnp.float16, 4)):
        vectors = {"a": jax.ShapeDtypeStruct((100, 10), dtype), "b": jax.ShapeDtypeStruct((24,), dtype)}
        monkeypatch.setattr(memory, "available", lambda size=size: (40 + 8) * 1024.0 * size)
        memory.require_memory("basis_size", 40, vectors)
        with pytest.raises(UserError, match=r"^basis_size is 41, .* choose fewer$"):
            memory.require_memory("basis_size", 41, vectors)


def test_devices_share_what_is_divided_among_them(monkeypatch):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    alone = NamedSharding(mesh, PartitionSpec("data"))
    assert memory._share(None) == memory._share(alone) == 1

    class Four:
        device_set = frozenset(range(4))

        def shard_shape(self, shape):
            return (shape[0] // 4,)

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert memory._share(Four()) == 0.25
    # Devices that are parts of a CPU share its memory; a vector that each has whole is there as often.
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert memory._share(Four()) == 1

    class Whole(Four):
        def shard_shape(self, shape):
            return shape

    assert memory._share(Whole()) == 4
