"""Finds a run from what a user types: a path, a run id, the beginning of one, or ``latest``."""

from __future__ import annotations

from pathlib import Path

from ranklog.journal.layout import find_runs, read_facts, segments
from ranklog.model.errors import InvalidArgumentError, RunNotFoundError

LATEST = "latest"
_SHOWN = 5


def find_run(name: str, directory: Path) -> Path:
    """The run directory that ``name`` means.

    Args:
        name: Path of a run directory, or a run id below ``directory``, or its unique beginning, or ``latest`` for the
            run below ``directory`` that was created last.
        directory: Where run ids are looked for.

    Raises:
        RunNotFoundError: there is none; names the runs that there are.
        InvalidArgumentError: the beginning fits several runs; names them.
    """
    if Path(name).is_dir():
        runs = list(find_runs(Path(name)))
        if runs:
            return _only(name, runs)
        if segments(Path(name)):
            return Path(name)  # a run without its facts: `ranklog verify` says so
        raise RunNotFoundError(f"{name} is a directory without a run in it")
    if not directory.is_dir():
        raise RunNotFoundError(f"there is no run {name!r}: {directory} does not exist (RANKLOG_DIR sets where to look)")
    runs = list(find_runs(directory))
    exact = [run for run in runs if run.name == name]
    if not exact and name == LATEST and runs:
        return max(runs, key=lambda run: (read_facts(run).created_ns, run.name))
    found = exact or [run for run in runs if name and run.name.startswith(name)]
    if not found:
        raise RunNotFoundError(f"there is no run {name!r} below {directory}: {_listing(runs)}")
    return _only(name, found)


def _only(name: str, runs: list[Path]) -> Path:
    if len(runs) > 1:
        raise InvalidArgumentError(f"{name!r} fits {len(runs)} runs, give more of the name: {_listing(runs)}")
    return runs[0]


def _listing(runs: list[Path]) -> str:
    if not runs:
        return "it has no runs"
    names = ", ".join(run.name for run in runs[-_SHOWN:])
    return f"there are {len(runs)}, for example {names}" if len(runs) > _SHOWN else f"there are {names}"
