"""``ranklog export``: write a run as a file or folder for other programs."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ranklog.cli.console import print_error
from ranklog.view.export import write_csv, write_jsonl, write_parquet
from ranklog.view.find import find_run, runs_directory
from ranklog.view.ro_crate import write_crate


class Format(str, Enum):
    """Values of ``--format``."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"
    ro_crate = "ro-crate"


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Path, run id, unique beginning of an id, or latest.")],
    format: Annotated[
        Format,
        typer.Option(
            help="jsonl: all records in full; csv, parquet: metrics, one row per point; ro-crate: a folder with all."
        ),
    ] = Format.jsonl,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="File or folder to write. Default: standard output.",
            show_default=False,
        ),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Only with ro-crate: address of its license.", show_default=False),
    ] = None,
) -> None:
    """Write a run for other programs.

    Example: `ranklog export 20260301-1200 --format csv -o metrics.csv`

    Exit status: 0; 1 if files of the crate are missing; 2 if the run does not exist or the file cannot be written.
    """
    run_dir = find_run(run, runs_directory())
    if license is not None and format is not Format.ro_crate:
        raise typer.BadParameter("--license needs --format ro-crate")
    if format is Format.ro_crate:
        if output is None:
            raise typer.BadParameter("ro-crate writes a folder: name it with -o")
        missing = write_crate(run_dir, output, license)
        for line in missing:
            print_error(f"not in the crate: {line}")
        raise typer.Exit(1 if missing else 0)
    if format is Format.parquet:
        if output is None:
            raise typer.BadParameter("parquet writes a binary file: name it with -o")
        write_parquet(run_dir, output)
        return
    write = write_csv if format is Format.csv else write_jsonl
    if output is None:
        write(run_dir, sys.stdout)
        return
    with output.open("w", encoding="utf-8", newline="") as file:
        write(run_dir, file)
