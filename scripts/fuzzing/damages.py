"""Ways in which the files of a run come to harm, by accident or by a person's hand."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NOT_AN_OBJECT = (b"", b"[]", b"null", b"{}", b"3", b'"x"', b"[" * 200_000, b"NaN", b'{"a": NaN}', b"\xff\xfe{", b"{")
_OF_ANOTHER_TYPE: tuple[Any, ...] = (None, "x", -1, 1.5, True, [], [[1]], {}, 10**30, 1e308)
_LINES = (
    "garbage",
    "[]",
    "",
    '{"step": 3}',
    '{"step": "x", "epoch": 1, "split": "train"}',
    '{"step": 3, "epoch": 1, "split": "train", "loss": NaN, "learning_rate": 1}',
    '{"step": 3, "epoch": 1, "split": "validation", "loss": [1]}',
    '{"step": 3, "epoch": 1, "split": "validation", "loss": 1e999}',
    '{"step": 3, "epoch": 1, "split": "escape", "outcome": 4}',
    '{"step": 3, "epoch": 1, "split": "new", "anything": 4}',
    '{"step": 1e400, "epoch": 1, "split": "train", "loss": 1, "learning_rate": 1}',
    '{"step": 3, "epoch": -1, "split": "train", "loss": 1, "learning_rate": 1}',
    "[" * 100_000,
)


def _file(workdir: Path, chance: random.Random) -> Path | None:
    # Those that everything hangs on as often as the many of the checkpoints.
    below = "*" if chance.random() < 0.5 else "checkpoints/**/*"
    found = [path for path in workdir.glob(below) if path.is_file() and path.name != ".lock"]
    # Some names are random.
    files = sorted(found, key=lambda path: (path.parent, path.stat().st_size, path.name))
    return chance.choice(files) if files else None


def _truncated(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content) + 1)])


def _flipped(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))


def _removed(path: Path, chance: random.Random) -> None:
    path.unlink()


def _replaced(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.choice(_NOT_AN_OBJECT))


def _made_a_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _made_a_dangling_link(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to("/nonexistent/file")


def _lengthened(path: Path, chance: random.Random) -> None:
    with open(path, "ab") as file:
        file.write(bytes(chance.randrange(256) for _ in range(chance.randrange(1, 40))))


_OF_A_FILE = (_truncated, _flipped, _removed, _replaced, _made_a_folder, _made_a_dangling_link, _lengthened)


def _some_file(workdir: Path, chance: random.Random) -> str:
    path = _file(workdir, chance)
    if path is None:
        return ""
    how = chance.choice(_OF_A_FILE)
    how(path, chance)
    return f"{path.relative_to(workdir)} {how.__name__.strip('_')}"


def _line_of_metrics(workdir: Path, chance: random.Random) -> str:
    path = workdir / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines(keepends=True) if path.is_file() else []
    if not lines:
        return ""
    at = chance.randrange(len(lines))
    how = chance.choice(("wrong", "wrong", "twice", "missing", "carriage return"))
    changed = {"wrong": chance.choice(_LINES) + "\n", "twice": 2 * lines[at], "missing": ""}
    lines[at] = changed.get(how, lines[at].replace("\n", "\r\n"))
    path.write_text("".join(lines))
    return f"metrics.jsonl with line {at + 1} {how}"


def _field_of_json(workdir: Path, chance: random.Random) -> str:
    files = [workdir / "config.json", *sorted(workdir.glob("checkpoints/*/progress/metadata"))]
    path = chance.choice(files)
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(content, dict) or not content:
        return ""
    name = chance.choice(sorted(content))
    if chance.random() < 0.3:
        del content[name]
    else:
        content[name] = chance.choice(_OF_ANOTHER_TYPE)
    if chance.random() < 0.2:
        content["of another version"] = 1
    path.write_text(json.dumps(content))
    return f"{path.relative_to(workdir)} with another {name}"


def _checkpoint_copied(workdir: Path, chance: random.Random) -> str:
    steps = sorted(path for path in workdir.glob("checkpoints/0*") if path.is_dir())
    if not steps:
        return ""
    name = chance.choice(("00000001", "00009999", "99999999", "7", "000000050", "123456789012345678901"))
    if not (workdir / "checkpoints" / name).exists():
        shutil.copytree(chance.choice(steps), workdir / "checkpoints" / name, symlinks=True)
    return f"checkpoints/{name} copied"


def _folder_more(workdir: Path, chance: random.Random) -> str:
    name = chance.choice(("00009999", "-1", "0x10", "1e3", "unreadable", "00000120.orbax-checkpoint-tmp-0", "①"))
    if not (workdir / "checkpoints").is_dir():
        return ""
    (workdir / "checkpoints" / name).mkdir(exist_ok=True)
    return f"checkpoints/{name} empty"


def _checkpoints_elsewhere(workdir: Path, chance: random.Random) -> str:
    folder = workdir / "checkpoints"
    if folder.is_symlink() or not folder.is_dir():
        return ""
    how = chance.choice(("linked", "removed", "a file", "emptied"))
    if how == "linked":
        folder.rename(workdir.parent / "moved")
        folder.symlink_to(workdir.parent / "moved")
        return "checkpoints linked"
    shutil.rmtree(folder)
    if how == "a file":
        folder.write_text("")
    elif how == "emptied":
        folder.mkdir()
    return f"checkpoints {how}"


_DAMAGES: tuple[Callable[[Path, random.Random], str], ...] = (
    *(3 * (_some_file,)),
    _line_of_metrics,
    _field_of_json,
    _checkpoint_copied,
    _folder_more,
    _checkpoints_elsewhere,
)


def harm(workdir: Path, chance: random.Random) -> tuple[str, ...]:
    """Damages a run.

    Args:
        workdir: with a run in it.
        chance: draws.

    Returns:
        What was done, each beginning with the path.
    """
    done = [chance.choice(_DAMAGES)(workdir, chance) for _ in range(chance.choice((1, 1, 2, 3)))]
    return tuple(said for said in done if said)
