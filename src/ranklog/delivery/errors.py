"""Texts in the cursor: why delivery fails, and which parts of the journal cannot be read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ranklog.backends.shared.delivery_log import describe
from ranklog.journal.cursor import Cursor
from ranklog.journal.layout import segment_name
from ranklog.journal.reader import Damage

_NO_ACCESS = re.compile(r"\b(401|403|[Uu]nauthorized|UNAUTHENTICATED|PERMISSION_DENIED)\b")


def explain_error(error: BaseException, backend: str) -> str:
    """Describe an error of a backend in one line, with the cure if it is known."""
    if isinstance(error, ImportError) and "pip install" not in str(error):
        return f"backend {backend} lacks a package ({describe(error)}): pip install 'ranklog[{backend}]'"
    if _NO_ACCESS.search(str(error)):
        return f"{describe(error)}. Renew the token or key of {backend}, then run `ranklog sync`"
    return describe(error)


def record_damage(damage: Sequence[Damage], cursor: Cursor) -> tuple[list[str], bool]:
    """Write damage of the journal into a cursor.

    Returns:
        A message per newly found damage, and whether the cursor changed. A torn end is no damage: it holds nothing that
        was acknowledged, or its records were written again to the next segment.
    """
    messages = []
    changed = False
    for each in damage:
        segment = segment_name(each.segment)
        if each.torn:
            changed = cursor.damage.pop(segment, None) is not None or changed
        elif segment not in cursor.damage:
            cursor.damage[segment] = reason = f"from byte {each.offset}: {each.reason}"
            messages.append(f"{segment} cannot be read {reason}")
            changed = True
    return messages, changed
