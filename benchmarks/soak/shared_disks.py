"""Tests of shared file systems on one that takes too long for CI, with a long outage and many pairs of MLflow jobs.

python -m benchmarks.soak.shared_disks {nfs,glusterfs} [--away 20] [--pairs 20] [--only losses]

Needs root and the programs of the file system; see tests/filesystems/shared_disks.py. The result replaces those of the
same cases in earlier runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import msgspec

TESTS = {
    "cases": "tests/filesystems/test_shared_disks.py",
    "mlflow": "tests/filesystems/test_mlflow_on_shared_disks.py",
    "losses": "benchmarks/soak/test_losses_on_nfs.py",
}
RESULTS = Path(__file__).with_name("results")


class Outcome(msgspec.Struct):
    """Results of one file system.

    Attributes:
        file_system: Its name.
        away_s: Seconds of the outage.
        cases: Number of each outcome of each case.
    """

    file_system: str
    away_s: float
    cases: dict[str, dict[str, int]]


def outcomes(report: Path) -> dict[str, dict[str, int]]:
    """Count the outcomes of each case in a report of pytest."""
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        state = {child.tag for child in case} & {"failure", "error", "skipped"}
        name = case.attrib["name"].partition("[")[0].removeprefix("test_")
        found.setdefault(name, Counter())[state.pop() if state else "passed"] += 1
    return {name: dict(counts) for name, counts in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file_system")
    parser.add_argument("--away", type=float, default=20.0)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--only", choices=TESTS, action="append")
    arguments = parser.parse_args()
    tests = [TESTS[name] for name in arguments.only or TESTS if name != "losses" or arguments.file_system == "nfs"]
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environ = {
            "RANKLOG_TEST_DISK": arguments.file_system,
            "RANKLOG_TEST_AWAY_S": str(arguments.away),
            "RANKLOG_TEST_ROUNDS": str(arguments.pairs),
            "CI": "true",
        }
        command = [sys.executable, "-m", "pytest", "-q", *tests, f"--junitxml={report}"]
        subprocess.run(command, env={**os.environ, **environ}, check=False)
        cases = outcomes(report)
    path = RESULTS / f"shared_disks-{arguments.file_system}.json"
    result = Outcome(arguments.file_system, arguments.away, {})
    if path.exists():
        result.cases = msgspec.json.decode(path.read_bytes(), type=Outcome).cases
    result.cases |= cases
    RESULTS.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
