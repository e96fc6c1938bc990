"""Every command of the tutorial and the how-to pages is run, in the order of the page, on a real Slurm."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from cluster import Slurm
from mlflow_server import serve
from outcome import assert_array, assert_one_series_of_two_attempts, assert_two_ddp_nodes
from pages import DOCS, Page, commands, follow

PAGES = [
    Page(
        "tutorials/first-job.md",
        (r"4/4", r"FINISHED: 1 attempt", r"all_reduce +[\d.e-]+ ms"),
        makes=("loss.png",),
        leaves=assert_two_ddp_nodes,
    ),
    Page("how-to/offline-nodes.md", (r"mlflow complete",), server=True),
    Page(
        "how-to/requeue.md",
        (r"\bKILLED\b", r"2 attempts; .*goodput \d+%", r"Attempt 1 "),
        leaves=assert_one_series_of_two_attempts,
    ),
    Page("how-to/job-arrays.md", (r"array-\d+", r"my-sweep"), leaves=assert_array),
    Page("how-to/provenance.md", (r"provenance\.svg", r"ro-crate-metadata\.json")),
]
ELSEWHERE = {DOCS / "how-to" / "containers.md"}
"""Run in tests/containers, where the images are built."""


def test_no_page_with_commands_is_left_out() -> None:
    tested = {DOCS / page.path for page in PAGES} | ELSEWHERE
    pages = {page for folder in ("tutorials", "how-to") for page in (DOCS / folder).glob("*.md") if commands(page)}
    assert pages == tested


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: Path(page.path).stem)
def test_its_commands_do_what_it_says(page: Page, slurm: Slurm, tmp_path: Path) -> None:
    with serve(tmp_path / "server", 5000) if page.server else nullcontext():
        follow(page, slurm, tmp_path)
