"""``ranklog verify``: read everything of a run and report damage."""

from __future__ import annotations

from typing import Annotated

import typer

from ranklog.cli.console import clean, out, table
from ranklog.model.as_json import to_json
from ranklog.view.find import find_run, runs_directory
from ranklog.view.units import count
from ranklog.view.verify import Finding, verify_run


def verify(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Path, run id, unique beginning of an id, or latest.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Check a run: checksums, order of records, contents of items, cursors, permissions. Changes nothing.

    Example: `ranklog verify mllogs/20260301-120000-a1b2`

    Exit status: 0 the run is intact; 1 something is damaged; 2 the run does not exist.
    """
    run_dir = find_run(run, runs_directory())
    report = verify_run(run_dir)
    if as_json:
        typer.echo(to_json(report, indent=1))
    else:
        _print("PROBLEM", report.problems)
        _print("REMARK", report.remarks)
        verdict = count(len(report.problems), "problem") if report.problems else "intact"
        counted = ", ".join(
            (count(report.records, "record"), count(report.segments, "segment"), count(report.files, "file"))
        )
        typer.echo(f"{clean(run_dir.name)}: {verdict} ({counted})")
    raise typer.Exit(1 if report.problems else 0)


def _print(title: str, findings: list[Finding]) -> None:
    if findings:
        listing = table(title, "TEXT")
        for finding in findings:
            listing.add_row(clean(finding.where), clean(finding.text))
        out().print(listing)
