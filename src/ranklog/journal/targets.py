"""Targets of delivery: the run's own backends, from its attempts, or others from ``ranklog sync --to``. Pure.

A record names its backends by a bit mask over the list of its own attempt; `Target.mask` gives the bits of one backend.
`ranklog.model.identity` tells which backend is which across attempts.
"""

from __future__ import annotations

import hashlib

import msgspec

from ranklog.journal.cursor import EXTRA_INDEX
from ranklog.model.identity import Member
from ranklog.model.record import EVERY_BACKEND, Attempt, Entry, Item, MetricInfo, Metrics, Params
from ranklog.model.spec import BackendSpec


class Target(msgspec.Struct, frozen=True):
    """One backend to deliver to.

    Attributes:
        index: Its number; names its cursor.
        label: Name of its cursor, and its name in tables.
        spec: Its newest configuration.
        own: Its entry in the run; None for a backend that takes all records, whatever their mask.
    """

    index: int
    label: str
    spec: BackendSpec
    own: Member | None = None

    def mask(self, attempt: Attempt) -> int:
        """Return the bits of this backend in the records of an attempt; 0 if no record of the attempt is for it."""
        return EVERY_BACKEND if self.own is None else self.own.mask(attempt)


def target_of(member: Member) -> Target:
    """Return the target for a backend of the run."""
    return Target(member.index, member.label, member.spec, member)


def extra_target(spec: BackendSpec) -> Target:
    """Return the target for a backend that no attempt names: it takes everything, with one cursor per options."""
    digest = hashlib.sha256(msgspec.json.encode(spec.options, order="sorted")).hexdigest()[:8]
    return Target(EXTRA_INDEX, f"{spec.backend}-{digest}", spec)


def is_for(entry: Entry, mask: int) -> bool:
    """Return whether an entry is for the backend with this bit. Entries without a mask are for all of their attempt."""
    if isinstance(entry.record, (Metrics, MetricInfo, Params, Item)):
        return bool(entry.record.to & mask)
    return mask != 0
