"""``ranklog ls``: list the runs in a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ranklog.cli.console import clean, out, print_error, status_text, table
from ranklog.cli.delivery_text import delivery_text, problem_texts
from ranklog.model.as_json import to_json
from ranklog.model.errors import RunNotFoundError
from ranklog.view.deliveries import Delivery
from ranklog.view.find import runs_directory
from ranklog.view.runs.listing import list_runs
from ranklog.view.summary import RunSummary
from ranklog.view.units import age


def ls(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Directory with runs. Default: RANKLOG_DIR, else mllogs.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array with one object per run.")] = False,
) -> None:
    """List the runs in a directory, oldest first, with the state of their backends.

    Example: `ranklog ls mllogs`

    Exit status: 0; 2 if the directory does not exist.
    """
    root = directory or runs_directory()
    if not root.is_dir():
        raise RunNotFoundError(f"{root} is not a directory: name a directory with runs, or set RANKLOG_DIR")
    runs, errors = list_runs(root)
    for error in errors:
        print_error(error)
    if as_json:
        typer.echo(to_json(runs, indent=1))
    elif not runs:
        print_error(f"no runs in {root}")
    else:
        _print(runs)


def _print(runs: list[RunSummary]) -> None:
    grouped = any(run.facts.group for run in runs)
    columns = ("RUN", "EXPERIMENT", *(("GROUP",) if grouped else ()), "STATUS", "LAST", "RECORDS", "BACKENDS")
    listing = table(*columns, right=("LAST", "RECORDS"))
    # Never shortened, because users copy it. The other columns wrap in what is left of the width.
    listing.columns[0].no_wrap = True
    listing.columns[0].min_width = max(len(run.facts.run_id) for run in runs)
    problems: list[Text] = []
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
        problems += problem_texts(run.deliveries, name)
        problems += [Text.assemble((f"{name}: ", "bold"), clean(loss)) for loss in run.losses]
    console = out()
    console.print(listing)
    for problem in problems:
        console.print(problem)


def _backends_text(deliveries: Sequence[Delivery]) -> Text:
    """Name each backend that is not complete, and count the others."""
    done = [d for d in deliveries if d.status and d.has_all and not d.refused]
    parts = [delivery_text(delivery) for delivery in deliveries if delivery not in done]
    if done:
        parts.append(Text(f"{len(done)} complete" if parts or len(done) > 1 else f"{done[0].backend} complete"))
    return Text("; ").join(parts) or Text("-")
