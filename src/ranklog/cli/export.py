"""``ranklog export``: a run as a file for other programs."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ranklog.cli.output import runs_directory
from ranklog.view.export import write_csv, write_jsonl, write_parquet
from ranklog.view.find import find_run


class Format(str, Enum):
    """What ``--format`` takes."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Path, run id, its unique beginning, or latest.")],
    format: Annotated[
        Format,
        typer.Option(help="jsonl: every record in full; csv, parquet: the metrics, a row a point."),
    ] = Format.jsonl,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write; default standard output.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a run for other programs.

    Example: `ranklog export 20260301-1200 --format csv -o metrics.csv`

    Exit status: 0; 2 when there is no such run or the file cannot be written.
    """
    run_dir = find_run(run, runs_directory())
    if format is Format.parquet:
        if output is None:
            raise typer.BadParameter("parquet is binary: name a file with -o")
        write_parquet(run_dir, output)
        return
    write = write_csv if format is Format.csv else write_jsonl
    if output is None:
        write(run_dir, sys.stdout)
        return
    with output.open("w", encoding="utf-8", newline="") as file:
        write(run_dir, file)
