r"""Reversible spelling of names for places that refuse some characters.

A refused character becomes ``_xHHHH_`` (its code point in hexadecimal, as spreadsheets write it); text that
already looks like that has its underscore escaped, so that `unescape` gives back every name. Pure. Percent
signs would not do: servers decode them again.
"""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"_x([0-9A-F]{4,6})_")
_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9A-F]{4,6}_)")


def escape(text: str, refused: re.Pattern[str]) -> str:
    r"""Spell ``text`` without the characters that ``refused`` matches one at a time.

    Example:
        >>> escape("loss[0]", re.compile(r"[\[\]]"))
        'loss_x005B_0_x005D_'
    """
    return refused.sub(lambda match: escape_char(match.group()), _LOOKS_ESCAPED.sub(escape_char("_"), text))


def escape_char(char: str) -> str:
    """Spell one character."""
    return f"_x{ord(char):04X}_"


def unescape(text: str) -> str:
    """Give back what `escape` was given.

    Example:
        >>> unescape("loss_x005B_0_x005D_")
        'loss[0]'
    """
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), text)
