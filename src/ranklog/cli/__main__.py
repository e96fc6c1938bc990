"""``python -m ranklog.cli``: the same as the command ``ranklog``."""

from ranklog.cli import main

main()
