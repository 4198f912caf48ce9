"""One process of several is watched by its parent, which says in a line what JAX's runtime ends it with.

Where another process is lost, or does not come, the runtime ends this one at once, from a thread of its own, with a
page of addresses. So the command runs in a child, whose native output comes here; what Python prints goes out as ever.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from tricks.cli import screen

_MISTAKE, _INTERRUPTED = 2, 130
_KEPT = 2**16  # Bytes of native output that are kept to be read.
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
# What launchers tell each of their processes: how many there are.
_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
# What must be there beside them for JAX to find the rest.
_COMPLETE = {
    "SLURM_NTASKS": ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"),
    "OMPI_COMM_WORLD_SIZE": ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_RANK"),
}
# Lines of JAX's runtime and of its collectives, and those that follow them.
_NOISE = re.compile(
    # Two threads may print into one line.
    r"([EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ |.*\[Gloo\] |.*\bconnected to \d+ peer ranks|\*\*\* Check failure|    @ +0x"
    r"|WARNING: All log messages)"
)


def is_told(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether the flags or the environment tell of a job of several processes.

    Args:
        arguments: of the command.
        environment: its variables.

    Returns:
        Whether this process is to join one.

    >>> is_told(["--coordinator=host:1234", "--processes=2", "--process=0"], {})
    True
    >>> is_told([], {"SLURM_NTASKS": "4"})  # Of an allocation, not of a step that srun has begun.
    False
    """
    if any(re.match("--?coordinator(=|$)", argument) for argument in arguments):
        return True
    return launcher(environment) is not None or len(_hosts(environment)) > 1


def launcher(environment: Mapping[str, str]) -> str | None:
    """Who has started this process as one of several.

    Args:
        environment: of the process.

    Returns:
        `SLURM`, `Open MPI`, or None.

    >>> launcher({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:1", "OMPI_COMM_WORLD_RANK": "0"})
    'Open MPI'
    """
    for count, name in zip(_COUNTS, ("SLURM", "Open MPI"), strict=True):
        told = environment.get(count, "1")
        if told.isdecimal() and int(told) > 1 and all(other in environment for other in _COMPLETE[count]):
            return name
    return None


def local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """Which of the visible GPUs are this process's, where its launcher does not leave it to JAX, that takes one each.

    Where there are fewer than processes on the host, the launcher has given each its own, and they are counted from 0
    in each; where there are more, they are divided.

    Args:
        environment: of the process.

    Returns:
        Places among those that are visible; None to leave it to JAX.

    >>> slurm = {"SLURM_NTASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_LOCALID": "3"}
    >>> slurm |= dict.fromkeys(("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID"), "1")
    >>> local_devices(slurm | {"CUDA_VISIBLE_DEVICES": "0"}), local_devices(slurm | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    ([0], [3])
    """
    by, visible = launcher(environment), environment.get("CUDA_VISIBLE_DEVICES", "")
    if by is None or not visible or "JAX_LOCAL_DEVICE_IDS" in environment:
        return None
    if by == "SLURM":
        # Such as 8, 8(x4) or 2,1: of each node in turn, most of them alike.
        most = [int(one) for one in re.findall(r"(\d+)(?:\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))]
        here, place = max(most, default=0), environment["SLURM_LOCALID"]
    else:
        here = int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "0"))
        place = environment.get("OMPI_COMM_WORLD_LOCAL_RANK", "")
    if not here or not place.isdecimal():
        return None
    count = len(visible.split(","))
    each = count // here
    return list(range(count)) if each == 0 else list(range(int(place) * each, (int(place) + 1) * each))


def _hosts(environment: Mapping[str, str]) -> list[str]:
    """Of a slice of Cloud TPU."""
    return [host for host in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if host]


def begin(coordinator: str = "") -> None:
    """Returns in a child, in which the command goes on; the parent waits for it, and ends as it does.

    Args:
        coordinator: the address of process 0, where it is known, for messages.
    """
    if not hasattr(os, "fork"):
        return
    screen.secure()
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(writer)
        _watch(child, reader, coordinator)
    os.close(reader)
    with contextlib.suppress(OSError):
        # A signal to all of a terminal, or of a job, comes by the parent alone: a second one would end this at once.
        os.setpgid(0, 0)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(_MISTAKE)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with contextlib.suppress(OSError):
            # Python's own stream goes where it went; the number that libraries write to goes to the parent.
            own = os.fdopen(os.dup(number), "w", buffering=1, encoding=getattr(sys, name).encoding)
            os.dup2(writer, number)
            setattr(sys, name, own)
    os.close(writer)


def _watch(child: int, reader: int, coordinator: str) -> None:
    """Waits for the child, and ends as it has ended."""
    sent: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        sent.append(number)
        _send(child, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    said = bytearray()
    hearing = threading.Thread(target=_hear, args=(reader, said), daemon=True)
    hearing.start()
    while True:
        with contextlib.suppress(InterruptedError):
            _, ended = os.waitpid(child, 0)
            break
    hearing.join(1.0)
    status = os.waitstatus_to_exitcode(ended)
    text = said.decode(errors="replace")
    if status < 0 and sent:
        # It has not come to hear it, while it joined or left the others.
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(_INTERRUPTED)
    if status < 0:
        print(f"error: {explained(text, -status, coordinator)}", file=sys.stderr, flush=True)
        os._exit(_MISTAKE)
    for line in _worth_showing(text):
        print(line, file=sys.stderr, flush=True)
    os._exit(status)


def _send(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _hear(reader: int, said: bytearray) -> None:
    while part := os.read(reader, 4096):
        said += part
        del said[:-_KEPT]


def _worth_showing(text: str) -> list[str]:
    """What native libraries have printed, without what the runtime tells of each connection."""
    shown, hidden = [], False
    for line in text.splitlines():
        is_noise = _NOISE.match(line) is not None
        # A message of the runtime goes on in lines of its own.
        hidden = is_noise or (
            hidden and (not line or line[0].isspace() or line.startswith(("Additional", "RPC:", ":")))
        )
        if not hidden:
            shown.append(line)
    return shown


def explained(text: str, number: int, coordinator: str = "") -> str:
    """What has ended a process, in a line.

    Args:
        text: its native output.
        number: of the signal that ended it.
        coordinator: the address of process 0, where it is known.

    Returns:
        A sentence.

    >>> explained("F1 tasks are unhealthy (stopped sending heartbeats):\\n/job:jax_worker/replica:0/task:3\\n", 6)
    'process 3 has died or is out of reach, so this one has ended; the same commands go on from the last checkpoint'
    """
    again = "so this one has ended; the same commands go on from the last checkpoint"
    lost = re.findall(r"stopped sending heartbeats\):\s*\n((?:.*\d+\s*\n?)+?)(?=The tasks|\n|$)", text)
    if lost:
        numbers = sorted({int(found) for line in lost[-1].split() for found in re.findall(r"(\d+)$", line)})
        word = "process" if len(numbers) == 1 else "processes"
        have = "has died or is" if len(numbers) == 1 else "have died or are"
        return f"{word} {', '.join(map(str, numbers))} {have} out of reach, {again}"
    if "different incarnation" in text:
        return "two processes of the job have the same --process, or one was started again; each number is for one"
    if "RegisterTask" in text:
        of_whom = f" from {coordinator}" if coordinator else ""
        return (
            f"no answer{of_whom}: not all processes of the job have come together in time; see that all were started, "
            "with the same --coordinator and --processes, and that the address of process 0 can be reached"
        )
    if "leader task" in text or "Failed to send RPC to coordination service" in text:
        return f"process 0 has died or is out of reach, {again}"
    last = [line for line in text.splitlines() if line.startswith("F")]
    why = f": {' '.join(last[-1].split()[3:])}" if last else ""
    return f"this process was ended by {_name(number)}{why}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def of_several(arguments: Sequence[str], environment: Any = os.environ) -> None:
    """Puts a parent above this process, where it is one of several.

    Args:
        arguments: of the command.
        environment: its variables.
    """
    # What a file of flags tells is read later.
    by_file = any(re.match("--?flagfile(=|$)", argument) for argument in arguments)
    if by_file or is_told(arguments, environment):
        found = re.search(r"(?:^|\0)--?coordinator(?:=|\0)([^\0]*)", "\0".join(arguments))
        begin(found.group(1) if found else "")
