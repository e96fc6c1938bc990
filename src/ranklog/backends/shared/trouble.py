"""What an exception of a backend is about: reaching the backend, a record, or unclear. One table, pure.

``reach``: the backend or the way to it is in trouble: network, login, patience, disk, lock, a missing package, a wrong
setting. Waiting or the user cures it. ``record``: the client or the server did not get along with what it was given.
``unclear``: could be either, such as HTTP 500 or too little memory. Client libraries wrap exceptions, so the causes
count too: one that is about reaching decides, then one about a record.

Classes are known by name, so nothing of a client library is imported. Unknown classes count as about a record, unless
their name tells of a connection; `ranklog.delivery.poison` sets no record aside unless the backend takes another one.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Literal

Trouble = Literal["reach", "record", "unclear"]

_STATUS: dict[int, Trouble] = {
    **dict.fromkeys((400, 406, 411, 413, 414, 415, 416, 422, 431), "record"),
    **dict.fromkeys((409, 500, 501), "unclear"),
}
"""Any other status is about reaching: login, patience, a proxy, a run that is gone."""

_CODES: dict[str, Trouble] = {
    # MLflow's error codes and grpc's status codes.
    **dict.fromkeys(("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST"), "record"),
    **dict.fromkeys(("INVALID_ARGUMENT", "OUT_OF_RANGE"), "record"),
    **dict.fromkeys(("INTERNAL_ERROR", "INVALID_STATE", "DATA_LOSS", "NOT_IMPLEMENTED", "ABORTED"), "unclear"),
    **dict.fromkeys(("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", "RESOURCE_CONFLICT"), "unclear"),
    **dict.fromkeys(("INTERNAL", "UNKNOWN", "FAILED_PRECONDITION", "UNIMPLEMENTED"), "unclear"),
}
"""Any other code is about reaching."""

_CLASSES: dict[str, Trouble] = {
    "ranklog.model.errors.RanklogError": "reach",
    "builtins.ImportError": "reach",
    "builtins.ConnectionError": "reach",
    "builtins.TimeoutError": "reach",
    "asyncio.exceptions.TimeoutError": "reach",
    "http.client.HTTPException": "reach",
    "builtins.MemoryError": "unclear",
    "builtins.SystemError": "unclear",
    "builtins.EOFError": "unclear",
    "subprocess.SubprocessError": "unclear",
    "requests.exceptions.JSONDecodeError": "reach",
    "requests.exceptions.InvalidJSONError": "record",
    "requests.exceptions.InvalidHeader": "record",
    "botocore.exceptions.ParamValidationError": "record",
    "wandb.errors.errors.CommError": "reach",
    "wandb.errors.errors.WandbCoreNotAvailableError": "reach",
    "wandb.errors.errors.UsageError": "record",
    "sqlite3.OperationalError": "reach",
    "sqlite3.IntegrityError": "record",
    "sqlite3.DataError": "record",
    "sqlite3.InterfaceError": "record",
    "sqlite3.ProgrammingError": "record",
    "sqlite3.NotSupportedError": "record",
    "sqlite3.Error": "reach",
    "sqlalchemy.exc.OperationalError": "reach",
    "sqlalchemy.exc.InterfaceError": "reach",
    "sqlalchemy.exc.TimeoutError": "reach",
    "sqlalchemy.exc.DisconnectionError": "reach",
    "sqlalchemy.exc.IntegrityError": "record",
    "sqlalchemy.exc.DataError": "record",
    "sqlalchemy.exc.DBAPIError": "unclear",
    "sqlalchemy.exc.StatementError": "record",
}
_PACKAGES: dict[str, Trouble] = {
    **dict.fromkeys(("requests", "urllib3", "httpx", "httpcore", "aiohttp", "urllib", "ssl", "socket"), "reach"),
    **dict.fromkeys(("botocore", "boto3", "s3transfer", "azure", "google.api_core", "google.auth", "grpc"), "reach"),
    **dict.fromkeys(("PIL", "google.protobuf", "msgspec"), "record"),
    **dict.fromkeys(("mlflow", "sqlalchemy", "wandb"), "unclear"),
}
"""For the other classes of a package."""

_RECORD_ERRNOS = frozenset((errno.ENAMETOOLONG, errno.EILSEQ))
_UNCLEAR_ERRNOS = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW)
)
_TELLING = re.compile(
    r"Connect|Disconnect|Network|Socket|Transport|Timeout|TimedOut|Unavailable|Unreachable|Offline|Mailbox|Service"
    r"|Abandoned|Auth|Login|Credential|Permission|Forbidden|Throttl|RateLimit|TooManyRequests|Quota|Retry"
)
_STATUS_TEXT = re.compile(r"(?:too many|error code|status code)\W{0,3}([1-5]\d\d)\b")
_TOO_BIG = re.compile(r"too (?:many|big|large|long)", re.IGNORECASE)
_BUILTINS = "builtins"


def trouble_of(error: BaseException) -> Trouble:
    """What an exception is about.

    Example:
        >>> trouble_of(ConnectionRefusedError()), trouble_of(KeyError("a")), trouble_of(MemoryError())
        ('reach', 'record', 'unclear')
    """
    found = {_of_one(each) for each in _chain(error)}
    # Plain exceptions are wrappers where something more telling is behind them.
    verdicts: tuple[Trouble, ...] = ("reach", "record", "unclear")
    return next((verdict for verdict in verdicts if verdict in found), "record")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from or while handling."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _of_one(error: BaseException) -> Trouble | None:
    """What one exception says by itself; None where it says nothing."""
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    if (status := _status(error, names[0])) is not None:
        return _STATUS.get(status, "reach")
    if (code := _code(error)) is not None:
        return _CODES.get(code, "reach")
    for name, kind in zip(names, type(error).__mro__, strict=True):
        if (verdict := _of_class(name, kind)) is not None:
            if verdict == "reach" and "OperationalError" in name and _TOO_BIG.search(str(error)):
                return "record"
            return verdict
    if isinstance(error, OSError):
        return _of_errno(error.errno)
    if not isinstance(error, Exception):
        return "unclear"  # as SystemExit of a client library
    return None if type(error) in (Exception, RuntimeError) else "record"


def _of_class(name: str, kind: type) -> Trouble | None:
    if name in _CLASSES:
        return _CLASSES[name]
    parts = kind.__module__.split(".")
    if parts[0] == _BUILTINS:
        return None
    if _TELLING.search(kind.__name__):
        return "reach"
    return _PACKAGES.get(".".join(parts[:2])) or _PACKAGES.get(parts[0])


def _of_errno(number: int | None) -> Trouble:
    if number in _RECORD_ERRNOS:
        return "record"
    # Without a number: libraries that tell of files in words.
    return "unclear" if number is None or number in _UNCLEAR_ERRNOS else "reach"


def _status(error: BaseException, name: str) -> int | None:
    """The HTTP status that a server answered, where the exception tells."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # of botocore
        response = response.get("ResponseMetadata", {})
        status = response.get("HTTPStatusCode")
    else:
        status = getattr(response, "status_code", None) or getattr(error, "status_code", None)
        if status is None and name.startswith(("urllib.", "google.api_core.")):
            status = getattr(error, "code", None)
    if isinstance(status, int) and 100 <= status < 600:
        return int(status)
    told = _STATUS_TEXT.search(str(error)) if name.startswith(("mlflow.", "requests.", "urllib3.")) else None
    return int(told[1]) if told else None


def _code(error: BaseException) -> str | None:
    """The name of an error code, of MLflow or grpc."""
    code = getattr(error, "error_code", None)
    if isinstance(code, str):
        return code
    ask = getattr(error, "code", None)
    if callable(ask) and type(error).__module__.startswith("grpc"):
        return str(getattr(ask(), "name", "UNKNOWN"))
    return None
