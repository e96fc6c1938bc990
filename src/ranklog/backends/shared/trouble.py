"""Classification of a backend's exceptions: cannot reach the backend, bad record, or unclear. One table, pure.

``reach``: the backend cannot be reached, or its environment fails: network, login, rate limits, disk, lock, a missing
package, a wrong setting. Waiting or the user fixes it. ``record``: the client or the server failed on the record that
it was given. ``unclear``: could be either, for example HTTP 500 or lack of memory. Client libraries wrap exceptions, so
the causes of an exception count too: ``reach`` wins, then ``record``.

Classes are known by name, so no client library is imported. An unknown class counts as ``record``, unless its name
suggests a connection. `ranklog.delivery.poison` sets a record aside only if the backend accepts another one.
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
"""Any other status counts as ``reach``: login, rate limits, a proxy, a run that was deleted."""

_CODES: dict[str, Trouble] = {
    # Error codes of MLflow and status codes of gRPC.
    **dict.fromkeys(("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST"), "record"),
    **dict.fromkeys(("INVALID_ARGUMENT", "OUT_OF_RANGE"), "record"),
    **dict.fromkeys(("INTERNAL_ERROR", "INVALID_STATE", "DATA_LOSS", "NOT_IMPLEMENTED", "ABORTED"), "unclear"),
    **dict.fromkeys(("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", "RESOURCE_CONFLICT"), "unclear"),
    **dict.fromkeys(("INTERNAL", "UNKNOWN", "FAILED_PRECONDITION", "UNIMPLEMENTED"), "unclear"),
}
"""Any other code counts as ``reach``."""

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
"""For all other classes of a package."""

_RECORD_ERRNOS = frozenset((errno.ENAMETOOLONG, errno.EILSEQ))
_UNCLEAR_ERRNOS = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW)
)
_CONNECTION_NAMES = re.compile(
    r"Connect|Disconnect|Network|Socket|Transport|Timeout|TimedOut|Unavailable|Unreachable|Offline|Mailbox|Service"
    r"|Abandoned|Auth|Login|Credential|Permission|Forbidden|Throttl|RateLimit|TooManyRequests|Quota|Retry"
)
_STATUS_TEXT = re.compile(r"(?:too many|error code|status code)\W{0,3}([1-5]\d\d)\b")
_TOO_BIG = re.compile(r"too (?:many|big|large|long)", re.IGNORECASE)
_BUILTINS = "builtins"


def trouble_of(error: BaseException) -> Trouble:
    """Classify an exception.

    Example:
        >>> trouble_of(ConnectionRefusedError()), trouble_of(KeyError("a")), trouble_of(MemoryError())
        ('reach', 'record', 'unclear')
    """
    found = {_of_one(each) for each in _chain(error)}
    # Plain exceptions give no verdict of their own: they often wrap a more specific one.
    verdicts: tuple[Trouble, ...] = ("reach", "record", "unclear")
    return next((verdict for verdict in verdicts if verdict in found), "record")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and its causes, explicit ones and those being handled when it was raised."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _of_one(error: BaseException) -> Trouble | None:
    """Classify one exception without its causes; None for plain exceptions."""
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
        return "unclear"  # for example SystemExit, raised by a client library
    return None if type(error) in (Exception, RuntimeError) else "record"


def _of_class(name: str, kind: type) -> Trouble | None:
    if name in _CLASSES:
        return _CLASSES[name]
    parts = kind.__module__.split(".")
    if parts[0] == _BUILTINS:
        return None
    if _CONNECTION_NAMES.search(kind.__name__):
        return "reach"
    return _PACKAGES.get(".".join(parts[:2])) or _PACKAGES.get(parts[0])


def _of_errno(number: int | None) -> Trouble:
    if number in _RECORD_ERRNOS:
        return "record"
    # Some libraries raise OSError with a text and without a number.
    return "unclear" if number is None or number in _UNCLEAR_ERRNOS else "reach"


def _status(error: BaseException, name: str) -> int | None:
    """Return the HTTP status of the server's answer, if the exception has it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        response = response.get("ResponseMetadata", {})
        status = response.get("HTTPStatusCode")
    else:
        status = getattr(response, "status_code", None) or getattr(error, "status_code", None)
        if status is None and name.startswith(("urllib.", "google.api_core.")):
            status = getattr(error, "code", None)
    if isinstance(status, int) and 100 <= status < 600:
        return int(status)
    found = _STATUS_TEXT.search(str(error)) if name.startswith(("mlflow.", "requests.", "urllib3.")) else None
    return int(found[1]) if found else None


def _code(error: BaseException) -> str | None:
    """Return the name of an error code of MLflow or gRPC."""
    code = getattr(error, "error_code", None)
    if isinstance(code, str):
        return code
    ask = getattr(error, "code", None)
    if callable(ask) and type(error).__module__.startswith("grpc"):
        return str(getattr(ask(), "name", "UNKNOWN"))
    return None
