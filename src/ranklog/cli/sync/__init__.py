"""``ranklog sync``: deliver the remaining records of runs, to their own backends or to others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from ranklog.cli.console import clean, out, print_error, status_text, table
from ranklog.cli.delivery_text import amount_text, problem_texts
from ranklog.cli.sync.destinations import Destination, parse_destinations
from ranklog.cli.sync.outcome import Outcome, labels_of, merge_spills, outcome_of, targets_for
from ranklog.cli.sync.watch import watch_runs
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.layout import find_runs
from ranklog.model.as_json import to_json
from ranklog.model.errors import RunNotFoundError
from ranklog.view.find import find_run, runs_directory
from ranklog.view.summary import summarise


def sync(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Paths or run ids. Default: all runs.", show_default=False),
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
    watch: Annotated[bool, typer.Option("--watch", help="Keep delivering new records until interrupted.")] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Pause between two checks with --watch.", min=0.1)
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array with one object per run.")] = False,
) -> None:
    """Deliver the remaining records of runs to their backends. Runs that are still written can be synced too.

    The position of each backend is saved, so an interrupted sync continues where it stopped.

    Example: `ranklog sync` or `ranklog sync 20260301-1200 --to mlflow=https://mlflow.example.org`. On a login node, for
    jobs on nodes without internet: `ranklog sync --watch`

    Exit status: 0 everything is delivered; 1 records are left, set aside or unreadable, and the table gives the reason;
    2 wrong call.
    """
    destinations = parse_destinations(to or [])
    outcomes = []
    # Output of the console backend must not mix with the JSON.
    stream = sys.stderr if as_json else sys.stdout
    if watch:
        outcomes = watch_runs(lambda: _chosen(runs or []), destinations, every_s=every, console=stream)
    else:
        with _progress_bar() as progress:
            for run_dir in _chosen(runs or []):
                outcomes.append(_deliver(run_dir, destinations, progress, stream))
    if as_json:
        typer.echo(to_json(outcomes, indent=1))
    else:
        _print(outcomes)
    raise typer.Exit(0 if all(outcome.complete for outcome in outcomes) else 1)


def _progress_bar() -> Progress:
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
    problem = merge_spills(run_dir, before)
    task = progress.add_task(clean(run_dir.name), total=before.records * len(pump.feeds))
    try:
        # A run whose process is gone has ended, even if its journal has no end.
        for _ in pump.run(Finish("KILLED" if before.status == "KILLED" else None)):
            progress.update(task, completed=sum(feed.cursor.next_ordinal for feed in pump.feeds))
    finally:
        pump.close()
        progress.remove_task(task)
    return outcome_of(summarise(run_dir), labels, problem)


def _print(outcomes: list[Outcome]) -> None:
    if not outcomes:
        print_error("no runs to sync")
        return
    listing = table("RUN", "STATUS", "BACKENDS")
    for outcome in outcomes:
        for index, line in enumerate(_lines(outcome)):
            head = ("", "") if index else (clean(outcome.run_id), status_text(outcome.status))
            listing.add_row(*head, line)
    console = out()
    console.print(listing)
    for outcome in outcomes:
        for problem in problem_texts(outcome.deliveries, clean(outcome.run_id)):
            console.print(problem)


def _lines(outcome: Outcome) -> list[Text]:
    if outcome.trouble is not None:
        return [Text(clean(outcome.trouble), style="red")]
    if not outcome.deliveries:
        return [Text("the run has no backends: name one with --to", style="yellow")]
    return [amount_text(delivery) for delivery in outcome.deliveries]
