"""How programs open runs to read them: `open_run` and `open_runs`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ranklog.view.run import Run, Runs


def open_run(run: str | os.PathLike[str] = "latest", directory: str | os.PathLike[str] | None = None) -> Run:
    """Open a run to read it, also while it is being written, and also after a crash.

    Ranks: any process, also one outside the job. Nothing is written in the run directory.

    Args:
        run: Path of a run directory, a run id, the unique beginning of an id, or ``"latest"`` for the newest run.
        directory: Where run ids are searched. Default: ``RANKLOG_DIR``, else ``mllogs``.

    Raises:
        RunNotFoundError: there is no such run.
        InvalidArgumentError: the beginning matches several runs.

    Example:
        >>> import tempfile, ranklog
        >>> folder = tempfile.TemporaryDirectory()
        >>> logger = ranklog.JournalLogger(savedir=folder.name)
        >>> with logger.start_logging():
        ...     for step in range(3):
        ...         logger.log(1 / (1 + step), "loss", step=step)
        >>> run = ranklog.open_run("latest", folder.name)
        >>> run.status, [metric.name for metric in run.names()]
        ('FINISHED', ['loss'])
        >>> run.metrics("loss").numpy()["value"].tolist()
        [1.0, 0.5, 0.3333333333333333]
        >>> run.close()
        >>> folder.cleanup()
    """
    from ranklog.view.find import find_run
    from ranklog.view.run import Run

    return Run(find_run(os.fspath(run), _directory(directory)))


def open_runs(directory: str | os.PathLike[str] | None = None) -> Runs:
    """Open every run in a directory to read it, oldest first. Directories that are not runs are left out.

    Ranks: any process, also one outside the job. Nothing is written in the run directories.

    Args:
        directory: Where to look. Default: ``RANKLOG_DIR``, else ``mllogs``.

    Raises:
        RunNotFoundError: there is no such directory.
    """
    from ranklog.journal.layout import find_runs
    from ranklog.model.errors import RunNotFoundError
    from ranklog.view.run import Run, Runs

    root = _directory(directory)
    if not root.is_dir():
        raise RunNotFoundError(f"{root} is not a directory: name a directory with runs, or set RANKLOG_DIR")
    return Runs(sorted((Run(run_dir) for run_dir in find_runs(root)), key=lambda run: run.facts.created_ns))


def _directory(directory: str | os.PathLike[str] | None) -> Path:
    from ranklog.view.find import runs_directory

    return runs_directory() if directory is None else Path(directory)
