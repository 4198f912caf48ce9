"""How every command of this project reads its flags and ends: one line for a mistake, and an exit status."""

import atexit
import difflib
import itertools
import logging
import os
import re
import signal
import sys
import threading
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

try:
    import jax
except ValueError as error:
    # JAX reads its variables when it is imported, before there is a command to end.
    print(f"error: JAX cannot read its variables: {error}; correct or unset that one", file=sys.stderr)
    sys.exit(2)

from tricks import config, paths
from tricks.cli import compilation_cache, convolutions, invocation, job, option_flags, screen, shipped
from tricks.errors import DivergedError, UserError

DONE, MISTAKE, DIVERGED, INTERRUPTED = 0, 2, 3, 130
# What collective operations say where a process is lost.
_OF_OTHERS = re.compile("Gloo|NCCL|[Cc]oordination|Connection (reset|closed)|heartbeat")
_of_own_functions: list[tuple[str, Any]] = []  # Options that were given, by their fields.


def run(
    main: Callable[[list[str]], int | None],
    define: Callable[[], None] = lambda: None,
    default_config: str | None = None,
) -> None:
    """Parses the flags, calls `main` with the arguments that are no flags, and exits.

    Exit status: what `main` returned (None is 0); 2 after `error: ...` for a `UserError`, a wrong flag, or a disk
    that is full; 3 for a `DivergedError`; 130 for an interruption.

    Args:
        main: the command.
        define: defines those flags of which a definition may fail: one of a config file reads it.
        default_config: of a command that has the flag --config, where it is not given; as it would be typed.
    """
    screen.secure()
    # Pictures go to files. A notebook leaves its own kind to what is started from it, which may lack it.
    os.environ.pop("MPLBACKEND", None)
    for library in ("absl", "matplotlib"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    _silence_threads()
    for number in (signal.SIGINT, signal.SIGTERM):
        # A command with a handler of its own, as training has, keeps it: an exception may be lost, as in a callback of
        # the garbage collector.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, signal.default_int_handler)
    atexit.register(_ignore_signals)
    try:
        arguments = _parse(sys.argv, main, define, default_config)
        compilation_cache.enable()
        convolutions.enable()
        status = main(arguments) or DONE
        job.leave()
    except (UserError, flags.Error) as error:
        status = _fail(error, MISTAKE)
    except DivergedError as error:
        # It is the same in all processes of a job.
        status = _fail(error, DIVERGED, alone=False)
    except OSError as error:
        if error.errno is None:
            raise
        status = _fail(error, MISTAKE)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if job.is_joined() and _OF_OTHERS.search(str(error)):
            job.hear_why()
        if not isinstance(error, MemoryError) and not re.search("RESOURCE_EXHAUSTED|Out of memory", str(error)):
            raise
        status = _fail(UserError("out of memory; choose a smaller network or data.batch_size"), MISTAKE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        job.fail("interrupted", INTERRUPTED)
        status = INTERRUPTED
    except Exception as error:
        if job.is_joined() and _OF_OTHERS.search(str(error)):
            job.hear_why()
        # JAX_DEBUG_NANS has a private kind of its own for what was compiled beforehand.
        if "FloatingPointError" not in type(error).__name__:
            raise
        status = _fail(DivergedError("JAX_DEBUG_NANS has found a nan; unset it, and the run tells its step"), DIVERGED)
    sys.exit(status)


def _ignore_signals() -> None:
    """Python takes handlers back before it is gone, and a command that has ended would seem to have been killed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _silence_threads() -> None:
    """What fails in a thread comes to whoever waits for it; libraries print it besides, page after page."""
    threading.excepthook = lambda arguments: None
    of_main = sys.excepthook

    # Threads that are not Python's come here.
    def hook(*arguments: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            of_main(*arguments)

    sys.excepthook = hook
    sys.unraisablehook = lambda arguments: None


def _fail(error: Exception, status: int, *, alone: bool = True) -> int:
    message = " ".join(str(error).split())
    job.speak_alone()
    if alone or job.is_first():
        print(f"error: {message}", file=sys.stderr)
    if alone:
        job.fail(message, status)
    else:
        job.leave()
    # What libraries leave for the end fails again, at length.
    logging.disable()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    return status


def _parse(
    argv: list[str], main: Callable[..., Any], define: Callable[[], None], default_config: str | None
) -> list[str]:
    define()
    if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in argv[1:]):
        _help(main.__module__)
        raise SystemExit(DONE)
    if default_config is not None:
        argv, _of_own_functions[:] = _without_options(argv)
        if not any(re.match("--?config(=|$)", argument) for argument in argv[1:]):
            argv = [argv[0], f"--config={default_config}", *argv[1:]]
        _check_config_fields(argv[1:])
        argv = shipped.in_flags(argv)
        _check_config_file(argv)
        # A config may import what lies beside it, which hides nothing that is installed.
        sys.path.extend(str(Path(file).resolve().parent) for file in _config_files(argv))
    try:
        return flags.FLAGS(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=1)
        meant = f"; did you mean --{close[0]}?" if close else "; --help lists the flags"
        raise UserError(f"unknown flag --{error.flagname}{meant}") from error
    except KeyboardInterrupt:
        raise
    except flags.Error as error:
        if default_config is None or "Traceback" not in str(error):
            raise
        # That of what the file raised, in the message.
        raise UserError(f"{_of_config(argv)}: {str(error).strip().splitlines()[-1]}{_place(argv, error)}") from error
    except (Exception, SystemExit) as error:  # Whatever a config file may raise.
        if default_config is None:
            raise
        raise UserError(f"{_of_config(argv)}: {type(error).__name__}: {error}{_place(argv, error)}") from error


def _without_options(argv: list[str]) -> tuple[list[str], list[tuple[str, Any]]]:
    """Takes out the fields that ml_collections does not know; it reads the command line once more by itself."""
    rest, options = option_flags.taken_from(argv)
    sys.argv = rest
    return rest, [*options.items()]


def _help(module: str) -> None:
    if module == "__main__":
        print(sys.modules[module].__doc__)
        print(flags.FLAGS.main_module_help())
        return
    name = module.split(".")[-1]
    print((sys.modules[module].__doc__ or "").replace(f"tricks {name}", invocation.command(name)))
    print(flags.FLAGS.module_help(module).replace(f"{module}:", f"{sys.argv[0]}:", 1))


def _of_config(argv: list[str]) -> str:
    return f"--config {', '.join(_config_files(argv))} cannot be read"


def _place(argv: list[str], error: BaseException) -> str:
    """The line of the config file that an error comes from, where it comes from one."""
    files = {Path(file).resolve() for file in _config_files(argv)}
    told = "".join([*traceback.format_tb(error.__traceback__), str(error)])
    lines = [n for file, n in re.findall(r'File "([^"\n]+)", line (\d+)', told) if Path(file).resolve() in files]
    return f" (line {lines[-1]})" if lines else ""


def _check_config_file(argv: list[str]) -> None:
    for file in _config_files(argv):
        if not Path(file).is_file():
            raise UserError(f"--config is {file!r}; there is no such file")


def _config_files(argv: list[str]) -> list[str]:
    # What follows a colon is an argument of get_config.
    given = [argument.split("=", 1)[1] for argument in argv if re.match("--?config=", argument)]
    given += [following for flag, following in itertools.pairwise(argv) if re.fullmatch("--?config", flag)]
    return [value.split(":")[0] for value in given]


def _check_config_fields(arguments: list[str]) -> None:
    fields = config.flatten(config.Config())
    given: Counter[str] = Counter()
    for argument in arguments:
        name = argument.lstrip("-").removeprefix("no").split("=")[0]
        if argument.startswith("-") and name.startswith("config."):
            field = name.removeprefix("config.")
            if f"{field}." in config.OPTIONS:
                raise UserError(f"--{name} needs the name of an option: --{name}.NAME=VALUE")
            if field not in fields:
                close = difflib.get_close_matches(field, fields, n=1)
                meant = f"did you mean {close[0]}?" if close else f"fields: {', '.join(fields)}"
                within = [other for other in fields if other.startswith(f"{field}.")]
                if within:
                    meant = f"fields there: {', '.join(within)}"
                raise UserError(f"--config.{field} is no field of the config; {meant}")
            given[field] += 1
    for field, times in given.items():
        if times > 1 and isinstance(fields[field], tuple):
            raise UserError(f"--config.{field} is given {times} times; give all in one, such as 512,512")


def experiment_flags() -> tuple[config.Config, Path, tuple[Path, Path]]:
    """The config of a run, its directory, and where its files are, by the flags --config and --workdir.

    Returns:
        The config, not yet validated; the directory: runs/NAME with the overridden fields in the name, where none was
        asked for; the folders that relative files are looked for in: the one we are in, and that of the config.
    """
    flag, workdir = flags.FLAGS["config"], flags.FLAGS.workdir
    file = Path(config_flags.get_config_filename(flag).split(":")[0])
    value: Any = flag.value
    for field, option in _of_own_functions:
        section, _, name = field.partition(".options.")
        options = getattr(getattr(value, section, None), "options", None)
        if isinstance(options, dict):
            options[name] = option
    folders = Path(), file.parent
    if workdir:
        return value, paths.local("--workdir", workdir), folders  # The shell leaves --workdir=~/run as it is.
    overrides = {**config_flags.get_override_values(flag), **dict(_of_own_functions)}
    name = "-".join([file.stem, *(f"{field}={_compact(overrides[field])}" for field in sorted(overrides))])
    return (
        value,
        Path("runs") / (name if len(name) <= 200 else f"{name[:180]}-{zlib.crc32(name.encode()):08x}"),
        folders,
    )


def told(given: Any) -> dict[str, Any]:
    """The fields of a config as flags, for those who have to be told the same.

    Args:
        given: a config; what is none is refused later, by those who read it.

    Returns:
        A value for each flag.

    >>> told(config.Config())["--config.seed"]
    0
    """
    fields = config.flatten(given) if isinstance(given, config.Config) else {}
    return {f"--config.{name}": value for name, value in fields.items()}


def _compact(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return re.sub(r"[^\w.,+-]", "_", text)
