"""History of one rank's spill file: which of its items the rank may have sent, and which it has kept again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ranklog.reduce.agree import Key
from ranklog.reduce.spill.format import SpillHead, SpillItem, SpillRecord, SpillReturned, SpillRows


class History:
    """Positions of the items of one file.

    Args:
        items: The items.

    Attributes:
        sent: Items that the rank may have sent since it kept them, with the position of the note that says so.
        keys: Last position of each key.
        serials: Last position of each ready-made record.
        in_doubt: Whether the last round of a generation may have taken any item.
    """

    def __init__(self, items: Sequence[SpillItem]) -> None:
        self.sent: dict[int, int] = {}
        self.keys: dict[Key, int] = {}
        self.serials: dict[int, int] = {}
        self.in_doubt = False
        values: list[int] = []
        noted: list[int] = []
        for position, item in enumerate(items):
            if isinstance(item, SpillReturned):
                if not item.items:  # the last note does not count
                    for each in noted:
                        del self.sent[each]
                noted = values[len(values) - item.items :]
                self.sent.update(dict.fromkeys(noted, position))
            elif not isinstance(item, SpillHead):
                values.append(position)
                self.in_doubt = self.in_doubt or item.in_doubt
                self._see(position, item)

    def _see(self, position: int, item: SpillRows | SpillRecord) -> None:
        if isinstance(item, SpillRecord):
            self.serials[item.serial] = position
        else:
            self.keys.update((key, position) for row in item.rows for key in row.held_keys())
