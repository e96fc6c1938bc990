"""The typer application with all commands."""

from __future__ import annotations

from typing import Annotated

import typer

from ranklog import __version__
from ranklog.cli import doctor, export, ls, prune, show, sync, verify, watch

app = typer.Typer(
    name="ranklog",
    help="Show runs, deliver them to backends, check and export them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"ranklog {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Show runs, deliver them to backends, check and export them.

    RUN is the path of a run directory, a run id, the unique beginning of an id, or `latest`. Run ids are searched in
    the directory named by the environment variable RANKLOG_DIR, else in `mllogs`.
    """


for command in (ls.ls, show.show, watch.watch, sync.sync, export.export, verify.verify, prune.prune, doctor.doctor):
    app.command()(command)
