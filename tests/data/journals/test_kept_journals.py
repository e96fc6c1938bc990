"""Journals that an earlier version wrote read as that version read them; `make_journals` made them."""

from __future__ import annotations

from pathlib import Path

import pytest
from readings import COMMANDS, MERGED, answers

HERE = Path(__file__).parent
CASES = {path.parent.parent.name: path.parent for path in sorted(HERE.glob("*/*/run.msgpack"))}


def test_every_case_is_there() -> None:
    assert set(CASES) == {"damaged", "killed", "kinds", "requeued", "unmerged"}


@pytest.mark.parametrize("case", CASES)
def test_a_journal_of_an_earlier_version_reads_as_it_did_then(case: str, tmp_path: Path) -> None:
    kept = {name: (HERE / case / name) for name in (*COMMANDS, MERGED)}
    then = {name: path.read_text(encoding="utf-8") for name, path in kept.items() if path.exists()}
    assert set(then) >= set(COMMANDS)
    now = answers(CASES[case], tmp_path)
    assert set(now) == set(then)
    for name, text in then.items():
        assert now[name].splitlines() == text.splitlines(), name
