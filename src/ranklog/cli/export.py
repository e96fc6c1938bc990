"""``ranklog export``: a run as a file or folder for other programs."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ranklog.cli.console import print_error, runs_directory
from ranklog.view.export import write_csv, write_jsonl, write_parquet
from ranklog.view.find import find_run
from ranklog.view.ro_crate import write_crate


class Format(str, Enum):
    """What ``--format`` takes."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"
    ro_crate = "ro-crate"


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Path, run id, its unique beginning, or latest.")],
    format: Annotated[
        Format,
        typer.Option(
            help="jsonl: every record in full; csv, parquet: the metrics, a row a point; ro-crate: a folder with all."
        ),
    ] = Format.jsonl,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Where to write; default standard output.", show_default=False
        ),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Only ro-crate: the license it is given away under.", show_default=False),
    ] = None,
) -> None:
    """Write a run for other programs.

    Example: `ranklog export 20260301-1200 --format csv -o metrics.csv`

    Exit status: 0; 1 when files that belong into the crate are gone; 2 when there is no such run or the file cannot
    be written.
    """
    run_dir = find_run(run, runs_directory())
    if license is not None and format is not Format.ro_crate:
        raise typer.BadParameter("--license belongs to --format ro-crate")
    if format is Format.ro_crate:
        if output is None:
            raise typer.BadParameter("an RO-Crate is a folder: name it with -o")
        missing = write_crate(run_dir, output, license)
        for line in missing:
            print_error(f"not in the crate: {line}")
        raise typer.Exit(1 if missing else 0)
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
