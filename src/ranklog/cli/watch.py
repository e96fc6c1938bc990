"""``ranklog watch``: follow one run during training, on a terminal screen or as one line per change.

Reads what was appended at each update, then pauses at least ten times as long as that took. So a large run on a slow
disk is not read all the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ranklog.cli.console import clean, out, status_text, table
from ranklog.cli.run_text import ends_text, outlook_text, place_text
from ranklog.view.efficiency import efficiency, efficiency_text
from ranklog.view.find import find_run, runs_directory
from ranklog.view.index.run_index import RunIndex
from ranklog.view.metrics.table import MetricSummary
from ranklog.view.outlook import outlook
from ranklog.view.query import RunView
from ranklog.view.summary import ENDED
from ranklog.view.units import age, number

_PAUSE_FACTOR = 10.0
_NEWEST = 5


def watch(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Path, run id, unique beginning of an id, or latest.")],
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Shortest time between two updates, in seconds.")
    ] = 2.0,
) -> None:
    """Follow one run until it ends: newest metrics, the end of its job, and whether the epoch will finish.

    Example: `ranklog watch 20260301-1200`

    Exit status: 0 the run is FINISHED; 1 it FAILED or was KILLED; 2 the run does not exist; 130 after Ctrl-C.
    """
    run_dir = find_run(run, runs_directory())
    console = out()
    show = _live if console.is_terminal else _lines
    try:
        status = show(console, _updates(run_dir, every))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if status == "FINISHED" else 1)


def _updates(run_dir: Path, every_s: float) -> Iterator[RunView]:
    """Read the run again and again, until it ends."""
    index = RunIndex(run_dir)
    while True:
        began_s = time.monotonic()
        view = RunView(run_dir, index=index)
        yield view
        if view.summary.status in ENDED:
            return
        time.sleep(max(every_s, _PAUSE_FACTOR * (time.monotonic() - began_s)))


def _live(console: Console, updates: Iterator[RunView]) -> str:
    status = ""
    with Live(console=console, auto_refresh=False) as live:
        for view in updates:
            live.update(screen(view, console.height), refresh=True)
            status = view.summary.status
    return status


def screen(view: RunView, height: int) -> RenderableType:
    """Build the screen of one update, not higher than the terminal."""
    run = view.summary
    head = Text.assemble(
        (clean(run.facts.run_id), "bold"), f"  {clean(run.facts.experiment)}  ", status_text(run.status)
    )
    if view.attempts:
        head.append(f"  {place_text(view.attempts[-1].place)}, last record {age(run.last_ns)}")
    lines: list[RenderableType] = [head, *_job_lines(view)]
    room = max(1, height - len(lines) - 4)
    rows = view.metrics()
    lines += ["", _metrics(rows[:room])]
    if len(rows) > room:
        lines.append(Text(f"and {len(rows) - room} more metrics", style="dim"))
    return Group(*lines)


def _job_lines(view: RunView) -> list[Text]:
    found = outlook(view)
    lines = []
    if view.summary.status in ENDED:
        lines.append(Text(efficiency_text(efficiency(view))))
    elif found.ends_ns is not None:
        lines.append(Text("job ends ").append(ends_text(found.ends_ns)))
    if view.summary.status not in ENDED and (text := outlook_text(found)) is not None:
        lines.append(text)
    return lines


def _metrics(rows: list[MetricSummary]) -> Table:
    listing = table("METRIC", "LAST", "STEP", "MIN", "MAX", "COVERAGE", right=("LAST", "STEP", "MIN", "MAX"))
    for row in rows:
        style = "" if row.coverage is None or row.coverage.full else "yellow"
        cells = (number(row.last), f"{row.last_step:,}", number(row.min), number(row.max), str(row.coverage or "-"))
        listing.add_row(clean(row.name), *cells, style=style)
    return listing


def _lines(console: Console, updates: Iterator[RunView]) -> str:
    """Print one line per update with something new, for a file or a pipe."""
    status, seen = "", -1
    for view in updates:
        run = view.summary
        status = run.status
        if run.records == seen and status not in ENDED:
            continue
        seen = run.records
        rows = sorted(view.metrics(), key=lambda row: (-row.last_step, row.name))[:_NEWEST]
        values = "  ".join(f"{clean(row.name)} {number(row.last)} at step {row.last_step}" for row in rows)
        parts = [f"{time.strftime('%H:%M:%S')} {status}", values, *(line.plain for line in _job_lines(view))]
        console.print("; ".join(part for part in parts if part), soft_wrap=True)
    return status
