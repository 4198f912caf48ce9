"""How a person calls the commands: as `tricks NAME`, or by a script of a checkout. Messages name them the same way."""

import sys
from pathlib import Path

_SCRIPTS = {
    "train": "train.py",
    "spectrum": "scripts/spectrum.py",
    "sweep": "scripts/sweep.py",
    "diagnose": "scripts/diagnose.py",
    "reproduce": "scripts/reproduce.py",
    "prepare": "scripts/prepare_data.py",
}
_ROOT = Path(__file__).parents[2]


def command(name: str) -> str:
    """What is typed to start a command, by the door that this process came in by.

    Args:
        name: of the command, such as `prepare`.

    Returns:
        Such as `tricks prepare`, or `python scripts/prepare_data.py` in a checkout that is used by its scripts.

    >>> command("train")
    'python train.py'
    """
    program = _program()
    return f"{program} {name}" if program else f"python {_SCRIPTS[name]}"


def installation(extra: str) -> str:
    """What is typed to install the packages that a command needs.

    Args:
        extra: of pyproject.toml, such as `train`.

    Returns:
        A command of pip; in a checkout that is not installed one to be typed there.

    >>> installation("train")
    "pip install '.[train]'"
    """
    return f"pip install '{'tricks-jax' if _program() == 'tricks' else '.'}[{extra}]'"


def _program() -> str | None:
    # The dispatcher leaves there what was typed up to the name of the command.
    program = sys.argv[0].rpartition(" ")[0]
    if program in ("tricks", "python -m tricks"):
        return program
    # Without the scripts of a checkout, as in a notebook, there is the console command alone.
    return None if (_ROOT / "pyproject.toml").is_file() else "tricks"
