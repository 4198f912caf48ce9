"""What a command is given beside the fields: other flags, paths, config files, variables, and where it prints."""

import os
import random
from pathlib import Path

from fuzzing.directories import CONFIG, ROOT

# None takes a variable away. What is none of the program's business must not end a run either.
VARIABLES: tuple[dict[str, str | None], ...] = (
    {"JAX_ENABLE_X64": "1"},
    {"JAX_ENABLE_X64": "maybe"},
    {"JAX_PLATFORMS": "cuda"},
    {"JAX_PLATFORMS": "bogus"},
    {"JAX_DEBUG_NANS": "1"},
    {"JAX_DISABLE_JIT": "1"},
    {"JAX_NUM_CPU_DEVICES": "2"},
    {"JAX_COMPILATION_CACHE_DIR": "/dev/null/programs"},
    {"JAX_COMPILATION_CACHE_MAX_SIZE": "many"},
    {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    {"XLA_FLAGS": "--xla_nonsense=1"},
    {"XLA_FLAGS": "nonsense"},
    {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"HOME": ""},
    {"HOME": None, "PATH": None, "LANG": None},
    {"HOME": "/nonexistent"},
    {"TMPDIR": "/nonexistent"},
    {"TFDS_DATA_DIR": "~nosuchuser/x"},
    {"TFDS_DATA_DIR": "/nonexistent"},
    {"COLUMNS": "3", "TERM": "dumb"},
    {"COLUMNS": "x", "TERM": ""},
    {"MPLBACKEND": "nonsense"},
    {"MPLCONFIGDIR": "/nonexistent"},
    {"PYTHONWARNINGS": "error"},
)
_LIST = """
from tricks.config import Config
def get_config():
    config = Config()
    config.model.hidden_sizes = [4]
    return config
"""
CONFIG_FILES = {
    "none.py": "def get_config(): return None",
    "exits.py": "import sys\ndef get_config(): sys.exit(3)",
    "divides.py": "def get_config(): return 1 / 0",
    "empty.py": "",
    "imports.py": "import nothing_of_that_name",
    "syntax.py": "def get_config(:",
    "interrupts.py": "raise KeyboardInterrupt",
    "dictionary.py": "def get_config(): return {'seed': 1}",
    "list.py": _LIST,
    "field.py": _LIST.replace("model.hidden_sizes = [4]", "optimizer.lr = 1.0"),
    "part.py": _LIST.replace("model.hidden_sizes = [4]", "model = None"),
    "binary.py": "\x00\x01",
}
CONFIGS = ("/nonexistent.py", "digts", "/tmp", "~nosuchuser/x.py", f"{CONFIG}:argument", str(ROOT / "README.md"), "")
FLAGS_OF_TRAINING = (
    "stray",
    "--flagfile=/nonexistent",
    "--seed=9223372036854775808",
    "--wrokdir=x",
    "--config.optimizer=adam",
    "--config.modle.dropout=0.1",
    "--config.model.hidden_sizes=4 --config.model.hidden_sizes=5",
    "--noconfig.model.batch_norm --config.model.batch_norm=true",
    "--config.model.dropout",
    "--noconfig.model.dropout",
    "--config.",
    "--config",
    "--",
    "-",
    "--=3",
    "--help",
    "--verbosity=x",
)
FLAGS_OF_SPECTRUM = {
    "split": ("train", "validation", "test", "all", ""),
    "examples": ("0", "40", "-1", "x", "99999999999", "1.5", "1"),
    "weights": ("last", "best", "first", ""),
    "statistics": ("running", "batch", "none"),
    "tolerance": ("0.01", "0", "-1", "nan", "inf", "1e-300", "x"),
    "gradient_tolerance": ("1e-3", "0", "-1", "nan", "inf", "1e300", "x"),
    "seed": ("1", "-1", "2147483648", "9223372036854775808", "x"),
}
REDIRECTIONS = ("", "", "", ">/dev/full", "2>/dev/full", ">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full 2>&1")


def workdir(chance: random.Random, folder: Path) -> str:
    """A path for a run directory that is no plain one.

    Args:
        chance: draws.
        folder: of the case.

    Returns:
        What stands behind --workdir=.
    """
    return chance.choice(
        (
            "~nosuchuser/x",
            "~/x",
            "gs://x/y",
            os.fsdecode(b"run\xff"),
            "",
            "ü ①",
            "with space/and\nline",
            "%s{}$HOME",
            "file",
            "file/below",
            "/proc/run",
            "/dev/null",
            "a" * 300,
            "/".join(["d" * 200] * 30),
            f"{folder}/run/../other",
            ".",
        )
    )


def flags(chance: random.Random, script: str) -> tuple[str, ...]:
    """Flags that are no fields.

    Args:
        chance: draws.
        script: for which.

    Returns:
        Flags.
    """
    if script == "train.py":
        return tuple(chance.choice(FLAGS_OF_TRAINING).split(" ")) if chance.random() < 0.1 else ()
    names = chance.sample(sorted(FLAGS_OF_SPECTRUM), chance.choice((0, 1, 2)))
    return tuple(f"--{name}={chance.choice(FLAGS_OF_SPECTRUM[name])}" for name in names)


def config(chance: random.Random, folder: Path) -> str:
    """A config file that is none of the usual.

    Args:
        chance: draws.
        folder: of the case, where `write_config_files` has been.

    Returns:
        What stands behind --config=.
    """
    return chance.choice((*CONFIGS, *(str(folder / "configs" / name) for name in CONFIG_FILES)))


def write_config_files(folder: Path) -> None:
    """Writes those of `CONFIG_FILES`.

    Args:
        folder: of the case.
    """
    (folder / "configs").mkdir()
    for name, content in CONFIG_FILES.items():
        (folder / "configs" / name).write_text(content)
