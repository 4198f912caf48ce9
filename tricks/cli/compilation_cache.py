"""JAX's persistent compilation cache for every command: what one run compiled, the next one loads.

JAX decides what is kept and under which key; only the files are written and read here. JAX writes its own in place,
runs whatever stands in one under a key, never writes a bad one anew, and knows neither the CPU nor its cores.
"""

import contextlib
import hashlib
import os
import platform
import sys
import time
import warnings
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace

import jax
import jaxlib

from tricks import paths

_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_BOUND = "JAX_COMPILATION_CACHE_MAX_SIZE"
_DEFAULT_BOUND = 2**30
# XLA's own folder of autotuned kernels stays off: a GPU program that cannot write there is not compiled at all, nothing
# bounds it, and its path would be part of every key.
_SETTINGS: dict[str, float | str] = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_enable_xla_caches": "none",
}
_SUFFIX = ".tricks"
_DIGEST_BYTES = hashlib.sha256().digest_size
_DAY = 24 * 3600.0
_UNUSED = 60 * _DAY
# The folder is tidied before the first entry of a process, and whenever this part of the bound has been added.
_SWEEPS_PER_BOUND = 16
# Of /proc/cpuinfo: what code is compiled for; the other lines change from boot to boot, or from second to second.
_CPU = {
    *("vendor_id", "cpu family", "model", "model name", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
    *("cpu", "isa", "uarch"),
}


def enable() -> str | None:
    """Turns the persistent compilation cache on; to be called before the first computation, harmless when repeated.

    The folder is `$JAX_COMPILATION_CACHE_DIR`, or else `tricks/programs` in the user's cache folder. Whatever is wrong
    with it or with a file in it costs a compilation and no word. JAX's variables win where they are set:
    `JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off, `JAX_COMPILATION_CACHE_MAX_SIZE` is the bound in bytes
    (1 GiB for each type of machine without it, -1 for none), `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` spares the
    folder what compiles faster (0 without it).

    Returns:
        The folder, or None without a cache.

    Source: https://docs.jax.dev/en/latest/persistent_compilation_cache.html

    >>> jax.config.update("jax_enable_compilation_cache", False)
    >>> enable()
    >>> jax.config.update("jax_enable_compilation_cache", True)
    """
    jax_files = _jax_files()
    if jax_files is None or not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return None
    folder = _folder()
    jax.config.update("jax_compilation_cache_dir", folder)
    for name, value in _SETTINGS.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    # JAX compiles after a failure of the cache, but tells of it first.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry", UserWarning)
    # Folders of other kinds than the file system's, such as gs://, stay JAX's own business.
    if folder is not None and "://" not in folder:
        jax_files.LRUCache = _Files  # type: ignore[attr-defined]
        _let_every_process_write()
    # An import may have computed something, and so have opened the cache the other way.
    jax_files.reset_cache()
    return folder


def _jax_files() -> ModuleType | None:
    """JAX's module of the cache's files, if it is the one that is known here: JAX has no public place for them."""
    try:
        from jax._src import compilation_cache
    except ImportError:
        return None
    return compilation_cache if hasattr(compilation_cache, "LRUCache") else None


def _let_every_process_write() -> None:
    """JAX writes from process 0 alone, whose programs the others of a job find neither on a CPU nor on another host."""
    try:
        from jax._src import compiler
    except ImportError:
        return
    write = getattr(compiler, "_cache_write", None)
    if isinstance(write, FunctionType):
        first = SimpleNamespace(global_state=SimpleNamespace(process_id=0))
        as_first = FunctionType(write.__code__, {**vars(compiler), "distributed": first})
        compiler._cache_write = as_first


def _folder() -> str | None:
    chosen = os.environ.get(_FOLDER)
    if chosen is not None and (not chosen or "://" in chosen):
        return chosen or None
    try:
        if not chosen:
            return str(paths.user_cache("programs"))
        # Who can write there can run code as this user.
        folder = Path(chosen).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder)


def _machine() -> str:
    """Names all that a compiled program depends on and that JAX's key leaves out, the number of cores among it."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    parts = [jax.__version__, jaxlib.__version__, sys.platform, platform.machine(), str(cores)]
    # XLA takes fewer cores where one of these says so.
    parts += [os.environ.get(name, "") for name in ("NPROC", "PJRT_NPROC")]
    return hashlib.sha256("\n".join([*parts, *_cpu()]).encode()).hexdigest()[:16]


def _cpu() -> list[str]:
    """Lines that tell one type of CPU from another; where none are to be had, the name of this very machine."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", errors="replace") as file:
        lines = []
        for line in file:
            # The other cores repeat the first, and a large machine takes long to tell of all.
            if not line.strip():
                break
            lines.append(line.strip())
        if found := [line for line in lines if line.split(":")[0].strip() in _CPU]:
            return found
    return [platform.node()]


class _Files:
    """The entries of the cache, by JAX's key; in place of JAX's LRUCache. No method fails."""

    def __init__(self, path: str, *, max_size: int) -> None:
        self._path = Path(path)
        self._machine = _machine()
        # JAX's default, no bound, looks the same as a user's -1.
        self._bound = max_size if _BOUND in os.environ else _DEFAULT_BOUND
        self._unswept: int | None = None

    def get(self, key: str) -> bytes | None:
        path = self._entry(key)
        try:
            with open(path, "rb") as file:
                content = file.read()
                unused = time.time() - os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        value = content[_DIGEST_BYTES:]
        if content[:_DIGEST_BYTES] != self._digest(key, value):
            return None
        if unused > _DAY:
            with contextlib.suppress(OSError):
                os.utime(path)
        return value

    def put(self, key: str, value: bytes) -> None:
        content = self._digest(key, value) + value
        if 0 <= self._bound < len(content):
            return
        self._sweep_at_times(len(content))
        # Whole or not at all, whoever reads, writes or is killed meanwhile; a part left over ages like an entry.
        part = self._entry(f"{key}.{os.urandom(8).hex()}")
        try:
            part.write_bytes(content)
            part.replace(self._entry(key))
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()

    def _entry(self, key: str) -> Path:
        # The end of a key is a hash; its beginning, a function's name, may be longer than a file's name.
        return self._path / f"{key[-128:]}.{self._machine}{_SUFFIX}"

    def _digest(self, key: str, value: bytes) -> bytes:
        return hashlib.sha256(f"{self._machine} {key} ".encode() + value).digest()

    def _sweep_at_times(self, added: int) -> None:
        if self._unswept is None or 0 <= self._bound < (self._unswept + added) * _SWEEPS_PER_BOUND:
            _sweep(self._path, f".{self._machine}{_SUFFIX}", max(self._bound - added, 0) if self._bound >= 0 else -1)
            self._unswept = 0
        self._unswept += added


def _sweep(folder: Path, own: str, bound: int) -> None:
    """Removes entries that were not used for long, then this machine's oldest beyond the bound; nothing else's files.

    Args:
        folder: of the cache; other processes may add, use and remove entries meanwhile.
        own: what the names of this machine's entries end with.
        bound: bytes that this machine's entries may take; negative for no bound.
    """
    entries = []
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            if entry.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    entries.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    oldest = time.time() - _UNUSED
    excess = sum(size for _, size, path in entries if path.endswith(own)) - bound if bound >= 0 else 0
    for used, size, path in sorted(entries):
        if used < oldest or (excess > 0 and path.endswith(own)):
            with contextlib.suppress(OSError):
                os.unlink(path)
            excess -= size if path.endswith(own) else 0
