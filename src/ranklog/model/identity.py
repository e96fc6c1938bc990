"""Identity of each backend of a run, derived from its name and its place. Pure.

The place is where a backend stores: the options that determine it (`_PLACES`), completed from the environment. When
logging starts, `with_identities` writes the identity into each configuration. From then on it is part of the run and
never changes, whatever the order of backends in a later attempt. Options that only describe (a run name, tags) are not
part of it, and neither are users and passwords in addresses. Attempts written before identities existed get theirs from
their options.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import Attempt
from ranklog.model.redact import split_userinfo
from ranklog.model.spec import JOURNAL, BackendSpec, Scalar
from ranklog.model.text import absolute_uri, storable

StoragePlace = dict[str, str]
"""Where a backend stores: options and environment settings, by name."""

# Options that determine the place. MLflow and W&B have further rules, see `place_of`.
_PLACES = {
    "console": ("savedir",),
    "csv": ("savedir",),
    "tensorboard": ("savedir",),
    "prov": ("savedir",),
    "trackio": ("savedir", "project_name"),
    "opentelemetry": ("savedir", "endpoint"),
    "mlflow": ("tracking_uri", "experiment_name"),
    "wandb": ("project_name",),
}
# For other backends, every option counts except those that only describe.
_DESCRIBING = frozenset(
    ("run_name", "run_description", "description", "notes", "tags", "group", "job_type", "run_id", "parent_run_id")
)
# Variables that determine the place if the options leave it open, by the name under which they are stored in it.
_VARIABLES = {
    "opentelemetry": {
        "endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
        "metrics_endpoint": "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "logs_endpoint": "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    },
    "wandb": {"base_url": "WANDB_BASE_URL", "entity": "WANDB_ENTITY"},
}
_WANDB_OFFLINE = ("offline", "dryrun", "disabled")
_TRACKING_URI = "MLFLOW_TRACKING_URI"
_NOWHERE: Mapping[str, str] = {}


class Member(msgspec.Struct, frozen=True):
    """One backend of a run.

    Attributes:
        index: Its number in the run, in the order in which attempts first named it; part of its cursor's name.
        label: Its name in tables: the backend's name, with a number from the second one of that name on.
        spec: Its newest configuration; ``spec.id`` is its identity.
        since: Number of the first attempt that names it.
    """

    index: int
    label: str
    spec: BackendSpec
    since: int

    def mask(self, attempt: Attempt) -> int:
        """Return the bits of this backend in the records of an attempt; 0 if no record of the attempt is for it.

        A backend that a later attempt moves to a new place gets the whole run there. For attempts before its first one,
        it gets the records for any backend of its name.
        """
        bits = [(1 << i, spec) for i, spec in enumerate(attempt.backends) if spec.backend == self.spec.backend]
        if attempt.attempt >= self.since:
            bits = [(bit, spec) for bit, spec in bits if identity_of(spec) == self.spec.id]
        return sum(bit for bit, _ in bits)


def members(attempts: Iterable[Attempt]) -> list[Member]:
    """Return every backend of any attempt, in the order of their numbers."""
    found: dict[str, Member] = {}
    named: dict[str, int] = {}
    for attempt in attempts:
        for spec in attempt.backends:
            own = msgspec.structs.replace(spec, id=identity_of(spec))
            before = found.get(own.id)
            if before is not None:
                found[own.id] = msgspec.structs.replace(before, spec=own)
                continue
            number = named[spec.backend] = named.get(spec.backend, 0) + 1
            label = spec.backend if number == 1 else f"{spec.backend}-{number}"
            found[own.id] = Member(len(found), label, own, attempt.attempt)
    return [member for member in found.values() if member.spec.backend != JOURNAL]


def identity_of(spec: BackendSpec) -> str:
    """Return the identity of a backend: the stored one, else one derived from its options."""
    return spec.id or _digest(spec.backend, place_of(spec))


def with_identities(specs: Sequence[BackendSpec], environ: Mapping[str, str]) -> tuple[BackendSpec, ...]:
    """Return configurations with their identities, completed from the environment of training.

    Raises:
        InvalidArgumentError: two of them store at the same place.
    """
    found: dict[str, BackendSpec] = {}
    for spec in specs:
        own = msgspec.structs.replace(spec, options={**spec.options, **_settings(spec, environ)}, id="")
        identity = identity_of(own)
        if identity in found:
            where = ", ".join(f"{name}={value!r}" for name, value in place_of(own).items()) or "no options"
            raise InvalidArgumentError(
                f"two {spec.backend} backends of this run store at the same place ({where}): remove one, or give each "
                "its own place"
            )
        found[identity] = msgspec.structs.replace(own, id=identity)
    return tuple(found.values())


def _settings(spec: BackendSpec, environ: Mapping[str, str]) -> dict[str, Scalar]:
    """Return the options to store with the run: the delivering process has another directory and environment."""
    settings: dict[str, Scalar] = {}
    if isinstance(savedir := spec.options.get("savedir"), str):
        settings["savedir"] = str(Path(savedir).absolute())
    if spec.backend == "mlflow":
        uri = spec.options.get("tracking_uri") or environ.get(_TRACKING_URI)
        settings["tracking_uri"] = absolute_uri(split_userinfo(str(uri)).url) if uri else None
    return settings


def place_of(spec: BackendSpec, environ: Mapping[str, str] = _NOWHERE) -> StoragePlace:
    """Return where a backend stores, as far as its options and an environment determine it."""
    options = spec.options
    names: Iterable[str] = _PLACES.get(spec.backend) or sorted(options.keys() - _DESCRIBING)
    place = {name: plain_address(str(options[name])) for name in names if options.get(name) is not None}
    for name, variable in _VARIABLES.get(spec.backend, {}).items():
        if name not in place and environ.get(variable):
            place[name] = plain_address(environ[variable])
    if spec.backend == "mlflow" and "tracking_uri" not in place:
        default = f"sqlite:///{options.get('savedir') or ''}/mlflow.db"
        place["tracking_uri"] = plain_address(absolute_uri(environ.get(_TRACKING_URI) or default))
    if spec.backend == "wandb":
        offline = bool(options.get("offline_mode")) or environ.get("WANDB_MODE", "").lower() in _WANDB_OFFLINE
        place |= {"mode": "offline" if offline else "online"}
        if offline:
            place["savedir"] = plain_address(str(options.get("savedir") or ""))
    return place


def has_moved(before: StoragePlace, now: StoragePlace) -> bool:
    """Return whether a backend would now store at another place; parts that ``now`` leaves open do not count.

    Example:
        >>> has_moved({"entity": "a"}, {}), has_moved({"entity": "a"}, {"entity": "b"})
        (False, True)
    """
    return any(before.get(name) != value for name, value in now.items())


def keep_place(spec: BackendSpec, place: StoragePlace) -> BackendSpec:
    """Fix a configuration to the place where it first stored, if its options leave that open (only MLflow's do)."""
    uri = place.get("tracking_uri")
    if spec.backend != "mlflow" or spec.options.get("tracking_uri") or not uri:
        return spec
    return msgspec.structs.replace(spec, options={**spec.options, "tracking_uri": uri})


def plain_address(value: str) -> str:
    """Normalise an address or path, and remove user and password.

    Example:
        >>> plain_address("HTTP://ada:pw@Host:5000/"), plain_address("/a/../b")
        ('http://host:5000', '/b')
    """
    url = split_userinfo(storable(value)).url
    scheme, colon, rest = url.partition("://")
    if colon and scheme.lower() in ("http", "https"):
        host, slash, path = rest.partition("/")
        return f"{scheme.lower()}://{host.lower()}{slash}{path}".rstrip("/")
    if colon:
        path, _, query = rest.partition("?")
        return f"{scheme}://{os.path.normpath(path)}{'?' + query if query else ''}" if path.startswith("/") else url
    return os.path.normpath(url) if url.startswith("/") else url


def _digest(backend: str, place: StoragePlace) -> str:
    return hashlib.sha256(msgspec.json.encode([backend, place], order="sorted")).hexdigest()[:16]
