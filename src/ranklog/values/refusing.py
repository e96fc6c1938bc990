"""Errors for items that cannot be stored: they name the item, the reason, and allowed items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ranklog.model.errors import InvalidItemError, RanklogError
from ranklog.model.kinds import KINDS
from ranklog.model.text import type_text
from ranklog.values.plain import NotPlain


def wrong_item(item: object, name: str, kind: str, why: str = "") -> InvalidItemError:
    """The error for an item that its kind cannot store."""
    return refused(item, f"{kind} {name!r}", why, KINDS[kind].accepts)


def refused(item: object, what: str, why: str, give: str) -> InvalidItemError:
    """The error for an item, or for a part of one such as its weights, that cannot be stored."""
    return InvalidItemError(f"{what} is {type_text(item)}{why}: give {give}")


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn any exception that the user's item causes inside into an `InvalidItemError`.

    Raises:
        InvalidItemError: for every exception but `RanklogError`.
    """
    try:
        yield
    except RanklogError:
        raise
    except NotPlain as error:
        raise InvalidItemError(f"{what}: {error}") from None
    except RecursionError as error:
        raise InvalidItemError(f"{what} contains itself, or is nested too deeply: remove that part") from error
    except OSError as error:
        raise InvalidItemError(f"{what} cannot be read: {error}") from error
    except Exception as error:
        raise InvalidItemError(f"{what} cannot be stored: {type(error).__name__}: {error}") from error
