"""``ranklog ls``: the runs below a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ranklog.cli.output import age, clean, complain, count, out, runs_directory, status_text, table
from ranklog.journal.layout import find_runs
from ranklog.model.as_json import to_json
from ranklog.model.errors import RunNotFoundError
from ranklog.view.deliveries import Delivery
from ranklog.view.summary import RunSummary, summarise


def ls(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Where to look; default RANKLOG_DIR, else mllogs.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, one object a run.")] = False,
) -> None:
    """List the runs below a directory, oldest first, with what their backends still lack.

    Example: `ranklog ls mllogs`

    Exit status: 0; 2 when there is no such directory.
    """
    root = directory or runs_directory()
    if not root.is_dir():
        raise RunNotFoundError(f"{root} is not a directory: name one with runs, or set RANKLOG_DIR")
    runs: list[RunSummary] = []
    for run_dir in find_runs(root):
        try:
            runs.append(summarise(run_dir))
        except RunNotFoundError as error:
            complain(error)
    runs.sort(key=lambda run: run.facts.created_ns)
    if as_json:
        typer.echo(to_json(runs, indent=1))
    elif not runs:
        complain(f"there are no runs below {root}")
    else:
        _print(runs)


def _print(runs: list[RunSummary]) -> None:
    grouped = any(run.facts.group for run in runs)
    columns = ("RUN", "EXPERIMENT", *(("GROUP",) if grouped else ()), "STATUS", "LAST", "RECORDS", "BACKENDS")
    listing = table(*columns, right=("LAST", "RECORDS"))
    # Never cut: people copy it.
    listing.columns[0].min_width = max(len(run.facts.run_id) for run in runs)
    troubles: list[Text] = []
    for run in runs:
        name = clean(run.facts.run_id)
        listing.add_row(
            Text(name, no_wrap=True),
            clean(run.facts.experiment),
            *((clean(run.facts.group),) if grouped else ()),
            status_text(run.status),
            Text(age(run.last_ns), no_wrap=True),
            f"{run.records:,}",
            _backends_text(run.deliveries),
        )
        troubles += trouble_texts(run.deliveries, name)
        troubles += [Text.assemble((f"{name}: ", "bold"), clean(loss)) for loss in run.losses]
    console = out()
    console.print(listing)
    for trouble in troubles:
        console.print(trouble)


def _backends_text(deliveries: Sequence[Delivery]) -> Text:
    """What is not complete, by name; of the rest only how many."""
    done = [d for d in deliveries if d.status and d.has_all and not d.refused]
    parts = [delivery_text(delivery) for delivery in deliveries if delivery not in done]
    if done:
        parts.append(Text(f"{len(done)} complete" if parts or len(done) > 1 else f"{done[0].backend} complete"))
    return Text("; ").join(parts) or Text("-")


def delivery_text(delivery: Delivery) -> Text:
    """One backend's state in a few words."""
    if delivery.error:
        state, style = f"failing, {delivery.waiting:,} waiting", "red"
    elif delivery.waiting:
        state, style = f"{delivery.waiting:,} waiting", "yellow"
    elif delivery.damage:
        state, style = "incomplete: the journal is damaged", "red"
    else:
        state, style = "complete" if delivery.status else "up to date", "green"
    refused = f", {len(delivery.refused)} refused" if delivery.refused else ""
    return Text.assemble(f"{clean(delivery.backend)} ", (state + refused, style))


def trouble_texts(deliveries: Sequence[Delivery], run_id: str) -> list[Text]:
    """What keeps backends from taking more, and what of the journal none of them can get."""
    lines: dict[str, str] = {}
    for delivery in deliveries:
        if delivery.error:
            tries = count(delivery.failures, "failed try", "failed tries")
            lines[f"{run_id}, {clean(delivery.backend)} ({tries}): "] = clean(delivery.error)
        if warning := delivery.known.get("warning"):
            lines[f"{run_id}, {clean(delivery.backend)}: "] = clean(warning)
        if delivery.refused:
            records = count(len(delivery.refused), "record", "records")
            latest = clean(next(reversed(delivery.refused.values())))
            lines[f"{run_id}, {clean(delivery.backend)} ({records} set aside): "] = (
                f"{latest}; `ranklog show` lists them"
            )
        for segment, reason in delivery.damage.items():
            what = f"cannot be read {reason}; what stands there is not delivered (`ranklog verify` tells more)"
            lines[f"{run_id}, {clean(segment)}: "] = clean(what)
    return [Text.assemble((where, "bold"), what) for where, what in lines.items()]


def amount_text(delivery: Delivery) -> Text:
    """As `delivery_text`, with how many records of how many."""
    total = delivery.accepted + delivery.waiting
    return delivery_text(delivery).append(f" ({delivery.accepted:,} of {total:,} records)")
