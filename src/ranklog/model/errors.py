"""Every exception and warning that ranklog raises on purpose, in one list.

A wrong call by the user raises one of the errors in the caller. Trouble with a disk, a network, a backend or
another rank is a `RanklogWarning`, given once a cause.
"""

from __future__ import annotations


class RanklogError(Exception):
    """Base of all errors of ranklog."""


class NotStartedError(RanklogError, RuntimeError):
    """A logger was used before `create_logger_context` or after `destroy_logger_context`."""


class InvalidArgumentError(RanklogError, ValueError):
    """An argument has a value that is not allowed; the message lists what is."""


class InvalidItemError(RanklogError, TypeError):
    """An item has a type that its kind cannot store; the message lists what it can."""


class LaunchError(RanklogError, RuntimeError):
    """The launcher's variables are incomplete or contradict each other; the message names them."""


class WorldError(RanklogError, RuntimeError):
    """Ranks could not talk to each other: a missing rank, a broken connection, a time limit; the message says which."""


class ReduceTimeoutError(RanklogError, TimeoutError):
    """`reduce_now` did not hear from every rank in time."""


class MissingExtraError(RanklogError, ImportError):
    """An optional package is needed; the message names the extra to install."""


class RunNotFoundError(RanklogError, FileNotFoundError):
    """No run directory where one was named."""


class RanklogWarning(UserWarning):
    """Something went wrong that does not stop training; given once for each cause."""
