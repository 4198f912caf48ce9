"""Files of a cache come to be whole or not at all, made by one process."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import ROOT
from tricks.data import cache_files

_KILLED = """
import os, signal, sys
from pathlib import Path
from tricks.data import cache_files
with cache_files.written(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), int(sys.argv[2]))
    signal.pause()
"""


@pytest.fixture(params=["nameless", "named"])
def kind(request, monkeypatch):
    """Of a file system with files that no folder lists, and of another."""
    if request.param == "named":
        monkeypatch.setattr(cache_files, "_nameless", lambda folder: None)
    return request.param


def test_a_file_is_replaced_when_all_is_written(kind, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with cache_files.written(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_bytes() == b"before"
        assert len([*tmp_path.iterdir()]) == (1 if kind == "nameless" else 2)
    assert path.read_bytes() == b"after"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_of_a_failure_nothing_is_left(kind, error, tmp_path):
    def fail():
        with cache_files.written(tmp_path / "file") as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert not [*tmp_path.iterdir()]


def test_of_a_process_that_is_killed_nothing_is_left(tmp_path):
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "file"), str(int(signal.SIGKILL))]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert not [*tmp_path.iterdir()]


def test_parts_of_processes_that_were_killed_go_after_a_day(kind, tmp_path):
    ages = {"file.1.part": 1.01, "file.2.part": 0.99, f"file.{os.getpid()}.part": 0, "other.1.part": 9}
    for name, days in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - days * 24 * 3600,) * 2)
    with cache_files.written(tmp_path / "file") as file:
        file.write(b"all")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "file.2.part", "other.1.part"}


def test_one_at_a_time(tmp_path):
    inside, most = [], []

    def make():
        with cache_files.alone(tmp_path / "file"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]
    assert not [*tmp_path.iterdir()]
