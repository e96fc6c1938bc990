"""All exceptions and warnings that ranklog raises on purpose.

A wrong call raises one of the errors in the caller. Trouble with a disk, a network, a backend or another rank does not
raise; each cause gives one `RanklogWarning`.
"""

from __future__ import annotations


class RanklogError(Exception):
    """Base class of all errors of ranklog."""


class NotStartedError(RanklogError, RuntimeError):
    """A logger was used before `create_logger_context` or after `destroy_logger_context`."""


class InvalidArgumentError(RanklogError, ValueError):
    """An argument has an unknown name or a value that is not allowed; the message lists what is allowed."""


class InvalidItemError(RanklogError, TypeError):
    """An item has a type that its kind cannot store; the message lists the types that it can store."""


class LaunchError(RanklogError, RuntimeError):
    """The launcher's variables are incomplete or contradict each other; the message names them."""


class WorldError(RanklogError, RuntimeError):
    """Ranks could not communicate: a missing rank, a broken connection or a time limit; the message names the cause."""


class ReduceTimeoutError(RanklogError, TimeoutError):
    """Not every rank called `reduce_now` in time."""


class MissingExtraError(RanklogError, ImportError):
    """An optional package is not installed; the message names the extra to install."""


class RunNotFoundError(RanklogError, FileNotFoundError):
    """The directory is not a run directory, or no run has that id."""


class RanklogWarning(UserWarning):
    """Trouble that does not stop training. Each cause is warned about once."""
