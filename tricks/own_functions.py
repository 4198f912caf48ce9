"""Functions of a person's own, `file.py:function` or `package.module:function`, and the files they are made of."""

import contextlib
import difflib
import importlib
import inspect
import itertools
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tricks.errors import DivergedError, UserError

__all__ = ["OwnFunction", "files_of", "find_file", "guarded", "is_own", "load"]

_numbers = itertools.count()
_PACKAGE = Path(__file__).resolve().parent
_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_INSTALLED = tuple(f"{path}{os.sep}" for folder in _LIBRARIES for path in (folder, folder.resolve()))


class OwnFunction:
    """A person's function, callable like it; what it raises becomes a `UserError` with the line in their file.

    Attributes:
        field: of the config, that names it.
        name: as it is written there.
        function: itself.
        root: folder that its own imports are found in.
        main: file that it stands in.
    """

    def __init__(self, field: str, name: str, root: Path, main: Path) -> None:
        self.field, self.name, self.root, self.main = field, name, root, main
        self.function: Callable[..., Any] | None = None
        # Modules of the person's own beside the file. They are not left in sys.modules, where a file of the same name
        # in another folder would be taken for them.
        self.modules: dict[str, ModuleType] = {}

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the function returns for the same arguments."""
        with _raising(self), _imports_of(self):
            assert self.function is not None, "it was not loaded"
            return self.function(*arguments, **options)


def is_own(name: str) -> bool:
    """Whether a name is that of a function of a person's own.

    >>> is_own("networks/cnn.py:build"), is_own("package.module:build"), is_own("cross_entropy")
    (True, True, False)
    """
    return ":" in name


def load(
    field: str, name: str, folders: Sequence[Path], *, written_in: Path | None = None, main: Path | None = None
) -> OwnFunction:
    """Imports the file or module, and finds the function in it.

    Args:
        field: of the config, for messages.
        name: `file.py:function` or `package.module:function`.
        folders: where a relative file is looked for, in this order; a module first there and then where Python finds
            it.
        written_in: the folder that a kept copy was made of; the file then believes itself to lie there, so that what
            it reads beside itself is found.
        main: the file within `folders[0]`, where that is a kept copy.

    Returns:
        The function.

    Raises:
        UserError: there is no such file, module or function, or importing it failed; then with the line.
    """
    place, _, attribute = name.rpartition(":")
    if not attribute.isidentifier() or not place:
        raise UserError(f"{field} is {name!r}; allowed: file.py:function or package.module:function")
    is_file = place.endswith(".py") or "/" in place
    if main is not None:
        own = OwnFunction(field, name, folders[0], folders[0] / main)
    elif is_file:
        file = find_file(field, place, folders)
        if file.is_dir():
            raise UserError(f"{field} is {name!r}; {place} is a folder; allowed: file.py:function")
        own = OwnFunction(field, name, file.parent, file)
    else:
        own = _module_named(field, name, place, folders)
    with _raising(own), _imports_of(own):
        found = _executed(own, written_in) if is_file else importlib.import_module(place)
    function = getattr(found, attribute, None)
    if not callable(function):
        functions = [n for n, value in vars(found).items() if inspect.isfunction(value) and not n.startswith("_")]
        close = difflib.get_close_matches(attribute, functions, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise UserError(
            f"{field} is {name!r}; {place} has no function {attribute}; {meant}functions there: "
            f"{', '.join(functions) or 'none'}"
        )
    own.function = function
    return own


def find_file(field: str, path: str, folders: Sequence[Path]) -> Path:
    """A file or folder that a config names.

    Args:
        field: of the config, for messages.
        path: absolute, or relative to one of the folders.
        folders: where it is looked for, in this order.

    Returns:
        Its absolute path.

    Raises:
        UserError: there is none.
    """
    typed = Path(path).expanduser()
    for folder in folders:
        if (folder / typed).exists():
            return (folder / typed).resolve()
    looked = " or ".join(dict.fromkeys(str(folder.resolve()) for folder in folders))
    where = "" if typed.is_absolute() else f" in {looked}"
    raise UserError(f"{field} is {path!r}; there is no such file{where}")


def files_of(own: OwnFunction) -> dict[str, Path]:
    """The Python files that a function is made of, as far as they were imported: its own, and those beside it.

    Args:
        own: the function.

    Returns:
        The file for its path relative to `own.root`.
    """
    modules = [Path(module.__file__) for module in own.modules.values() if module.__file__]
    return {str(file.relative_to(own.root)): file for file in sorted({own.main, *modules})}


def guarded(own: OwnFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that a person's own one has made, raising as that does.

    Args:
        own: that made it.
        function: what it made.

    Returns:
        The same function, but that what it raises becomes a `UserError` with the line in the person's file.
    """

    def call(*arguments: Any, **options: Any) -> Any:
        with _raising(own), _imports_of(own):
            return function(*arguments, **options)

    return call


def _module_named(field: str, name: str, module: str, folders: Sequence[Path]) -> OwnFunction:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        raise UserError(f"{field} is {name!r}; allowed: file.py:function or package.module:function")
    for folder in (*folders, *map(Path, sys.path)):
        for end in (f"{parts[-1]}.py", f"{parts[-1]}/__init__.py"):
            file = folder.joinpath(*parts[:-1], end)
            if file.is_file():
                return OwnFunction(field, name, folder.resolve(), file.resolve())
    raise UserError(f"{field} is {name!r}; there is no module {module}: give a file as file.py:function, or install it")


def _executed(own: OwnFunction, written_in: Path | None) -> ModuleType:
    # A name that no other file has: two networks called build.py are two modules.
    module = ModuleType(f"_own_{next(_numbers)}_{own.main.stem}")
    module.__file__ = str(own.main if written_in is None else written_in / own.main.relative_to(own.root))
    sys.modules[module.__name__] = module
    try:
        source = own.main.read_bytes()
    except OSError as error:
        raise UserError(f"{own.field} is {own.name!r}; its file cannot be read ({error.strerror})") from error
    exec(compile(source, str(own.main), "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def _imports_of(own: OwnFunction) -> Iterator[None]:
    """Lets imports find what lies beside the file, and takes it out of Python's modules again."""
    ours = _names_of(own)
    hidden = {name: module for name, module in [*sys.modules.items()] if name.split(".")[0] in ours}
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(own.modules)
    before = set(sys.modules)
    sys.path.insert(0, str(own.root))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(own.root))
        for name in {*sys.modules} - before | {*own.modules}:
            places = _places(sys.modules.get(name))
            if name in own.modules or (places and all(_is_beside(own, Path(place)) for place in places)):
                own.modules[name] = sys.modules.pop(name)
        sys.modules.update(hidden)


def _names_of(own: OwnFunction) -> set[str]:
    """First names of the modules that its imports must find in its own folder, whoever has imported others before."""
    names = {name.split(".")[0] for name in own.modules} | ({_top(own)} if own.main.parent != own.root else set())
    for name, module in [*sys.modules.items()]:
        # Of a person's own too, as those that a config imports: some of this folder, which would not be kept with the
        # run, or of another folder with a file of the same name.
        if name != "__main__" and any(not _is_installed(place) for place in _places(module)):
            first = name.split(".")[0]
            if (own.root / f"{first}.py").exists() or (own.root / first).is_dir():
                names.add(first)
    return names


def _places(module: Any) -> list[str]:
    # A folder without __init__.py has a path alone. Some modules answer to getattr with imports or warnings.
    known = getattr(module, "__dict__", {})
    file = known.get("__file__")
    return [file] if isinstance(file, str) else [*map(str, known.get("__path__", ()))]


def _is_installed(place: str) -> bool:
    return place.startswith((*_INSTALLED, f"{_PACKAGE}{os.sep}")) or f"{os.sep}site-packages{os.sep}" in place


def _top(own: OwnFunction) -> str:
    return own.main.relative_to(own.root).parts[0].removesuffix(".py")


def _is_beside(own: OwnFunction, file: Path) -> bool:
    if not file.is_relative_to(own.root) or file.is_relative_to(_PACKAGE):
        return False
    if _is_installed(f"{own.root}{os.sep}"):
        return file.relative_to(own.root).parts[0] in (_top(own), f"{_top(own)}.py")
    return not _is_installed(str(file))


@contextlib.contextmanager
def _raising(own: OwnFunction) -> Iterator[None]:
    try:
        yield
    except (UserError, DivergedError):
        raise
    except Exception as error:
        raise UserError(f"{own.field} is {own.name!r}; {_told(own, error)}") from error
    except SystemExit as error:
        raise UserError(f"{own.field} is {own.name!r}; it ended the program with status {error.code}") from error


def _told(own: OwnFunction, error: Exception) -> str:
    said = (str(error).strip() or "no message").splitlines()[0]
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ValueError) and Path(frames[-1].filename).is_relative_to(_PACKAGE):
        return said  # What this package says of what it was given needs no line.
    lines = [(frame.filename, frame.lineno) for frame in frames if _is_beside(own, Path(frame.filename))]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno))
    where = f" at {Path(lines[-1][0]).name}, line {lines[-1][1]}" if lines else ""
    return f"it raised {type(error).__name__}{where}: {said}"
