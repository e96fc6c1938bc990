"""Who a run belongs to and which program it ran, for what is told about a run to people: provenance, crates."""

from __future__ import annotations

import pwd
import re
from pathlib import Path, PurePosixPath

_LAUNCHER = re.compile(r"python[0-9.]*t?|torchrun|mpirun|mpiexec|srun")


def owner_of(run_dir: Path) -> str:
    """Name of the user to whom a run directory belongs; ``uid-1000`` where the system has no name for them."""
    uid = run_dir.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in containers that do not know the host's users
        return f"uid-{uid}"


def program_of(command: tuple[str, ...]) -> str:
    """The program that a command line runs, without the interpreter before it.

    Example:
        >>> program_of(("/usr/bin/python3.11", "-u", "jobs/train.py", "--lr")), program_of(("python", "-m", "a.b"))
        ('train.py', 'a.b')
        >>> program_of(())
        'program'
    """
    words = [word for word in command if word and not word.startswith("-")]
    names = [name for word in words if (name := PurePosixPath(word).name)]
    return next((name for name in names if not _LAUNCHER.fullmatch(name)), (names or ["program"])[0])
