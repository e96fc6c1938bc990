"""The ports of ranklog: the interfaces behind which worlds, backends and other parts can be exchanged. No I/O."""

from ranklog.abc.backends import Backend, ContentReader, Refused, RunContext
from ranklog.abc.forwarding import Forwarder, ForwarderEnd, ForwarderOutcome
from ranklog.abc.items import Call, Content, Encoded, Encoder, Job, PendingItem, Room, Sampler, Sink
from ranklog.abc.worlds import Floats, RankProvider, ReduceOp, RegroupingWorld, SpillStore, Strategy, World

__all__ = [
    "Backend",
    "Call",
    "Content",
    "ContentReader",
    "Encoded",
    "Encoder",
    "Floats",
    "Forwarder",
    "ForwarderEnd",
    "ForwarderOutcome",
    "Job",
    "PendingItem",
    "RankProvider",
    "ReduceOp",
    "Refused",
    "RegroupingWorld",
    "Room",
    "RunContext",
    "Sampler",
    "Sink",
    "SpillStore",
    "Strategy",
    "World",
]
