"""``ranklog prune``: deletes runs whose backends have everything, after asking."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ranklog.cli.console import clean, out, print_error, runs_directory, table
from ranklog.cli.sync.outcome import OVER
from ranklog.delivery.lock import DeliveryLock, LockedError
from ranklog.journal.layout import find_runs
from ranklog.journal.reader import read_run
from ranklog.model.as_json import to_json
from ranklog.model.errors import RunNotFoundError
from ranklog.pipeline.merge import unmerged
from ranklog.view.query import RunView
from ranklog.view.summary import RunSummary
from ranklog.view.units import age, count, size_text

_DAY_S = 86400.0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One run that was looked at.

    Attributes:
        run_id: The run.
        run_dir: Where it lies.
        size: Bytes that it takes.
        last_ns: Time of its last record.
        kept: Why it stays; None where it may go.
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
        typer.Argument(metavar="[DIR]", help="Where to look; default RANKLOG_DIR, else mllogs.", show_default=False),
    ] = None,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", help="Only runs whose last record is older than that.", min=0)
    ] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array, one object a run; deletes only with --yes.")
    ] = False,
) -> None:
    """Delete run directories whose backends have everything; tells why the others stay, and asks before.

    Never deleted: a run without backends, one that is not over, is delivered right now, has something that a backend
    lacks or refused, is damaged, or has values of ranks that are not merged yet.

    Example: `ranklog prune mllogs --older-than 90`

    Exit status: 0; 1 when some could not be deleted; 2 when there is no such directory.
    """
    root = directory or runs_directory()
    if not root.is_dir():
        raise RunNotFoundError(f"{root} is not a directory: name one with runs, or set RANKLOG_DIR")
    found = [_look(run_dir, older_than) for run_dir in find_runs(root)]
    going = [each for each in found if each.kept is None]
    if not as_json:
        _print(found)
    if going and (yes or (not as_json and _agreed(going))):
        done = {each.run_dir: _delete(each) for each in going}
        found = [done.get(each.run_dir, each) for each in found]
        if not as_json:
            out().print(f"deleted {count(sum(each.deleted for each in found), 'run')}")
    if as_json:
        typer.echo(to_json(found, indent=1))
    raise typer.Exit(1 if any(done.kept for done in found if done.run_dir in {g.run_dir for g in going}) else 0)


def _look(run_dir: Path, older_than_days: float) -> Candidate:
    size = sum(path.lstat().st_size for path in run_dir.rglob("*") if path.is_file())
    try:
        view = RunView(run_dir)
    except RunNotFoundError as error:
        return Candidate(run_id=run_dir.name, run_dir=str(run_dir), size=size, last_ns=0, kept=str(error))
    summary = view.summary
    kept = _reason(view, older_than_days)
    return Candidate(run_id=summary.facts.run_id, run_dir=str(run_dir), size=size, last_ns=summary.last_ns, kept=kept)


def _reason(view: RunView, older_than_days: float) -> str | None:
    """Why a run stays."""
    run = view.summary
    if run.status not in OVER:
        return f"it is {run.status}"
    if (time.time() - run.last_ns / 1e9) < older_than_days * _DAY_S:
        return f"its last record is {age(run.last_ns)}"
    if view.damage and not all(damage.torn for damage in view.damage):
        return "its journal is damaged"
    return _lacking(run) or ("values of its ranks are not merged: run `ranklog sync`" if _has_spills(run) else None)


def _lacking(run: RunSummary) -> str | None:
    own = [delivery for delivery in run.deliveries if not delivery.extra]
    if not run.deliveries:
        return "it has no backend that could have it"
    # A run that was only journaled is delivered once some other place has all of it.
    for delivery in own or run.deliveries:
        if not delivery.has_all or delivery.status is None:
            return f"{delivery.backend} does not have all of it: run `ranklog sync`"
        if delivery.refused:
            return f"{delivery.backend} refused {count(len(delivery.refused), 'record')}, which only the journal has"
    return None


def _has_spills(run: RunSummary) -> bool:
    run_dir = Path(run.run_dir)
    return bool(unmerged(run_dir, (entry.record for entry in read_run(run_dir))))


def _agreed(going: Sequence[Candidate]) -> bool:
    if not sys.stdin.isatty():
        print_error("nothing is deleted: confirm with --yes")
        return False
    size = size_text(sum(each.size for each in going))
    return typer.confirm(f"Delete {count(len(going), 'run')}, {size}, for good?")


def _delete(candidate: Candidate) -> Candidate:
    """Delete one run, unless somebody delivers it or it has changed since it was looked at."""
    run_dir = Path(candidate.run_dir)
    lock = DeliveryLock(run_dir)
    try:
        lock.ensure()
        if RunView(run_dir).summary.last_ns != candidate.last_ns:
            lock.release()
            return msgspec.structs.replace(candidate, kept="it goes on")
        # First out of sight, so that a run that is half deleted is never taken for one.
        aside = run_dir.with_name(f".{run_dir.name}.deleted")
        run_dir.rename(aside)
        shutil.rmtree(aside)
    except LockedError:
        return msgspec.structs.replace(candidate, kept="another process delivers it")
    except OSError as error:
        print_error(error)
        return msgspec.structs.replace(candidate, kept=str(error))
    return msgspec.structs.replace(candidate, deleted=True)


def _print(found: Sequence[Candidate]) -> None:
    if not found:
        print_error("there are no runs")
        return
    listing = table("RUN", "LAST", "SIZE", "", right=("LAST", "SIZE"))
    for each in found:
        last = age(each.last_ns) if each.last_ns else "-"
        listing.add_row(
            clean(each.run_id), last, size_text(each.size), clean(f"stays: {each.kept}") if each.kept else "goes"
        )
    out().print(listing)
