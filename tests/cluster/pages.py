"""Runs the commands of a page of the documents as a reader types them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
from cluster import ROOT, Slurm

DOCS = ROOT / "docs"
# Also inside of lists.
FENCE = re.compile(r"^( *)```console\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


class Page(msgspec.Struct, frozen=True):
    """A page, what its reader sees, which files it makes, and what must be true of its folder in the end."""

    path: str
    sees: tuple[str, ...]
    makes: tuple[str, ...] = ()
    server: bool = False
    leaves: Callable[[Path], None] | None = None


def commands(page: Path) -> list[str]:
    """What a reader types: lines after ``$``, with the lines after ``>`` that go on."""
    found: list[str] = []
    for indent, block in FENCE.findall(page.read_text()):
        for line in (each.removeprefix(indent) for each in block.splitlines()):
            if line.startswith("$ "):
                found.append(line[2:])
            elif line == ">" or line.startswith("> "):
                found[-1] += "\n" + line[2:]
    return found


def follow(page: Page, slurm: Slurm, folder: Path, **extra: str) -> None:
    """Type them one after the other in a folder with the project's sources; the first that fails ends it."""
    for name in ("Makefile", ".venv", "pyproject.toml", "scripts", "src"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("examples", "slurm"):
        shutil.copytree(ROOT / name, folder / name)
    # Each command is shown before it runs, and job control is on, as in a terminal.
    script = "set -eum\n" + "".join(f"cat <<'SHOWN'\n$ {each}\nSHOWN\n{each}\n" for each in commands(DOCS / page.path))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=slurm.environment(COLUMNS="200", **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    for pattern in page.sees:
        assert re.search(pattern, done.stdout), f"{pattern} in {done.stdout}"
    for name in page.makes:
        assert (folder / name).stat().st_size > 1000
    if page.leaves is not None:
        page.leaves(folder)
