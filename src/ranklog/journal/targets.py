"""Which backends a run is delivered to: its own, from its attempts, or others that ``ranklog sync --to`` names; pure.

Records say by a bit mask over their own attempt's list whom they are for; `Target.mask` turns that into a question
about one backend. Which backend is which over attempts says `ranklog.model.identity`.
"""

from __future__ import annotations

import hashlib

import msgspec

from ranklog.journal.cursor import EXTRA_INDEX
from ranklog.model.identity import Member
from ranklog.model.record import EVERY_BACKEND, Attempt, Entry, Item, MetricInfo, Metrics, Params
from ranklog.model.spec import BackendSpec


class Target(msgspec.Struct, frozen=True):
    """One backend to feed.

    Attributes:
        index: Its number; names its cursor.
        label: Name of its cursor and in tables.
        spec: Its newest front.
        own: What the run says about it; None for one that takes all records, whomever they are for.
    """

    index: int
    label: str
    spec: BackendSpec
    own: Member | None = None

    def mask(self, attempt: Attempt) -> int:
        """Bits of this backend in the records of an attempt; 0 where nothing of the attempt is for it."""
        return EVERY_BACKEND if self.own is None else self.own.mask(attempt)


def target_of(member: Member) -> Target:
    """The target for a backend of the run."""
    return Target(member.index, member.label, member.spec, member)


def extra_target(spec: BackendSpec) -> Target:
    """A backend that no attempt names: gets everything, with a cursor of its own for its options."""
    digest = hashlib.sha256(msgspec.json.encode(spec.options, order="sorted")).hexdigest()[:8]
    return Target(EXTRA_INDEX, f"{spec.backend}-{digest}", spec)


def is_for(entry: Entry, mask: int) -> bool:
    """Whether an entry is for the backend with this bit; one without an address is for all of its attempt."""
    if isinstance(entry.record, (Metrics, MetricInfo, Params, Item)):
        return bool(entry.record.to & mask)
    return mask != 0
