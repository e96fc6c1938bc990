"""The command line ``ranklog``: one module per command.

Exit status of every command: 0 success; 1 the command ran and found a problem, such as undelivered records or a damaged
journal; 2 wrong call, explained in one line on standard error. Results go to standard output, everything else to
standard error. The command loads no framework and no backend at start.
"""

from __future__ import annotations

import os
import sys

from ranklog.cli.app import app
from ranklog.cli.console import print_error
from ranklog.model.errors import RanklogError


def main() -> None:
    """Run the command line."""
    try:
        app()
    except BrokenPipeError:
        # The reader has enough, as in `ranklog show RUN | head`. Keep the interpreter from flushing the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (RanklogError, OSError) as error:
        print_error(error)
        sys.exit(2)
