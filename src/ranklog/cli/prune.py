"""``ranklog prune``: delete completely delivered runs, after asking."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ranklog.cli.console import clean, out, print_error, table
from ranklog.delivery.lock import DeliveryLock, LockedError
from ranklog.journal.layout import find_runs
from ranklog.journal.reader import read_run
from ranklog.model.as_json import to_json
from ranklog.model.errors import RunNotFoundError
from ranklog.pipeline.reduction.merge import unmerged
from ranklog.view.find import runs_directory
from ranklog.view.index.cache import cache_root, evict
from ranklog.view.query import RunView
from ranklog.view.runs.listing import remove_lists
from ranklog.view.summary import ENDED, RunSummary
from ranklog.view.units import age, count, size_text

_DAY_S = 86400.0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One run that was checked.

    Attributes:
        run_id: The run.
        run_dir: Its directory.
        size: Its size in bytes.
        last_ns: Time of its last record.
        kept: Reason to keep it; None if it may be deleted.
        deleted: Whether it was deleted.
    """

    run_id: str
    run_dir: str
    size: int
    last_ns: int
    kept: str | None
    deleted: bool = False


def prune(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Directory with runs. Default: RANKLOG_DIR, else mllogs.", show_default=False
        ),
    ] = None,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", help="Only runs whose last record is older than this.", min=0)
    ] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Delete no runs, only what commands keep in the cache to read them faster.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array with one object per run. Deletes only with --yes.")
    ] = False,
) -> None:
    """Delete run directories whose backends have everything. Lists why the others stay, and asks first.

    Never deletes a run that has no backends, has not ended, is being delivered or is damaged. Keeps a run with records
    that a backend lacks or refused, and one with values of ranks that are not merged yet.

    Example: `ranklog prune mllogs --older-than 90`

    Exit status: 0; 1 if a run could not be deleted; 2 if the directory does not exist.
    """
    if cache:
        remove_lists(cache_root())
        typer.echo(f"deleted {size_text(evict(cache_root(), 0))} of {cache_root()}")
        return
    root = directory or runs_directory()
    if not root.is_dir():
        raise RunNotFoundError(f"{root} is not a directory: name a directory with runs, or set RANKLOG_DIR")
    found = [_check(run_dir, older_than) for run_dir in find_runs(root)]
    deletable = [each for each in found if each.kept is None]
    if not as_json:
        _print(found)
    if deletable and (yes or (not as_json and _confirmed(deletable))):
        done = {each.run_dir: _delete(each) for each in deletable}
        found = [done.get(each.run_dir, each) for each in found]
        if not as_json:
            out().print(f"deleted {count(sum(each.deleted for each in found), 'run')}")
    if as_json:
        typer.echo(to_json(found, indent=1))
    raise typer.Exit(1 if any(done.kept for done in found if done.run_dir in {g.run_dir for g in deletable}) else 0)


def _check(run_dir: Path, older_than_days: float) -> Candidate:
    size = sum(path.lstat().st_size for path in run_dir.rglob("*") if path.is_file())
    try:
        view = RunView(run_dir)
    except RunNotFoundError as error:
        return Candidate(run_id=run_dir.name, run_dir=str(run_dir), size=size, last_ns=0, kept=str(error))
    summary = view.summary
    kept = _reason(view, older_than_days)
    return Candidate(run_id=summary.facts.run_id, run_dir=str(run_dir), size=size, last_ns=summary.last_ns, kept=kept)


def _reason(view: RunView, older_than_days: float) -> str | None:
    """Return the reason to keep a run, or None."""
    run = view.summary
    if run.status not in ENDED:
        return f"it is {run.status}"
    if (time.time() - run.last_ns / 1e9) < older_than_days * _DAY_S:
        return f"its last record is {age(run.last_ns)}"
    if view.damage and not all(damage.torn for damage in view.damage):
        return "its journal is damaged"
    return _lacking(run) or ("values of its ranks are not merged: run `ranklog sync`" if _has_spills(run) else None)


def _lacking(run: RunSummary) -> str | None:
    own = [delivery for delivery in run.deliveries if not delivery.extra]
    if not run.deliveries:
        return "it has no backend"
    # A run without backends of its own counts as delivered once another destination has all of it.
    for delivery in own or run.deliveries:
        if not delivery.has_all or delivery.status is None:
            return f"{delivery.backend} does not have all records: run `ranklog sync`"
        if delivery.refused:
            return f"{delivery.backend} refused {count(len(delivery.refused), 'record')}, which only the journal has"
    return None


def _has_spills(run: RunSummary) -> bool:
    run_dir = Path(run.run_dir)
    return bool(unmerged(run_dir, (entry.record for entry in read_run(run_dir))))


def _confirmed(deletable: Sequence[Candidate]) -> bool:
    if not sys.stdin.isatty():
        print_error("nothing was deleted: confirm with --yes")
        return False
    size = size_text(sum(each.size for each in deletable))
    return typer.confirm(f"Delete {count(len(deletable), 'run')}, {size}, for good?")


def _delete(candidate: Candidate) -> Candidate:
    """Delete one run, unless another process delivers it or it changed since it was checked."""
    run_dir = Path(candidate.run_dir)
    lock = DeliveryLock(run_dir)
    try:
        lock.ensure()
        if RunView(run_dir).summary.last_ns != candidate.last_ns:
            lock.release()
            return msgspec.structs.replace(candidate, kept="it has new records")
        # Rename first, so that no command reads a half-deleted run.
        renamed = run_dir.with_name(f".{run_dir.name}.deleted")
        run_dir.rename(renamed)
        shutil.rmtree(renamed)
    except LockedError:
        return msgspec.structs.replace(candidate, kept="another process delivers it")
    except OSError as error:
        print_error(error)
        return msgspec.structs.replace(candidate, kept=str(error))
    return msgspec.structs.replace(candidate, deleted=True)


def _print(found: Sequence[Candidate]) -> None:
    if not found:
        print_error("no runs")
        return
    listing = table("RUN", "LAST", "SIZE", "", right=("LAST", "SIZE"))
    for each in found:
        last = age(each.last_ns) if each.last_ns else "-"
        listing.add_row(
            clean(each.run_id), last, size_text(each.size), clean(f"keep: {each.kept}") if each.kept else "delete"
        )
    out().print(listing)
