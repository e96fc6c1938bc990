"""``ranklog show``: show one run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from ranklog.cli.console import clean, out, status_text, table
from ranklog.cli.delivery_text import amount_text, problem_texts
from ranklog.cli.run_text import code_text, ends_text, job_text, outlook_text, place_text, rank_rows
from ranklog.journal.reader import Damage
from ranklog.model.as_json import to_json
from ranklog.model.record import Event
from ranklog.view.deliveries import Delivery
from ranklog.view.efficiency import describe_run, efficiency, efficiency_text
from ranklog.view.find import find_run, runs_directory
from ranklog.view.index.run_index import RunIndex
from ranklog.view.metrics.table import MetricSummary
from ranklog.view.outlook import outlook
from ranklog.view.query import RunView
from ranklog.view.units import age, date, number, size_text

_NUMBER = re.compile(r"-\d+$")
_LATEST = 20
_RANKS = 4
_LAST_LINES = 40
_COMMAND_CHARS = 400


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Path, run id, unique beginning of an id, or latest.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    only_efficiency: Annotated[
        bool,
        typer.Option("--efficiency", help="Print only the efficiency line: time in the queue, lost steps, goodput."),
    ] = False,
) -> None:
    """Show one run: status, job, ranks, parameters, metrics with coverage, items, events and delivery.

    Example: `ranklog show 20260301-1200`

    Exit status: 0; 2 if the run does not exist.
    """
    run_dir = find_run(run, runs_directory())
    view = RunView(run_dir, index=RunIndex(run_dir))
    if as_json:
        typer.echo(to_json(_as_json(view), indent=1))
        return
    console = out()
    if only_efficiency:
        console.print(clean(describe_run(view)), soft_wrap=True)
        return
    _print_head(console, view)
    _print_tables(console, view)


def _as_json(view: RunView) -> dict[str, object]:
    return {
        "summary": view.summary,
        "attempts": view.attempts,
        "ranks": [rank for _, rank in sorted(view.ranks.items())],
        "jobs": {str(attempt): job for attempt, job in view.jobs.items()},
        "outlook": outlook(view),
        "efficiency": efficiency(view),
        "params": view.params,
        "metrics": [_metric(row) for row in view.metrics()],
        "items": view.items,
        "events": view.events,
        "last_lines": {str(rank): text for rank, text in sorted(view.last_lines.items())},
        "end": view.end,
        "damage": view.damage,
    }


def _metric(row: MetricSummary) -> dict[str, object]:
    """Return the fields of a metric that the JSON has had since its first version."""
    return {name: value for name, value in msgspec.structs.asdict(row).items() if name not in {"goal", "context"}}


def _print_head(console: Console, view: RunView) -> None:
    run = view.summary
    head = Table(box=None, pad_edge=False, show_header=False)
    head.add_column(style="bold")
    head.add_column(overflow="fold")
    head.add_row("Run", clean(run.facts.run_id))
    head.add_row("Experiment", clean(run.facts.experiment))
    if run.facts.group:
        head.add_row("Group", clean(run.facts.group))
    head.add_row("Status", status_text(run.status))
    if view.end is not None and view.end.reason:
        head.add_row("Reason", clean(view.end.reason))
    head.add_row("Started", f"{date(run.facts.created_ns)}, last record {date(run.last_ns)} ({age(run.last_ns)})")
    for attempt in view.attempts:
        place = attempt.place
        text = f"{place_text(place)} ({place.launcher}), written on {attempt.host}"
        job = f", job {place.job_id}" if place.job_id else ""
        head.add_row(f"Attempt {attempt.attempt}", clean(f"{text}{job}"))
    if view.jobs:
        _add_job(head, view)
    command = clean(" ".join(run.facts.command))
    if len(command) > _COMMAND_CHARS:
        command = f"{command[:_COMMAND_CHARS]}… {len(command) - _COMMAND_CHARS:,} more characters, see --json"
    head.add_row("Command", command or "-")
    head.add_row("Directory", clean(run.run_dir))
    for delivery in run.deliveries:
        state = amount_text(delivery)
        head.add_row(
            "Backend", state.append(clean(f"  {where}" if (where := _where(delivery, run.deliveries)) else ""))
        )
    console.print(head)
    for problem in problem_texts(run.deliveries, clean(run.facts.run_id)):
        console.print(problem)


def _where(delivery: Delivery, deliveries: Sequence[Delivery]) -> str:
    """Return the run's address in a backend, or its destination if one backend has several."""
    own = [_NUMBER.sub("", each.backend) for each in deliveries if not each.extra]
    alone = own.count(_NUMBER.sub("", delivery.backend)) < 2
    known = delivery.known.get("url") or delivery.known.get("run_id", "")
    destination = ", ".join(value for value in delivery.place.values() if value)
    return known if alone or "url" in delivery.known or delivery.extra else destination


def _add_job(head: Table, view: RunView) -> None:
    job = view.jobs[max(view.jobs)]
    head.add_row("Code", code_text(job))
    if job.scheduler:
        head.add_row("Job", job_text(job))
    if view.summary.status == "RUNNING":
        found = outlook(view)
        if found.ends_ns is not None:
            head.add_row("Job ends", ends_text(found.ends_ns))
        if (text := outlook_text(found)) is not None:
            head.add_row("Outlook", text)
    if job.scheduler or view.summary.attempts > 1:
        head.add_row("Efficiency", efficiency_text(efficiency(view)))


def _print_tables(console: Console, view: RunView) -> None:
    if len(view.ranks) > 1 or any(rank.device != "cpu" for rank in view.ranks.values()):
        _print_table(console, "RANK", "HOST", "NODE", "DEVICE", "CORES", "MEMORY", rows=rank_rows(view.ranks)[:_LATEST])
        _print_rest(console, len(view.ranks), "first")
    if view.params:
        _print_table(console, "PARAMETER", "VALUE", rows=[(clean(n), clean(str(v))) for n, v in view.params.items()])
    if rows := view.metrics():
        _print_metrics(console, rows)
    if view.items:
        kinds = [
            (clean(item.name), item.kind, str(item.step), str(item.rank), str(item.files), size_text(item.size))
            for item in view.items[-_LATEST:]
        ]
        _print_table(console, "ITEM", "KIND", "STEP", "RANK", "FILES", "SIZE", rows=kinds)
        _print_rest(console, len(view.items))
    if view.events:
        events = [(date(e.time_ns), e.level, e.code, _source(view, e), clean(e.text)) for e in view.events[-_LATEST:]]
        _print_table(console, "EVENT", "LEVEL", "CODE", "SOURCE", "TEXT", rows=events)
        _print_rest(console, len(view.events))
    for delivery in view.summary.deliveries:
        if delivery.refused:
            refused = [(ordinal, clean(reason)) for ordinal, reason in delivery.refused.items()][-_LATEST:]
            _print_table(console, f"REFUSED BY {clean(delivery.backend).upper()}", "REASON", rows=refused)
    _print_last_lines(console, view)
    if view.damage:
        _print_table(console, "DAMAGE", "AT BYTE", "REASON", rows=[_damage(each) for each in view.damage])


def _source(view: RunView, event: Event) -> str:
    if event.rank is None:
        return ""
    return clean(str(view.ranks.get(event.rank, f"rank {event.rank}")))


def _print_last_lines(console: Console, view: RunView) -> None:
    for rank, text in sorted(view.last_lines.items())[:_RANKS]:
        console.print()
        console.print(f"LAST LINES OF RANK {rank}", style="bold")
        lines = text.splitlines()
        if len(lines) > _LAST_LINES:
            console.print(f"… {len(lines) - _LAST_LINES} more lines, see --json", style="dim")
        for line in lines[-_LAST_LINES:]:
            console.print(clean(line), soft_wrap=True)
    if len(view.last_lines) > _RANKS:
        console.print(f"and {len(view.last_lines) - _RANKS} more ranks, see --json", style="dim")


def _damage(damage: Damage) -> tuple[str, str, str]:
    lost = " (no acknowledged record is lost)" if damage.torn else ""
    return f"segment {damage.segment}", str(damage.offset), damage.reason + lost


def _print_metrics(console: Console, rows: list[MetricSummary]) -> None:
    numbers = ("LAST", "STEP", "MIN", "MAX", "POINTS")
    reduced = any(row.op or row.coverage for row in rows)
    listing = table("METRIC", *numbers, *(("REDUCED", "COVERAGE") if reduced else ()), right=numbers)
    for row in rows:
        full = row.coverage is None or row.coverage.full
        points = f"{row.points:,}" + (f" ({row.superseded:,} replaced)" if row.superseded else "")
        listing.add_row(
            clean(row.name),
            number(row.last),
            f"{row.last_step:,}",
            number(row.min),
            number(row.max),
            points,
            *((row.op or "-", str(row.coverage or "-")) if reduced else ()),
            style="" if full else "yellow",
        )
    console.print()
    console.print(listing)


def _print_table(console: Console, *columns: str, rows: Sequence[tuple[str, ...]]) -> None:
    listing = table(*columns, right=("STEP", "RANK", "NODE", "CORES", "MEMORY", "FILES", "SIZE", "AT BYTE"))
    for row in rows:
        listing.add_row(*row)
    console.print()
    console.print(listing)


def _print_rest(console: Console, count: int, which: str = "latest") -> None:
    if count > _LATEST:
        console.print(f"the {which} {_LATEST} of {count:,}, see --json for all", style="dim")
