"""A job of several processes, on JAX's own runtime: agreeing in it, and failing together."""

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from tricks.errors import UserError

HEARTBEAT = 20
"""Seconds without a sign of life after which a process is lost."""
_LOOK = 1.0
_FAILED = "tricks/failed"
_ALL = "tricks/said"
_TOLD = "tricks/told"
_failing, _leaving = threading.Event(), threading.Event()
_watching: list[threading.Thread] = []
_told: set[str] = set()
_asked = itertools.count()


def begin_watch() -> None:
    """Has this process, which has joined, end where another one fails."""
    if is_joined():
        _watching.append(threading.Thread(target=_watch, daemon=True))
        _watching[0].start()


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
        # From here on nothing is left to interrupt; who was interrupted on the way here has told the others, who look
        # for that until all have come as far.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        share("gone", None)
        # A thread that asks the runtime while Python ends would be ended by it in the middle.
        _leaving.set()
        _watching[0].join()
        jax.distributed.shutdown()


def hear_why() -> None:
    """Waits, where a collective operation has failed, until it is known which process is lost: this one ends then."""
    time.sleep(2 * HEARTBEAT)


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
