r"""Spelling of names for backends that refuse some characters or long names. Pure.

`escape` is reversible: a refused character becomes ``_xHHHH_``, its code point in hexadecimal, as in spreadsheets. Text
that already looks like that gets its underscore escaped, so `unescape` restores every name. Percent signs are no
alternative, because servers decode them.
"""

from __future__ import annotations

import hashlib
import re

_ESCAPED = re.compile(r"_x([0-9A-F]{4,6})_")
_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9A-F]{4,6}_)")


def escape(text: str, refused: re.Pattern[str]) -> str:
    r"""Escape the characters of ``text`` that ``refused`` matches; the pattern matches one character at a time.

    Example:
        >>> escape("loss[0]", re.compile(r"[\[\]]"))
        'loss_x005B_0_x005D_'
    """
    return refused.sub(lambda match: escape_char(match.group()), _LOOKS_ESCAPED.sub(escape_char("_"), text))


def escape_char(char: str) -> str:
    """Escape one character."""
    return f"_x{ord(char):04X}_"


def unescape(text: str) -> str:
    """Restore the text that `escape` was given.

    Example:
        >>> unescape("loss_x005B_0_x005D_")
        'loss[0]'
    """
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), text)


def digest(name: str, length: int = 16) -> str:
    """Return a short hexadecimal digest of a name, which keeps names apart that were cut or replaced.

    Example:
        >>> digest("plots/out.csv", 8)
        '42b6aa10'
    """
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:length]
