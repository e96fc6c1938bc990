"""Every command of the tutorial and the how-to pages is run, in the order of the page, on a real Slurm."""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from cluster import ROOT, Slurm
from mlflow_server import serve

DOCS = ROOT / "docs"
FENCE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Page(msgspec.Struct, frozen=True):
    """A page, and what its reader sees in the end."""

    path: str
    sees: tuple[str, ...]
    makes: tuple[str, ...] = ()
    server: bool = False


PAGES = [
    Page("tutorials/first-job.md", (r"4/4", r"FINISHED: 1 attempt", r"all_reduce +[\d.e-]+ ms"), ("loss.png",)),
    Page("how-to/offline-nodes.md", (r"mlflow complete",), server=True),
    Page("how-to/requeue.md", (r"KILLED", r"2 attempts; .*goodput \d+%", r"Attempt 1 ")),
    Page("how-to/job-arrays.md", (r"array-\d+",)),
]


def commands(page: Path) -> list[str]:
    """What a reader types: lines after ``$``, with the lines after ``>`` that go on."""
    found: list[str] = []
    for block in FENCE.findall(page.read_text()):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif line == ">" or line.startswith("> "):
                found[-1] += "\n" + line[2:]
    return found


def test_no_page_with_commands_is_left_out() -> None:
    tested = {DOCS / page.path for page in PAGES} | {DOCS / "how-to" / "containers.md"}
    assert {
        page for folder in ("tutorials", "how-to") for page in (DOCS / folder).glob("*.md") if commands(page)
    } == tested


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: Path(page.path).stem)
def test_its_commands_do_what_it_says(page: Page, slurm: Slurm, tmp_path: Path) -> None:
    for entry in ROOT.iterdir():
        if entry.name in ("Makefile", ".venv", "examples", "pyproject.toml", "scripts", "slurm", "src"):
            (tmp_path / entry.name).symlink_to(entry)
    # As a terminal would: each command is shown, and the first that fails ends it. Job control is on.
    script = "set -eum\n" + "".join(f"cat <<'SHOWN'\n$ {each}\nSHOWN\n{each}\n" for each in commands(DOCS / page.path))
    with ExitStack() as stack:
        if page.server:
            stack.enter_context(serve(tmp_path / "server", 5000))
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=slurm.environment(COLUMNS="200"),
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
        assert (tmp_path / name).stat().st_size > 1000
