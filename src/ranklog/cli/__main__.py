"""Entry point of ``python -m ranklog.cli``, which is the command ``ranklog``."""

from ranklog.cli import main

main()
