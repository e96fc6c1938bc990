"""Summaries of all runs in a directory. Those of runs that have ended are kept in the cache.

A summary is used again only if no file that it was made from changed: the facts, the segments of the journal, and the
cursors, by size and times. A run that has not ended is summarised each time, because its status
depends on its process and on the time.

Trouble with the cache is not reported: it only costs time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ranklog.journal.layout import FACTS, find_runs, write_private
from ranklog.journal.liveness import this_host
from ranklog.model import __version__
from ranklog.model.errors import RunNotFoundError
from ranklog.view.index.cache import cache_root, check_own, own_dir
from ranklog.view.index.state import guard, guarded
from ranklog.view.summary import ENDED, RunSummary, summarise

_LISTS = "lists"
_READ = (FACTS, "journal-")

Files = tuple[tuple[str, int, int, int], ...]
"""Name, size, and times of the last modification and change of files."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A summary, and the files that it was made from."""

    files: Files
    summary: RunSummary


class KeptList(msgspec.Struct, frozen=True):
    """The file of the cache: summaries by run directory, and the version of ranklog that made them."""

    version: str
    runs: dict[str, Kept]


def list_runs(directory: Path) -> tuple[list[RunSummary], list[RunNotFoundError]]:
    """Summarise every run at or below a directory, oldest first.

    Returns:
        The summaries, and an error for each run that cannot be read.
    """
    path = _path(directory)
    before = _load(path)
    after: dict[str, Kept] = {}
    found: list[RunSummary] = []
    errors: list[RunNotFoundError] = []
    for run_dir in find_runs(directory):
        files = tuple(_files(run_dir))
        kept = before.get(str(run_dir))
        if kept is None or kept.files != files:
            try:
                kept = Kept(files, summarise(run_dir))
            except RunNotFoundError as error:
                errors.append(error)
                continue
        found.append(kept.summary)
        if kept.summary.status in ENDED:
            after[str(run_dir)] = kept
    if after != before:
        _save(path, after)
    return sorted(found, key=lambda run: run.facts.created_ns), errors


def remove_lists(root: Path) -> None:
    """Remove all summaries of the cache."""
    with suppress(OSError):
        check_own(root)
        for path in (root / _LISTS).glob("*/*"):
            with suppress(OSError):
                path.unlink()


def _files(run_dir: Path) -> Iterator[tuple[str, int, int, int]]:
    for folder, names in ((run_dir, _READ), (run_dir / "cursors", "")):
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.name.startswith(names):
                    found = entry.stat()
                    yield entry.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _path(directory: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:32]
    return cache_root() / _LISTS / this_host() / digest


def _load(path: Path) -> dict[str, Kept]:
    try:
        check_own(cache_root())
        payload = guarded(path.read_bytes())
        kept = None if payload is None else msgspec.msgpack.decode(payload, type=KeptList)
    except (OSError, msgspec.MsgspecError):
        return {}
    return kept.runs if kept is not None and kept.version == __version__ else {}


def _save(path: Path, runs: dict[str, Kept]) -> None:
    with suppress(OSError):
        own_dir(cache_root(), _LISTS, this_host())
        write_private(path, guard(msgspec.msgpack.encode(KeptList(__version__, runs))))
