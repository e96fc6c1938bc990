"""Types as user scripts meet them: mypy accepts right calls and reports wrong ones, from outside the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "typed_scripts"
REPORTED = re.compile(r"(?P<file>\w+)\.py:(?P<line>\d+): error: .*\[(?P<code>[\w-]+)\]$")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reported() -> dict[str, dict[int, str]]:
    """Codes of the errors that mypy reports in all scripts, by file and line; for the oldest Python we support."""
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "--config-file", ""]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache" / "scripts")]
    done = subprocess.run(
        [*command, *cache, *(path.name for path in SCRIPTS.glob("*.py"))],
        cwd=SCRIPTS, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {}
    for line in done.stdout.splitlines():
        if match := REPORTED.match(line):
            found.setdefault(match["file"], {})[int(match["line"])] = match["code"]
        else:
            assert ": note: " in line or line.startswith(("Found", "Success")), line
    return found


def test_right_scripts_pass(reported: dict[str, dict[int, str]]) -> None:
    assert "right" not in reported


def test_each_wrong_line_is_reported_and_no_other(reported: dict[str, dict[int, str]]) -> None:
    lines = (SCRIPTS / "wrong.py").read_text().splitlines()
    expected = {number: line.rpartition("# ")[2] for number, line in enumerate(lines, 1) if "  # " in line}
    assert reported["wrong"] == expected


def test_a_right_script_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "right.py"), str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["1.0", "True", "0"]
