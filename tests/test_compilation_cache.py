"""The compilation cache saves compilations and, whatever is wrong with its folder or its files, does nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jax._src import compilation_cache as jax_files
from jax._src import compiler, distributed

from conftest import ROOT
from tricks.cli import compilation_cache

_SETTINGS = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_enable_xla_caches",
)
_DAY = 24 * 3600
_INPUT = np.full((3, 3), 2.0, np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache's folder of one's own, and JAX left as it was."""
    settings = {name: getattr(jax.config, name) for name in _SETTINGS}
    for name in {*os.environ} & {name.upper() for name in _SETTINGS}:
        monkeypatch.delenv(name)
    monkeypatch.setattr(jax_files, "LRUCache", jax_files.LRUCache)
    monkeypatch.setattr(compiler, "_cache_write", compiler._cache_write)
    folder = tmp_path / "programs"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
    yield folder
    monkeypatch.undo()
    for name, value in settings.items():
        jax.config.update(name, value)
    jax_files.reset_cache()


def _compile(function: Callable[[jax.Array], jax.Array], expected: float) -> bool:
    """Computes as a new process would, that is without JAX's memory of the function; whether it came from the cache."""
    events: list[str] = []

    def listen(event: str, **_: object) -> None:
        events.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        assert float(jax.jit(lambda x: function(x))(_INPUT)) == expected
    finally:
        jax.monitoring.unregister_event_listener(listen)
    assert events.count("/jax/compilation_cache/compile_requests_use_cache") == 1, events
    return "/jax/compilation_cache/cache_hits" in events


def _sum() -> bool:
    return _compile(lambda x: (x @ x).sum(), 108.0)


def _row() -> bool:
    return _compile(lambda x: (3 * x)[0].sum(), 18.0)


def _flip(content: bytes, other: bytes) -> bytes:
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


# A new content from that of an entry, and that of another program.
_DAMAGES = {
    "empty": lambda content, other: b"",
    "shorter than a checksum": lambda content, other: content[:7],
    "half": lambda content, other: content[: len(content) // 2],
    "one byte short": lambda content, other: content[:-1],
    "longer": lambda content, other: content + b"\0",
    "one bit": _flip,
    "noise": lambda content, other: bytes(range(256)) * 20,
    "another program": lambda content, other: other,
}


@pytest.mark.parametrize("damage", _DAMAGES.values(), ids=_DAMAGES)
def test_a_damaged_entry_is_compiled_and_written_anew_without_a_word(folder, capfd, damage):
    compilation_cache.enable()
    assert not _sum()
    (entry,) = folder.iterdir()
    assert not _row()
    (other,) = set(folder.iterdir()) - {entry}
    entry.write_bytes(damage(entry.read_bytes(), other.read_bytes()))
    assert not _sum()
    assert _sum()
    assert _row()
    assert capfd.readouterr() == ("", "")


def test_a_program_that_jax_cannot_load_is_compiled_and_written_anew_without_a_word(folder, capfd, monkeypatch):
    compilation_cache.enable()
    compress = jax_files.compress_executable
    # Rightly kept, and still nothing that XLA can read: after the four bytes of the compilation's seconds.
    monkeypatch.setattr(jax_files, "compress_executable", lambda content: compress(content[:4] + b"no program"))
    assert not _sum()
    monkeypatch.setattr(jax_files, "compress_executable", compress)
    assert not _sum()
    assert _sum()
    assert capfd.readouterr() == ("", "")


def test_no_change_of_a_byte_and_no_cut_passes_for_the_entry(tmp_path):
    files = compilation_cache._Files(str(tmp_path), max_size=-1)
    files.put("key", b"program")
    (entry,) = tmp_path.iterdir()
    content = entry.read_bytes()
    assert files.get("key") == b"program"
    changed = [bytes([*content[:i], content[i] ^ 1 << i % 8, *content[i + 1 :]]) for i in range(len(content))]
    for bad in [*changed, *(content[:i] for i in range(len(content)))]:
        entry.write_bytes(bad)
        assert files.get("key") is None


def test_who_reads_while_an_entry_is_written_sees_all_of_the_old_one(tmp_path, monkeypatch):
    writer, reader = (compilation_cache._Files(str(tmp_path), max_size=-1) for _ in range(2))
    writer.put("key", b"old")
    write = Path.write_bytes
    seen = []

    def write_slowly(path: Path, content: bytes) -> None:
        for end in range(0, len(content) + 1, 8):
            write(path, content[:end])
            seen.append(reader.get("key"))
        write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_slowly)
    writer.put("key", b"new" * 20)
    assert len(seen) > 5
    assert set(seen) == {b"old"}
    assert reader.get("key") == b"new" * 20
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_the_place_of_an_entry_is_done_without(tmp_path):
    files = compilation_cache._Files(str(tmp_path), max_size=-1)
    files.put("key", b"program")
    (entry,) = tmp_path.iterdir()
    entry.unlink()
    entry.mkdir()
    assert files.get("key") is None
    files.put("key", b"program")
    assert list(tmp_path.iterdir()) == [entry]


_WRITE_BEYOND_A_LIMIT = """
import resource, signal, sys
from tricks.cli.compilation_cache import _Files, enable
print(enable())
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
files = _Files(sys.argv[1], max_size=-1)
files.put("full", bytes(5000))
print(files.get("full"), flush=True)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
files.put("killed", bytes(5000))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_and_a_kill_in_the_middle_of_a_write_leave_no_entry(tmp_path):
    process = [sys.executable, "-W", "error", "-c", _WRITE_BEYOND_A_LIMIT, str(tmp_path)]
    off = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(process, cwd=ROOT, env=off, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGXFSZ, "None\nNone\n", "")
    # Where the write failed, all was taken away; where the process died, the first bytes lie about.
    (part,) = tmp_path.iterdir()
    assert part.stat().st_size == 1000
    files = compilation_cache._Files(str(tmp_path), max_size=-1)
    assert files.get("killed") is None
    files.put("killed", b"program")
    assert files.get("killed") == b"program"
    os.utime(part, (0, 0))
    compilation_cache._Files(str(tmp_path), max_size=-1).put("next", b"program")
    assert not part.exists()


def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))


def _file(path: Path) -> Path:
    path.write_text("no folder")
    return path


# How the folder is made unusable; under /proc nobody can make a file, not even root.
_OBSTACLES = {
    "a file": lambda path, patch: patch.setenv("JAX_COMPILATION_CACHE_DIR", str(_file(path / "file"))),
    "below a file": lambda path, patch: patch.setenv("JAX_COMPILATION_CACHE_DIR", str(_file(path / "file") / "cache")),
    "not to be made": lambda path, patch: patch.setenv("JAX_COMPILATION_CACHE_DIR", "/proc/cache"),
    "no home": lambda path, patch: _home(path, patch, path / "missing"),
    "home is a file": lambda path, patch: _home(path, patch, _file(path / "home")),
    "home cannot be written": lambda path, patch: _home(path, patch, Path("/proc")),
}


@pytest.mark.parametrize("obstacle", _OBSTACLES.values(), ids=_OBSTACLES)
def test_a_folder_that_cannot_be_had_is_done_without(folder, tmp_path, monkeypatch, capfd, obstacle):
    obstacle(tmp_path, monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    # As JAX does with the variable when it is imported.
    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    assert compilation_cache.enable() is None
    assert not _sum()
    assert not _sum()
    assert capfd.readouterr() == ("", "")
    assert sorted(tmp_path.rglob("*")) == before
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.skipif(sys.platform != "linux", reason="no folder that root cannot write into")
def test_a_folder_that_cannot_be_written_is_done_without(folder, monkeypatch, capfd):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/proc/self")
    assert compilation_cache.enable() == "/proc/self"
    assert not _sum()
    assert not _sum()
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written_is_still_read(folder, monkeypatch, capfd):
    compilation_cache.enable()
    assert not _sum()
    (entry,) = folder.iterdir()
    os.utime(entry, (time.time() - 2 * _DAY,) * 2)
    before = entry.stat().st_mtime

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for owner, name in ((Path, "write_bytes"), (Path, "replace"), (os, "utime"), (os, "unlink")):
        monkeypatch.setattr(owner, name, refuse)
    assert _sum()
    assert not _row()
    assert capfd.readouterr() == ("", "")
    assert list(folder.iterdir()) == [entry]
    assert entry.stat().st_mtime == before


def test_each_type_of_machine_has_entries_of_its_own(folder, monkeypatch):
    def elsewhere(change: Callable[[pytest.MonkeyPatch], None]) -> bool:
        with monkeypatch.context() as patch:
            change(patch)
            compilation_cache.enable()
            return _sum()

    machines = [
        lambda patch: None,
        lambda patch: patch.setattr(compilation_cache, "_cpu", lambda: ["flags : avx9"]),
        lambda patch: patch.setattr(compilation_cache.platform, "machine", lambda: "vax"),
        lambda patch: patch.setattr(jax, "__version__", "0.0.1"),
        # XLA divides the work of a program among the cores when it compiles.
        lambda patch: patch.setenv("NPROC", "77"),
        lambda patch: patch.setattr(os, "sched_getaffinity", lambda _: set(range(77)), raising=False),
    ]
    if sys.platform != "linux":
        del machines[-1]
    for count, machine in enumerate(machines, 1):
        assert not elsewhere(machine)
        assert len(list(folder.iterdir())) == count
    assert all(elsewhere(machine) for machine in machines)


def test_a_type_of_machine_is_told_by_the_cpu_and_not_by_the_day(monkeypatch, tmp_path):
    known = tmp_path / "cpuinfo"
    known.write_text(
        "processor\t: 0\nmodel name\t: Good CPU\ncpu MHz\t\t: 2600.1\nflags\t\t: sse avx\nbogomips\t: 5200.0\n\n"
        "processor\t: 1\nmodel name\t: Other CPU\n"
    )
    real = open
    monkeypatch.setattr("builtins.open", lambda path, **keywords: real(known, **keywords))
    assert compilation_cache._cpu() == ["model name\t: Good CPU", "flags\t\t: sse avx"]
    known.write_text("something else\n")
    assert compilation_cache._cpu() == [compilation_cache.platform.node()]
    known.unlink()
    assert compilation_cache._cpu() == [compilation_cache.platform.node()]


def _aged(folder: Path, name: str, size: int, days: float) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - days * _DAY,) * 2)
    return path


def test_the_bound_takes_the_oldest_of_this_machine_and_what_nobody_used_for_long(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "1000")
    files = compilation_cache._Files(str(tmp_path), max_size=1000)
    own = f"{files._machine}.tricks"
    files.put("used", b"")
    (used,) = tmp_path.iterdir()
    os.utime(used, (time.time() - 50 * _DAY,) * 2)
    assert files.get("used") == b""
    gone = [
        _aged(tmp_path, f"oldest.{own}", 300, 30),
        # What a killed process left.
        _aged(tmp_path, f"killed.0123.{own}", 200, 20),
        _aged(tmp_path, "unused.0123.tricks", 5000, 61),
    ]
    kept = [
        used,
        _aged(tmp_path, f"newer.{own}", 500, 10),
        _aged(tmp_path, f"newest.{own}", 400, 1),
        _aged(tmp_path, "other.0123.tricks", 5000, 59),
        _aged(tmp_path, "somebody's file", 5000, 500),
    ]
    compilation_cache._Files(str(tmp_path), max_size=1000).put("first", b"")
    assert [path.exists() for path in gone] == [False] * 3
    assert [path.exists() for path in kept] == [True] * 5
    assert files.get("first") == b""


def test_the_bound_is_kept_by_one_long_process_that_seldom_looks(tmp_path, monkeypatch):
    looks = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looks.append(path) or scan(path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "16000")
    files = compilation_cache._Files(str(tmp_path), max_size=16000)
    for i in range(200):
        files.put(f"key {i}", bytes(268))
    # 300 bytes each; a look at the first, and before each that would make it more than 1000 since.
    assert len(looks) == 67
    monkeypatch.undo()
    assert 15000 < sum(path.stat().st_size for path in tmp_path.iterdir()) <= 17000
    assert files.get("key 199") == bytes(268)


def test_large_entries_do_not_exceed_the_bound(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "1000")
    files = compilation_cache._Files(str(tmp_path), max_size=1000)
    for i in range(3):
        files.put(f"key {i}", bytes(800))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 832
        assert files.get(f"key {i}") == bytes(800)


def test_bounds_of_nothing_and_of_everything(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "as passed")
    compilation_cache._Files(str(tmp_path), max_size=0).put("key", b"")
    assert not list(tmp_path.iterdir())
    unbounded = compilation_cache._Files(str(tmp_path), max_size=-1)
    big = _aged(tmp_path, f"big.{unbounded._machine}.tricks", 0, 30)
    os.truncate(big, 2**31)
    unbounded.put("key", b"")
    assert big.exists()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_MAX_SIZE")
    compilation_cache._Files(str(tmp_path), max_size=-1).put("next", b"")
    assert not big.exists()


def test_what_another_process_removes_first_is_no_failure(tmp_path, monkeypatch):
    files = compilation_cache._Files(str(tmp_path), max_size=-1)
    entry = _aged(tmp_path, f"old.{files._machine}.tricks", 10, 61)
    remove = os.unlink

    def twice(path: str) -> None:
        remove(path)
        remove(path)

    monkeypatch.setattr(os, "unlink", twice)
    files.put("key", b"program")
    assert not entry.exists()
    assert files.get("key") == b"program"


def test_a_long_name_of_a_function_is_no_obstacle(folder):
    def function(x: jax.Array) -> jax.Array:
        return (x + 1).sum()

    function.__name__ = "long_" * 60
    compilation_cache.enable()
    for _ in range(2):
        # A new function each time, of the same name.
        copy = type(function)(function.__code__, globals(), function.__name__)
        assert float(jax.jit(copy)(_INPUT)) == 27.0
    assert len(list(folder.iterdir())) == 1


def test_the_variable_of_jax_turns_the_cache_off(folder):
    # In the other process, above, by the environment.
    jax.config.update("jax_enable_compilation_cache", False)
    assert compilation_cache.enable() is None
    assert float(jax.jit(lambda x: x.sum())(_INPUT)) == 18.0
    assert not folder.exists()


def test_what_the_user_set_stays_and_more_calls_change_nothing(folder, monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1000")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1000.0)
    assert compilation_cache.enable() == str(folder)
    assert not _sum()
    assert not list(folder.iterdir())
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    assert compilation_cache.enable() == compilation_cache.enable() == str(folder)
    assert not _sum()
    assert compilation_cache.enable() == str(folder)
    assert _sum()
    assert jax.config.jax_persistent_cache_enable_xla_caches == "none"
    # JAX's own entries and ours can share a folder: its eviction takes every file of this name for its own.
    assert not list(folder.glob("*-cache"))


def test_every_process_of_a_job_keeps_its_programs(folder, monkeypatch):
    monkeypatch.setattr(distributed.global_state, "process_id", 1)
    compilation_cache.enable()
    assert not _sum()
    assert len(list(folder.iterdir())) == 1
    # A second call changes nothing, and what JAX spares the folder stays out.
    compilation_cache.enable()
    assert _sum()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1000.0)
    assert not _row()
    assert len(list(folder.iterdir())) == 1


def test_folders_that_are_not_of_the_file_system_and_versions_of_jax_that_are_not_known_are_left_to_jax(
    folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    own = jax_files.LRUCache
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/programs")
    assert compilation_cache.enable() == "gs://bucket/programs"
    assert jax_files.LRUCache is own
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert compilation_cache.enable() is None
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "here")
    monkeypatch.delattr(compiler, "_cache_write")
    assert compilation_cache.enable() == str(tmp_path / "here")
    (tmp_path / "here").rmdir()
    monkeypatch.delattr(jax_files, "LRUCache")
    assert compilation_cache.enable() is None
    assert not list(tmp_path.iterdir())


_RUN = """
import json, sys
import jax, jax.numpy as jnp
before = set(sys.modules)
from tricks.cli.compilation_cache import enable
folder = enable()
loaded = sorted(set(sys.modules) - before)
backends = len(jax._src.xla_bridge._backends)
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.split("/")[-1]))
programs = [jax.jit(lambda x, n=n: jnp.tanh(x * n).sum() / n) for n in range(1, 4)]
values = [float(program(jnp.arange(6.0))).hex() for program in programs]
counts = {name: events.count(name) for name in ("compile_requests_use_cache", "cache_hits")}
print(json.dumps([folder, loaded, backends, values, *counts.values()]))
"""


def test_two_processes_at_once_and_a_third_afterwards(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment["XDG_CACHE_HOME"] = str(tmp_path)

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _RUN],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(process: subprocess.Popen) -> list:
        output, error = process.communicate(timeout=120)
        assert (process.returncode, error) == (0, "")
        return json.loads(output)

    first, second = map(end, [start(), start()])
    third = end(start())
    folder = tmp_path / "tricks" / "programs"
    assert folder.stat().st_mode & 0o777 == 0o700
    requests = len(list(folder.iterdir()))
    assert requests > 3
    # No backend before the command wants one, and no import for the cache's sake but that of its place.
    modules = ["tricks", "tricks.cli", "tricks.cli.compilation_cache", "tricks.errors", "tricks.paths"]
    start_up = [str(folder), modules, 0]
    assert third == [*start_up, first[3], requests, requests]
    assert first[:3] == second[:3] == start_up
    assert first[3] == second[3]
