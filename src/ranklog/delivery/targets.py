"""Which backends a run is for, from the `Attempt` records at the head of its segments; pure.

A backend is the same one over attempts when its name is (and its number among those of that name): a later
attempt may list it at another place or leave it out. Records say by a bit mask over their own attempt's list
whom they are for; `Target.mask` turns that into a question about one backend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from ranklog.model.record import EVERY_BACKEND, Attempt, Entry, Item, MetricInfo, Metrics, Params
from ranklog.model.spec import JOURNAL, BackendSpec

_EXTRA_INDEX = 1000


class Target(msgspec.Struct, frozen=True):
    """One backend to feed.

    Attributes:
        index: Place in the newest attempt's list that has it; names its cursor.
        label: Name of its cursor and in tables: the backend's name, made unique where it must be.
        spec: The newest front of this backend.
        twin: How many backends of the same name stand before it in the list.
        everything: Whether it takes all records, whomever they are for.
    """

    index: int
    label: str
    spec: BackendSpec
    twin: int = 0
    everything: bool = False

    def mask(self, attempt: Attempt) -> int:
        """Bit of this backend in the records of an attempt; 0 where the attempt does not have it."""
        if self.everything:
            return EVERY_BACKEND
        places = [i for i, spec in enumerate(attempt.backends) if spec.backend == self.spec.backend]
        return 1 << places[self.twin] if self.twin < len(places) else 0


def targets_of(attempts: Iterable[Attempt]) -> list[Target]:
    """Every backend that some attempt is for, with its newest front, in the newest order."""
    found: dict[tuple[str, int], Target] = {}
    for attempt in attempts:
        seen: dict[str, int] = {}
        for index, spec in enumerate(attempt.backends):
            if spec.backend == JOURNAL:
                continue
            twin = seen.get(spec.backend, 0)
            seen[spec.backend] = twin + 1
            found[spec.backend, twin] = Target(index, spec.backend, spec, twin)
    return sorted(found.values(), key=lambda target: target.index)


def extra_target(spec: BackendSpec) -> Target:
    """A backend that no attempt names: gets everything, with a cursor of its own for its options."""
    digest = hashlib.sha256(msgspec.json.encode(spec.options, order="sorted")).hexdigest()[:8]
    return Target(_EXTRA_INDEX, f"{spec.backend}-{digest}", spec, everything=True)


def is_for(entry: Entry, mask: int) -> bool:
    """Whether an entry is for the backend with this bit; one without an address is for all of its attempt."""
    if isinstance(entry.record, (Metrics, MetricInfo, Params, Item)):
        return bool(entry.record.to & mask)
    return mask != 0
