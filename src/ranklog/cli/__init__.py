"""The command ``ranklog``: one file a command.

Exit status of every command: 0 it went well; 1 it ran, and the answer is a bad one (something is left to deliver, a
journal is damaged); 2 the call was wrong, said in one line on standard error. Results go to standard output,
everything else to standard error. Starting it loads no framework and no backend.
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
        # As in `ranklog show RUN | head`: who reads has enough. The interpreter must not write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (RanklogError, OSError) as error:
        print_error(error)
        sys.exit(2)
