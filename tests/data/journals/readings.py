"""Reads a kept journal with the command line; leaves out what depends on the place."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from pathlib import Path
from unittest import mock

from ranklog.cli import main

COMMANDS = {
    "show.json": ("show", "{run}", "--json"),
    "verify.json": ("verify", "{run}", "--json"),
    "ls.json": ("ls", "{runs}", "--json"),
    "export.jsonl": ("export", "{run}", "--format", "jsonl"),
    "export.csv": ("export", "{run}", "--format", "csv"),
}
MERGED = "merged.csv"
"""The metrics of a run with spill files, after `ranklog sync` has merged those."""
LONG_AGO_S = 1_000_000_000


def answers(kept: Path, folder: Path) -> dict[str, str]:
    """Output of every command in `COMMANDS` for a copy of a run, by the name of the file that keeps it.

    Args:
        kept: The run directory.
        folder: Where the copy is made.
    """
    run = _private_copy(kept, folder)
    found = {name: _ask(run, *command) for name, command in COMMANDS.items()}
    if (run / "spill").exists():
        _ask(run, "sync", "{run}")
        found[MERGED] = _ask(run, *COMMANDS["export.csv"])
    return found


def _private_copy(kept: Path, folder: Path) -> Path:
    """A copy with the permissions of a run directory. Its times are old, so the run does not count as running."""
    run = folder / kept.name
    shutil.copytree(kept, run)
    for path in (run, *run.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return run


def _ask(run: Path, *command: str) -> str:
    arguments = [part.format(run=run, runs=run.parent) for part in command]
    out = io.StringIO()
    with mock.patch.object(sys, "argv", ["ranklog", *arguments]), contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as stop:
            assert stop.code in (None, 0, 1), arguments
    return out.getvalue().replace(str(run.parent), "/runs")
