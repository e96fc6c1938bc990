"""``ranklog sync``: delivers what is left of runs, to their own backends or to other ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from ranklog.cli.console import clean, out, print_error, runs_directory, status_text, table
from ranklog.cli.delivery_text import amount_text, trouble_texts
from ranklog.cli.sync.destinations import Destination, parse_destinations
from ranklog.cli.sync.outcome import Outcome, labels_of, merge_kept, outcome_of, targets_for
from ranklog.cli.sync.watch import follow
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.layout import find_runs
from ranklog.model.as_json import to_json
from ranklog.model.errors import RunNotFoundError
from ranklog.view.find import find_run
from ranklog.view.summary import summarise


def sync(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Paths or run ids; default all runs.", show_default=False),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BACKEND=VALUE",
            help="Deliver there instead: mlflow=URI, tensorboard=DIR, wandb=PROJECT, prov=DIR or console=DIR. "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until interrupted: deliver what comes while jobs run.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Pause between two looks with --watch.", min=0.1)
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, one object a run.")] = False,
) -> None:
    """Deliver what is left of runs to their backends; runs that are still written may be synced too.

    Each backend remembers how far it is, so a sync that is broken off goes on where it was.

    Example: `ranklog sync` or `ranklog sync 20260301-1200 --to mlflow=https://mlflow.example.org`; on a login node, for
    jobs on nodes without internet: `ranklog sync --watch`

    Exit status: 0 all is delivered; 1 something is left, set aside or cannot be read, the table says why; 2 the call
    was wrong.
    """
    destinations = parse_destinations(to or [])
    outcomes = []
    # Lines of the console backend must not get between lines of JSON.
    stream = sys.stderr if as_json else sys.stdout
    if watch:
        outcomes = follow(lambda: _chosen(runs or []), destinations, every_s=every, console=stream)
    else:
        with _progress() as progress:
            for run_dir in _chosen(runs or []):
                outcomes.append(_deliver(run_dir, destinations, progress, stream))
    if as_json:
        typer.echo(to_json(outcomes, indent=1))
    else:
        _print(outcomes)
    raise typer.Exit(0 if all(outcome.complete for outcome in outcomes) else 1)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("records"))
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _chosen(names: list[str]) -> list[Path]:
    root = runs_directory()
    if not names:
        if not root.is_dir():
            raise RunNotFoundError(f"{root} is not a directory: name runs, or set RANKLOG_DIR")
        return list(find_runs(root))
    chosen: dict[Path, None] = {}
    for name in names:
        below = list(find_runs(Path(name))) if Path(name).is_dir() else []
        chosen.update(dict.fromkeys(below or [find_run(name, root)]))
    return list(chosen)


def _deliver(run_dir: Path, destinations: Sequence[Destination], progress: Progress, console: TextIO) -> Outcome:
    before = summarise(run_dir)
    targets = targets_for(run_dir, destinations)
    labels = labels_of(targets)
    try:
        pump = Pump(run_dir, targets=targets, console=console)
    except LockedError as error:
        return outcome_of(before, labels, str(error))
    merged = merge_kept(run_dir, before)
    task = progress.add_task(clean(run_dir.name), total=before.records * len(pump.feeds))
    try:
        # A run whose process is gone is over, even if its journal has no end.
        for _ in pump.run(Finish("KILLED" if before.status == "KILLED" else None)):
            progress.update(task, completed=sum(feed.cursor.next_ordinal for feed in pump.feeds))
    finally:
        pump.close()
        progress.remove_task(task)
    return outcome_of(summarise(run_dir), labels, merged)


def _print(outcomes: list[Outcome]) -> None:
    if not outcomes:
        print_error("there are no runs to sync")
        return
    listing = table("RUN", "STATUS", "BACKENDS")
    for outcome in outcomes:
        for index, line in enumerate(_lines(outcome)):
            head = ("", "") if index else (clean(outcome.run_id), status_text(outcome.status))
            listing.add_row(*head, line)
    console = out()
    console.print(listing)
    for outcome in outcomes:
        for trouble in trouble_texts(outcome.deliveries, clean(outcome.run_id)):
            console.print(trouble)


def _lines(outcome: Outcome) -> list[Text]:
    if outcome.trouble is not None:
        return [Text(clean(outcome.trouble), style="red")]
    if not outcome.deliveries:
        return [Text("it has no backends: name one with --to", style="yellow")]
    return [amount_text(delivery) for delivery in outcome.deliveries]
