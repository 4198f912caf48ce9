"""A job of several processes, on JAX's own runtime: joining it, agreeing in it, and failing together."""

import itertools
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import flags

from tricks.cli import screen, supervision
from tricks.errors import UserError

_JOINING, _HEARTBEAT, _ENDING = 20, 20, 60  # Seconds.
_LOOK = 1.0
_FAILED = "tricks/failed"
_ALL = "tricks/said"
_TOLD = "tricks/told"
_failing, _leaving = threading.Event(), threading.Event()
_watching: list[threading.Thread] = []
_told: set[str] = set()
_asked = itertools.count()


def define_flags() -> None:
    """Defines the flags by which a command is told of a job."""
    flags.DEFINE_string("coordinator", None, "Of several processes: HOST:PORT of process 0.")
    flags.DEFINE_integer("processes", None, "Of several processes: how many there are.")
    flags.DEFINE_integer("process", None, "Of several processes: which one this is, from 0.")


def join_as_told(**mine: Any) -> None:
    """Joins the job that the flags or the environment tell of, and requires that all processes are told the same.

    Args:
        mine: what this process is to do, by names that a message can say; those of fields as a dict.

    Raises:
        UserError: it cannot be joined, or another process is told something else.
    """
    given = flags.FLAGS
    join(given.coordinator, given.processes, given.process)
    of_jax = {"version of jax": jax.__version__, "JAX_ENABLE_X64": bool(jax.config.read("jax_enable_x64"))}
    platform = jax.devices()[0].platform if is_joined() else ""
    agree("command", {"--processes": given.processes, **of_jax, "a platform": platform, **mine})


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the job that the flags or the environment tell of, if any. To be called before JAX computes.

    Args:
        coordinator: HOST:PORT of process 0; None to be found by JAX (SLURM, Open MPI, Cloud TPU).
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        UserError: the flags do not fit each other, or what the environment tells cannot be used.
    """
    _check(coordinator, processes, process)
    if coordinator is None and not supervision.is_told((), os.environ):
        return
    if processes == 1:
        return
    if coordinator is not None and process == 0:
        _require_free(coordinator)
    # It would take SIGTERM for itself; here a signal ends a run with a checkpoint.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            None if coordinator else supervision.local_devices(os.environ),
            cluster_detection_method="deactivate" if coordinator else None,
            initialization_timeout=_JOINING,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_ENDING,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"the job of several processes cannot be joined: {str(error).splitlines()[0]}") from error
    if not is_first():
        screen.silence()
    if is_joined():
        _watching.append(threading.Thread(target=_watch, daemon=True))
        _watching[0].start()


def _check(coordinator: str | None, processes: int | None, process: int | None) -> None:
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise UserError(f"{', '.join(missing)} missing; a job needs --coordinator=HOST:PORT --processes=N --process=I")
    if coordinator is None or processes is None or process is None:
        return
    if not re.fullmatch(r"[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", coordinator):
        raise UserError(f"--coordinator is {coordinator!r}; it must be HOST:PORT of process 0, such as node1:12345")
    if not 1 <= int(coordinator.rpartition(":")[2]) <= 65535:
        raise UserError(f"--coordinator is {coordinator!r}; a port is a number from 1 to 65535")
    if processes < 1:
        raise UserError(f"--processes is {processes}; it must be at least 1")
    if not 0 <= process < processes:
        raise UserError(f"--process is {process}; of {processes} processes it must be from 0 to {processes - 1}")


def _require_free(coordinator: str) -> None:
    """The runtime would end the process without a word."""
    port = int(coordinator.rpartition(":")[2])
    try:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("", port))
    except OSError as error:
        raise UserError(
            f"--coordinator is {coordinator!r}; port {port} cannot be used here: {error.strerror}"
        ) from error


def is_joined() -> bool:
    """Whether this process is one of several.

    >>> is_joined()
    False
    """
    return _client() is not None and jax.process_count() > 1


def count() -> int:
    """How many processes there are.

    >>> count()
    1
    """
    return int(jax.process_count()) if is_joined() else 1


def is_first() -> bool:
    """Whether this is the process that writes records and the screen; of one process it is.

    >>> is_first()
    True
    """
    return not is_joined() or jax.process_index() == 0


def agree(about: str, mine: Mapping[str, Any]) -> None:
    """Requires that all processes hold the same values.

    Args:
        about: what they are of.
        mine: the values of this process, by names that a message can say.

    Raises:
        UserError: another process holds another one.
    """
    if not is_joined():
        return
    said = share(about, dict(mine))
    first = said[0]
    for process, theirs in enumerate(said):
        for name in sorted({*first, *theirs}):
            one, other = (values.get(name, "nothing") for values in (first, theirs))
            if one != other:
                raise UserError(f"process {process} has {name} {other}, process 0 has {one}; all need the same")


def share(about: str, mine: Any, meanwhile: Callable[[], Any] = lambda: None) -> list[Any]:
    """Tells all processes something, and hears what they tell.

    Args:
        about: what it is of; all processes share the same things in the same order.
        mine: plain values.
        meanwhile: called again and again while others are waited for.

    Returns:
        What each process has told, in their order; of one process its own.
    """
    if not is_joined():
        return [mine]
    client, place = _client(), f"{_ALL}/{next(_asked)}/{about}"
    client.key_value_set(f"{place}/{jax.process_index()}", json.dumps(mine))
    return [json.loads(_heard(client, f"{place}/{process}", meanwhile)) for process in range(count())]


def _heard(client: Any, key: str, meanwhile: Callable[[], Any]) -> str:
    """Waits for what another process says; the watch ends this one where that is lost."""
    while True:
        meanwhile()
        try:
            # Not longer at a time, so that signals are heard.
            return str(client.blocking_key_value_get(key, 500))
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def any_of(mine: bool) -> bool:
    """Whether it is so in some process; all ask at the same point.

    Args:
        mine: whether it is so in this one.

    Returns:
        The same in all processes.

    >>> any_of(True)
    True
    """
    if not is_joined():
        return mine
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(jax.numpy.array(mine)).any())


def tell(word: str) -> None:
    """Tells the others something, which they hear within some seconds by `is_told`; of one process it does nothing.

    Args:
        word: what.
    """
    if is_joined() and word not in _told:
        _told.add(word)
        _client().key_value_set(f"{_TOLD}/{word}", word, allow_overwrite=True)


def is_told(word: str) -> bool:
    """Whether some process has told it.

    Args:
        word: what.

    >>> is_told("nothing")
    False
    """
    return word in _told


def is_mine(number: int) -> bool:
    """Whether a part of what is divided among processes, counted from 0, is this one's.

    Args:
        number: of the part.

    >>> is_mine(7)
    True
    """
    return not is_joined() or number % jax.process_count() == jax.process_index()


def leave() -> None:
    """Waits for the others and leaves the job, at the end of what all have done."""
    if is_joined():
        share("the end", None)
        # A thread that asks the runtime while Python ends would be ended by it in the middle.
        _leaving.set()
        _watching[0].join()
        jax.distributed.shutdown()


def hear_why() -> None:
    """Waits, where a collective operation has failed, until it is known which process is lost: this one ends then."""
    time.sleep(2 * _HEARTBEAT)


def speak_alone() -> None:
    """Has this process print nothing of what the others say any more, for it has a message of its own."""
    _failing.set()


def fail(message: str, status: int) -> None:
    """Ends all processes of a job with a message of this one, this one too; of one process it does nothing.

    Args:
        message: what went wrong here.
        status: exit status of all.
    """
    if not is_joined():
        return
    here = jax.process_index()
    try:
        _client().key_value_set(f"{_FAILED}/{here}", json.dumps([status, message]))
        # Those who ask process 0 have to be answered before it is gone.
        time.sleep(3 * _LOOK if here == 0 else 0)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _watch() -> None:
    """Ends this process where another one says that it has failed."""
    client, here = _client(), jax.process_index()
    while not _leaving.wait(_LOOK):
        try:
            failed = client.key_value_dir_get(_FAILED)
            _told.update(value for _, value in client.key_value_dir_get(_TOLD))
        except Exception:  # Where process 0 is lost the runtime ends this one, and its parent says why.
            continue
        for key, value in failed:
            process = int(key.rpartition("/")[2])
            if process != here and not _failing.is_set():
                status, message = json.loads(value)
                print(f"error: process {process}: {message}", file=sys.stderr, flush=True)
                time.sleep(2 * _LOOK if here == 0 else 0)
                os._exit(status)


def _client() -> Any:
    # The store of the runtime has no public name; Orbax reaches for it in the same way.
    from jax._src import distributed

    return distributed.global_state.client
