"""The files of a report, each whole or absent."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tricks.cli.json_files import unfinished, write_json
from tricks.diagnosis.report.page import page
from tricks.errors import UserError

REPORT, PAGE, CONFIG = "report.json", "report.html", "run_config.py"


def write(report: Mapping[str, Any], workdir: Path) -> None:
    """Writes `report.json` and `report.html`.

    Args:
        report: as `judging.of_measurements` gives it.
        workdir: where to write.

    Raises:
        UserError: the folder cannot be written to.
    """
    with writing(workdir):
        file = workdir / PAGE
        unfinished(file).write_text(page(dict(report)), encoding="utf-8")
        unfinished(file).replace(file)
        write_json(workdir / REPORT, report)


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Says of a folder that it cannot be written to, and leaves nothing unfinished there.

    Args:
        workdir: the folder.

    Raises:
        UserError: it cannot be written to.
    """
    try:
        yield
    except OSError as error:
        for name in (REPORT, PAGE, CONFIG):
            with contextlib.suppress(OSError):
                unfinished(workdir / name).unlink(missing_ok=True)
        raise UserError(f"--workdir {workdir} cannot be written to ({error.strerror or error})") from error
