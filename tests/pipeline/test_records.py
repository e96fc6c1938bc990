"""From the inbox to records: joining, keeping apart, and trouble that costs only what it concerns."""

from collections.abc import Sequence
from typing import Any

import pytest

from ranklog.abc import Content, PendingItem
from ranklog.model.errors import RanklogWarning
from ranklog.model.record import File, Item, Metrics, Record
from ranklog.pipeline.inbox import Inbox
from ranklog.pipeline.records import RecordBuilder
from ranklog.process.blackbox import LastValues
from ranklog.process.warnings import Health


class Rig:
    """A drain with everything around it recorded."""

    def __init__(self, rank: int = 0, shared: int = 0) -> None:
        self.inbox = Inbox(2**20, stalled=lambda: False, full=lambda: None)
        self.out: list[Record] = []
        self.rows: list[tuple[dict[str, float], int, str]] = []
        self.disk_full = False
        self.drain = RecordBuilder(
            self.inbox,
            rows=self,
            emit=self.emit,
            store=self.store,
            health=Health(),
            rank=rank,
            shared=shared,
            last=LastValues(),
            limit_bytes=2**20,
        )

    def emit(self, records: Sequence[Record]) -> None:
        self.out.extend(records)

    def add(self, values: dict[str, float], *, step: int, op: str, to: int, time_ns: int, weight: float) -> None:
        self.rows.append((values, step, op))

    def store(self, content: Content, inline: bool) -> File:
        if self.disk_full:
            raise OSError(28, "No space left on device")
        return File(content.path, 1, "0" * 64, b"x")


def sample(values: dict[str, Any], step: int, op: str | None = None, to: int = 1) -> tuple[Any, ...]:
    return (values, step, 1, to, op, None)


def parcel(name: str, to: int = 1) -> PendingItem:
    return PendingItem(Item("text", name, 0, 1, to, 0, "text/plain", ()), (Content(name, b"x"),))


class Broken:
    def resolve(self) -> float:
        raise RuntimeError("device lost")


def test_calls_of_one_step_become_one_record_and_other_steps_do_not() -> None:
    rig = Rig()
    rig.inbox.extend([sample({"a": 1.0}, 0), sample({"b": 2.0}, 0), sample({"a": 3.0}, 1), sample({"a": 4.0}, 1)])
    assert rig.drain.run_once() == 4
    assert [(m.step, m.values) for m in rig.out if isinstance(m, Metrics)] == [
        (0, {"a": 1.0, "b": 2.0}),
        (1, {"a": 3.0}),
        (1, {"a": 4.0}),
    ]


def test_calls_for_different_backends_are_not_joined() -> None:
    rig = Rig()
    rig.inbox.extend([sample({"a": 1.0}, 0, to=1), sample({"b": 2.0}, 0, to=3)])
    rig.drain.run_once()
    assert [m.to for m in rig.out if isinstance(m, Metrics)] == [1, 3]


def test_what_is_reduced_goes_to_the_rows() -> None:
    rig = Rig()
    rig.inbox.append(sample({"a": 1.0}, 0, "mean"))
    rig.drain.run_once()
    assert (rig.rows, rig.out) == ([({"a": 1.0}, 0, "mean")], [])


def test_series_and_files_of_several_ranks_are_kept_apart_where_several_log() -> None:
    rig = Rig(rank=3, shared=0b10)
    rig.inbox.extend([sample({"a": 1.0}, 0, to=0b11), parcel("note", to=0b11)])
    rig.drain.run_once()
    metrics = [(m.to, list(m.values)) for m in rig.out if isinstance(m, Metrics)]
    items = [(i.to, i.name, i.files[0].path) for i in rig.out if isinstance(i, Item)]
    assert metrics == [(0b01, ["a"]), (0b10, ["a/rank_003"])]
    assert items == [(0b01, "note", "note"), (0b10, "rank_003/note", "rank_003/note")]


def test_a_value_that_cannot_be_read_costs_only_itself() -> None:
    rig = Rig()
    rig.inbox.extend([sample({"a": 1.0}, 0), sample({"b": Broken()}, 1), sample({"c": 2.0}, 2)])
    with pytest.warns(RanklogWarning, match="values of b at step 1 cannot be read: device lost"):
        rig.drain.run_once()
    assert [m.step for m in rig.out if isinstance(m, Metrics)] == [0, 2]


def test_an_item_that_the_disk_refuses_waits_and_the_metrics_do_not() -> None:
    rig = Rig()
    rig.disk_full = True
    rig.inbox.extend([parcel("note"), sample({"a": 1.0}, 0)])
    with pytest.warns(RanklogWarning, match="'note' cannot be stored yet"):
        rig.drain.run_once()
    assert [type(record) for record in rig.out] == [Metrics]
    rig.disk_full = False
    rig.drain.run_once()
    assert [type(record) for record in rig.out] == [Metrics, Item]


def test_under_warnings_as_errors_trouble_still_raises_nowhere(
    capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    import warnings

    warnings.simplefilter("error")
    Health().warn("x", "something is wrong")
    assert "ranklog: something is wrong" in capsys.readouterr().err
