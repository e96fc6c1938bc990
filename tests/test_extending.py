"""The example of docs/extending.md works: applied to a copy of ranklog, the new kind is logged and shown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"


def blocks(language: str) -> list[str]:
    """The code blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of ranklog with the changes of the page."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for diff in blocks("diff"):
        done = subprocess.run(
            ["git", "apply", "--unidiff-zero", "-"],
            input=diff,
            cwd=tmp_path,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + diff
    return tmp_path / "src"


def run(script: str, copy: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    check = f"import ranklog\nassert ranklog.__file__.startswith({str(copy)!r}), ranklog.__file__\n"
    return subprocess.run(
        [sys.executable, "-c", check + script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_the_kind_of_the_page_is_logged_checked_and_shown(copy: Path, tmp_path: Path) -> None:
    (script,) = blocks("python")
    done = run(script, copy, tmp_path)
    assert done.returncode == 0, done.stderr
    shown = [line.split() for line in done.stdout.splitlines()]
    assert ["label", "0", "1", "2"] in shown, done.stdout + done.stderr
    assert [line for line in shown if len(line) == 4 and line[0] in "012"] == [
        ["0", "1", "1", "0"],
        ["1", "0", "1", "0"],
        ["2", "0", "0", "1"],
    ]
    wrong = run(script.replace("classes=3", "classes=1"), copy, tmp_path)
    assert "classes=1 is not allowed: give a number of classes from 2 to 1000" in wrong.stderr
    wrong = run(script.replace("([0, 0, 1, 2], [0, 1, 1, 2])", "'x'"), copy, tmp_path)
    assert "give (labels, predictions): two arrays or tensors of class numbers" in wrong.stderr
