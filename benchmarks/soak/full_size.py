"""Tests with more cases than CI has time for: each call that may fail, and each number of ranks.

python -m benchmarks.soak.full_size failing_calls|wrong_ranks|ray [--only WORDS]

`failing_calls`: each call on each of ranklog's files fails, with each error. `wrong_ranks`: one of 2 to 8 ranks is
killed, stopped, late by 20 s, leaves or raises, and ranks log other keys, orders, shapes and steps. `ray`: workers of
Ray are killed, and its driver is killed or exits.
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

RESULTS = Path(__file__).with_name("results")
TESTS = {
    "failing_calls": ["tests/faults/test_each_call.py", "tests/faults/test_fail_calls.py"],
    "wrong_ranks": [
        "tests/jobs/test_faults.py::test_a_killed_rank_costs_only_its_own_values_and_is_named",
        "tests/jobs/test_faults.py::test_what_a_stopped_rank_logs_later_is_merged_by_sync",
        "tests/jobs/test_faults.py::test_a_rank_that_is_late_by_less_than_the_time_limit_is_waited_for",
        "tests/jobs/test_faults.py::test_a_rank_that_leaves_in_the_middle_holds_nobody_up",
        "tests/reduce/test_processes.py",
    ],
    "ray": ["tests/world/test_ray_ends.py"],
}


class Outcome(msgspec.Struct, frozen=True):
    """Results of one set of tests.

    Attributes:
        cases: Outcome of each case.
        wall_s: Duration.
        load: Load of the machine at the end.
    """

    cases: dict[str, str]
    wall_s: float
    load: tuple[float, float, float]


def run_tests(tests: list[str], *options: str) -> Outcome:
    """Run tests at their full size."""
    began_s = time.monotonic()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *tests, *options, f"--junitxml={report}"]
        subprocess.run(command, env={**os.environ, "RANKLOG_TEST_FULL": "1"}, check=False)
        cases = outcomes(report)
    return Outcome(cases, time.monotonic() - began_s, os.getloadavg())


def outcomes(report: Path) -> dict[str, str]:
    """Read the outcome of each case, with its parameters, from a report of pytest."""
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        state = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.attrib["name"].removeprefix("test_")] = state.pop() if state else "passed"
    return found


def write_result(name: str, result: msgspec.Struct) -> None:
    """Write and print a result."""
    path = RESULTS / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    print(path.read_text())


def main() -> None:
    """Run one set of tests and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", choices=TESTS)
    parser.add_argument("--only", metavar="WORDS", help="run only cases whose names match, and keep the other results")
    given = parser.parse_args()
    result = run_tests(TESTS[given.tests], *(["-k", given.only] if given.only else []))
    if given.only:
        before = msgspec.json.decode((RESULTS / f"{given.tests}.json").read_bytes(), type=Outcome)
        result = msgspec.structs.replace(result, cases=before.cases | result.cases)
    write_result(given.tests, result)


if __name__ == "__main__":
    main()
