"""The parts of an open session, as flushing and closing need them."""

from __future__ import annotations

from dataclasses import dataclass

from ranklog.model.place import Place
from ranklog.observe.sampler import NodeSamplers
from ranklog.pipeline.drain import Drain
from ranklog.pipeline.recorder import Recorder
from ranklog.pipeline.records import RecordBuilder
from ranklog.pipeline.reduction.reducer import Reducer
from ranklog.pipeline.sink import SessionSink
from ranklog.process.blackbox import BlackBox
from ranklog.process.warnings import Health
from ranklog.world.progress import Progress


@dataclass(frozen=True)
class Parts:
    """One session's parts.

    Attributes:
        place: This process.
        health: Takes trouble.
        sink: Where items and observers put their records; it has the background worker.
        samplers: Sample the node.
        black_box: Last output and metrics of this process.
        reducer: Reduces values over ranks.
        builder: Turns entries into records, in the drain thread.
        recorder: Writes the journal, in the drain thread; None on other ranks than 0.
        drain: The drain thread.
        progress: Moves communication on, for strategies that need the training thread.
    """

    place: Place
    health: Health
    sink: SessionSink
    samplers: NodeSamplers
    black_box: BlackBox
    reducer: Reducer
    builder: RecordBuilder
    recorder: Recorder | None
    drain: Drain
    progress: Progress | None

    @property
    def ordinal(self) -> int | None:
        """On rank 0: number of the journal's next record."""
        return None if self.recorder is None else self.recorder.ordinal

    @property
    def lost(self) -> int:
        """Items, records and values of this rank that are lost so far."""
        return self.sink.lost + self.drain.lost + self.reducer.lost
