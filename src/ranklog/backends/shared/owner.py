"""Who a run belongs to and which program it ran, for what is told about a run to people: provenance, crates."""

from __future__ import annotations

import pwd
from pathlib import Path, PurePosixPath


def owner_of(run_dir: Path) -> str:
    """Name of the user to whom a run directory belongs; ``uid-1000`` where the system has no name for them."""
    uid = run_dir.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in containers that do not know the host's users
        return f"uid-{uid}"


def program_of(script: str) -> str:
    """Name of the program that a script is.

    Example:
        >>> program_of("jobs/train.py"), program_of("")
        ('train.py', 'program')
    """
    return PurePosixPath(script).name or "program"
