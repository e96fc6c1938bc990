"""What waits for a disk is bounded: contents go first, the oldest before the others, and what went is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import End, Event, File, Item, Metrics, Record
from ranklog.pipeline.backlog import Backlog, buffer_bytes, size_of


def metrics(step: int) -> Metrics:
    return Metrics(step, 0, -1, {"loss": 1.0})


def item(step: int, size: int = 1000) -> Item:
    return Item("artifact", f"a{step}", step, 0, -1, 0, "x/y", (File("a", size, "", bytes(size)),))


RECORDS = st.one_of(
    st.integers(0, 99).map(metrics),
    st.builds(item, st.integers(0, 99), st.integers(0, 3000)),
    st.just(Event("info", "c", "t", 0)),
    st.just(End("FINISHED", 0)),
)


@given(st.lists(st.lists(RECORDS, max_size=8), max_size=8), st.integers(0, 10_000), st.integers(0, 5))
def test_what_is_left_is_within_the_bound_in_order_and_everything_is_counted(
    batches: list[list[Record]], limit: int, taken: int
) -> None:
    backlog = Backlog(limit)
    added = dropped = 0
    for batch in batches:
        backlog.records.extend(batch)
        added += len(batch)
        dropped += backlog.trim()
        out = min(taken, len(backlog.records))
        backlog.take_out(out)
        added -= out
    left = backlog.records
    assert len(left) + dropped == added
    droppable = sum(size_of(record) for record in left if isinstance(record, (Item, Metrics)))
    assert droppable <= limit or droppable == 0
    everything = [record for batch in batches for record in batch]
    position = -1
    for record in left:
        position = everything.index(record, position + 1)
    if dropped == 0 and taken == 0:
        assert left == everything


def test_the_oldest_contents_go_before_newer_ones_and_these_before_the_newest_metrics() -> None:
    records = [item(0), metrics(1), item(2), metrics(3), End("FINISHED", 0)]
    order: list[set[int]] = []
    for limit in range(4000, -1, -1):
        backlog = Backlog(limit)
        backlog.records.extend(records)
        backlog.trim()
        gone = {index for index, record in enumerate(records) if not any(record is left for left in backlog.records)}
        if not order or gone != order[-1]:
            order.append(gone)
    assert order == [set(), {0}, {0, 2}, {0, 2, 3}, {0, 1, 2, 3}]


@pytest.mark.parametrize("given", ["0", "-1", "much", "inf"])
def test_a_bound_that_is_no_positive_number_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOG_BUFFER_MIB", given)
    with pytest.raises(InvalidArgumentError, match="RANKLOG_BUFFER_MIB"):
        buffer_bytes()
