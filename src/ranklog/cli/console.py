"""Terminal output of all commands: tables on standard output, errors on standard error."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ranklog.view.summary import RunStatus

_COLOURS: dict[RunStatus, str] = {
    "FINISHED": "green",
    "FAILED": "red",
    "KILLED": "red",
    "RUNNING": "cyan",
    "UNKNOWN": "yellow",
}


def out() -> Console:
    """Return a console on standard output that prints markup in run data as it is."""
    return Console(markup=False, highlight=False, soft_wrap=False)


def print_error(error: BaseException | str) -> None:
    """Print an error as one line on standard error."""
    sys.stderr.write(f"ranklog: {' '.join(str(error).split())}\n")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table. Columns named in ``right`` hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        is_number = column in right
        # A number that wraps would read as two numbers.
        made.add_column(column, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return made


def status_text(status: RunStatus) -> Text:
    """Return a run's status in its colour."""
    return Text(status, style=_COLOURS[status])


def clean(text: str) -> str:
    """Replace control characters in text from a run, which could change the state of the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
