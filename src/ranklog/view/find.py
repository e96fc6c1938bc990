"""Finds a run from user input: a path, a run id, the unique beginning of an id, or ``latest``."""

from __future__ import annotations

import os
from pathlib import Path

from ranklog.journal.layout import find_runs, read_facts, segments
from ranklog.model.errors import InvalidArgumentError, RunNotFoundError

LATEST = "latest"
DIR_VARIABLE = "RANKLOG_DIR"
DEFAULT_DIR = "mllogs"
_SHOWN = 5


def runs_directory() -> Path:
    """Return the directory in which run ids are searched: RANKLOG_DIR, or ``mllogs``."""
    return Path(os.environ.get(DIR_VARIABLE) or DEFAULT_DIR)


def find_run(name: str, directory: Path) -> Path:
    """Return the run directory for a name.

    Args:
        name: Path of a run directory, a run id in ``directory``, its unique beginning, or ``latest`` for the newest
            run in ``directory``.
        directory: Where run ids are searched.

    Raises:
        RunNotFoundError: there is none. Lists existing runs.
        InvalidArgumentError: the beginning matches several runs. Lists them.
    """
    if Path(name).is_dir():
        runs = list(find_runs(Path(name)))
        if len(runs) > 1:
            raise InvalidArgumentError(f"{name} holds several runs, name one of them: {_listing(runs)}")
        if runs:
            return runs[0]
        if segments(Path(name)):
            return Path(name)  # a run without its facts, which `ranklog verify` reports
        raise RunNotFoundError(f"{name} is a directory without runs")
    if not directory.is_dir():
        raise RunNotFoundError(f"there is no run {name!r}: {directory} does not exist (RANKLOG_DIR sets where to look)")
    runs = list(find_runs(directory))
    exact = [run for run in runs if run.name == name]
    if not exact and name == LATEST and runs:
        return max(runs, key=lambda run: (read_facts(run).created_ns, run.name))
    found = exact or [run for run in runs if name and run.name.startswith(name)]
    if not found:
        raise RunNotFoundError(f"there is no run {name!r} in {directory}: {_listing(runs)}")
    return _only(name, found)


def _only(name: str, runs: list[Path]) -> Path:
    if len(runs) > 1:
        raise InvalidArgumentError(f"{name!r} matches {len(runs)} runs, give more of the id: {_listing(runs)}")
    return runs[0]


def _listing(runs: list[Path]) -> str:
    if not runs:
        return "it has no runs"
    names = ", ".join(run.name for run in runs[-_SHOWN:])
    return f"there are {len(runs)}, for example {names}" if len(runs) > _SHOWN else f"there are {names}"
