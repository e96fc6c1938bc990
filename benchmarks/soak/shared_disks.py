"""The tests of shared file systems on one that takes too long for every run, and with a long outage.

python -m benchmarks.soak.shared_disks glusterfs [--away 20]

Needs root and the programs of the file system; see tests/filesystems/shared_disks.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import msgspec

TESTS = "tests/filesystems/test_shared_disks.py"
RESULTS = Path(__file__).with_name("results")


class Outcome(msgspec.Struct, frozen=True):
    """Results of one file system.

    Attributes:
        file_system: Its name.
        away_s: Seconds of the outage.
        cases: Outcome of each case.
        wall_s: Duration.
    """

    file_system: str
    away_s: float
    cases: dict[str, str]
    wall_s: float


def outcomes(report: Path) -> dict[str, str]:
    """Read the outcome of each case from a report of pytest."""
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        state = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.attrib["name"].partition("[")[0].removeprefix("test_")] = state.pop() if state else "passed"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file_system")
    parser.add_argument("--away", type=float, default=20.0)
    arguments = parser.parse_args()
    began_s = time.monotonic()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environ = {"RANKLOG_TEST_DISK": arguments.file_system, "RANKLOG_TEST_AWAY_S": str(arguments.away), "CI": "true"}
        command = [sys.executable, "-m", "pytest", "-q", TESTS, f"--junitxml={report}"]
        subprocess.run(command, env={**os.environ, **environ}, check=False)
        cases = outcomes(report)
    result = Outcome(arguments.file_system, arguments.away, cases, time.monotonic() - began_s)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"shared_disks-{arguments.file_system}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
