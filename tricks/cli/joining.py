"""How a process joins a job of several, on JAX's own runtime."""

import os
import re
import signal
import socket
import threading
import time
from typing import Any

import jax
from absl import flags

from tricks.cli import job, screen, supervision
from tricks.errors import UserError

_ANSWERING, _JOINING, _ENDING = 20, 20, 60  # Seconds.
_LOOK = 0.05
_INTERRUPTED = 130


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
    platform = jax.devices()[0].platform if job.is_joined() else ""
    job.agree("command", {"--processes": given.processes, **of_jax, "a platform": platform, **mine})


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
    if coordinator is not None and process != 0:
        _await_answer(coordinator)
    try:
        _await_others(
            coordinator_address=coordinator,
            num_processes=processes,
            process_id=process,
            local_device_ids=None if coordinator else supervision.local_devices(os.environ),
            cluster_detection_method="deactivate" if coordinator else None,
            initialization_timeout=_JOINING,
            heartbeat_timeout_seconds=job.HEARTBEAT,
            shutdown_timeout_seconds=_ENDING,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"the job of several processes cannot be joined: {str(error).splitlines()[0]}") from error
    if not job.is_first():
        screen.silence()
    job.begin_watch()
    _tell_of_signals()


def _tell_of_signals() -> None:
    """Where no run listens for them, before its first step and after its last, the others have to be told."""
    if job.is_joined() and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: job.fail("interrupted", _INTERRUPTED))


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


def _await_answer(coordinator: str) -> None:
    """Returns when someone listens there. The runtime, where it finds nobody, looks again only after a second."""
    host, _, port = coordinator.rpartition(":")
    until = time.monotonic() + _ANSWERING
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                why = (
                    f"there is no host of the name {host}"
                    if isinstance(error, socket.gaierror)
                    else (error.strerror or "the host does not answer").lower()
                )
                raise UserError(
                    f"no answer from {coordinator} in {_ANSWERING} s, {why}; see that process 0 was started, and that "
                    "--coordinator is its address"
                ) from error
        time.sleep(_LOOK)


def _await_others(**of_job: Any) -> None:
    """Joins in a thread, for in the runtime itself no signal would be heard until all have come."""
    failed: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(**of_job)
        except Exception as error:
            failed.append(error)

    joining = threading.Thread(target=initialize, daemon=True)
    joining.start()
    while joining.is_alive():
        joining.join(_LOOK)
    if failed:
        raise failed[0]
