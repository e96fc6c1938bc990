"""A journal that grows byte by byte, is cut or is damaged while it is read gives what a fresh reading gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from journals import NAMES, attempts, folder, write
from test_run_index import expected, points

from ranklog.journal.layout import segments
from ranklog.journal.reader import JournalReader
from ranklog.view.index import groups, run_index, tables
from ranklog.view.index.run_index import RunIndex


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, float]]:
    """What happens: the last segment gets a share of its bytes, is cut, damaged or repeated; the index is reopened."""
    kinds = st.sampled_from(["grow", "grow", "whole", "whole", "next", "cut", "damage", "repeat", "reopen"])
    return draw(st.lists(st.tuples(kinds, st.floats(0, 1)), max_size=12))


class Journal:
    """A journal that is shown to the reader piece by piece."""

    def __init__(self, made: Path, shown: Path) -> None:
        self._shown = shown
        self._coming = [path.read_bytes() for _, path in segments(made)]
        self._names = [path.name for _, path in segments(made)]
        shown.mkdir()
        (shown / "run.msgpack").write_bytes((made / "run.msgpack").read_bytes())
        self._number = 0

    def do(self, kind: str, share: float) -> None:
        """Change the journal."""
        path = self._shown / self._names[self._number]
        whole = self._coming[self._number]
        now = path.read_bytes() if path.exists() else b""
        if kind == "grow" and whole.startswith(now):
            path.write_bytes(whole[: len(now) + int(share * (len(whole) - len(now)))])
        elif kind == "whole":
            path.write_bytes(whole)
        elif kind == "next" and self._number + 1 < len(self._names):
            self._number += 1
        elif kind == "cut" and now:
            path.write_bytes(now[: int(share * len(now))])
        elif kind == "damage" and whole.startswith(now):
            come = bytearray(whole[len(now) :])
            if come:
                come[int(share * (len(come) - 1))] ^= 0x10
            path.write_bytes(now + come)
        elif kind == "repeat" and self._number + 1 < len(self._names) and now == whole:
            # The next segment repeats this one, as after a failed sync.
            self._coming[self._number + 1] = whole
            self._number += 1


@given(attempts, steps())
@settings(max_examples=40, deadline=None, phases=[Phase.generate], derandomize=True)
def test_an_index_of_a_growing_journal_is_that_of_the_journal_now(journal, steps):
    with folder() as tmp, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_ROWS", groups.PYRAMID_ROWS)
        patch.setattr(run_index, "SAVE_RECORDS", 3)
        patch.setattr(run_index, "SAVE_PAUSE_FACTOR", 0.0)
        for attempt, rows in journal:
            write(tmp / "made", attempt, rows)
        shown = Journal(tmp / "made", tmp / "run")
        index = RunIndex(tmp / "run", tmp / "cache")
        for kind, share in steps:
            if kind == "reopen":
                index.close()
                index = RunIndex(tmp / "run", tmp / "cache")
            shown.do(kind, share)
            index.refresh()
            for name in NAMES:
                assert points(index, name) == expected(tmp / "run", name), (kind, share)
        fresh = JournalReader(tmp / "run")
        assert [*fresh.poll()][-1:] == [] or index.tables.records > 0
        assert {(each.segment, each.offset, each.torn) for each in index.damage} >= {
            (each.segment, each.offset, each.torn) for each in fresh.damage
        }
        index.close()
