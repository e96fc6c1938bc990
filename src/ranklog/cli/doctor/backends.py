"""Checks of backends: whether they are installed, and whether their servers are reachable.

In: names of backends, environment. Out: findings. Sends one request per server, with a time limit and without secrets.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence, Set
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ranklog.backends.mlflow.run_database import shared_file_system
from ranklog.backends.mlflow.trouble import INVALID_HOST, host_cure, host_of
from ranklog.cli.doctor.check import Check, Level
from ranklog.journal.file_system import file_system_of
from ranklog.model.redact import mask_text, split_userinfo
from ranklog.model.spec import JOURNAL
from ranklog.model.text import absolute_uri

ASK_S = 4.0
_CLIENTS = {
    "mlflow": "mlflow",
    "opentelemetry": "opentelemetry-exporter-otlp-proto-http",
    "prov": "prov",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Package of the client library, per backend."""
_KEYS = {"mlflow": ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"), "wandb": ("WANDB_API_KEY",)}
_ANSWER_BYTES = 1_000_000
_BUILT_IN = ("console", "csv", JOURNAL, "memory")


def backend_checks(wanted: Sequence[str], environ: Mapping[str, str], savedir: Path) -> Sequence[Check]:
    """Check every wanted backend. Of the others, check only whether they are installed.

    Args:
        wanted: Names of backends.
        environ: Environment.
        savedir: Directory for files of backends.
    """
    known = {entry.name for entry in entry_points(group="ranklog.backends")} | {*_CLIENTS, *_BUILT_IN}
    found = [_installed(name, known, needed=True) for name in wanted]
    found += [_installed(name, known, needed=False) for name in sorted(known.difference(wanted, _BUILT_IN))]
    for name in wanted:
        if name == "mlflow":
            found.append(_mlflow(environ, savedir))
        elif name == "wandb":
            found.append(_wandb(environ))
    return found


def _installed(name: str, known: Set[str], *, needed: bool) -> Check:
    title = f"backend {name}"
    if name in _BUILT_IN:
        return Check(name=title, level="ok", text="part of ranklog")
    if name not in known:
        return Check(name=title, level="bad", text="unknown", cure="install the package that provides this backend")
    if name not in _CLIENTS:
        return Check(name=title, level="ok", text="installed")
    try:
        return Check(name=title, level="ok", text=f"{_CLIENTS[name]} {version(_CLIENTS[name])}")
    except PackageNotFoundError:
        pass
    if needed:
        cure = f"pip install 'ranklog[{name}]' on the host that delivers, or deliver from another host: ranklog sync"
        return Check(name=title, level="bad", text=f"{_CLIENTS[name]} is not installed", cure=cure)
    return Check(name=title, level="ok", text="not installed, not needed")


def _mlflow(environ: Mapping[str, str], savedir: Path) -> Check:
    title, uri = "server of mlflow", environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return _mlflow_default(title, savedir)
    if urlsplit(uri).scheme not in ("http", "https"):
        if file_system := shared_file_system(absolute_uri(uri)):
            text = f"{mask_text(uri)} is a SQLite file on {file_system.kind}, where two jobs that write it damage it"
            cure = "use an MLflow server, or unset MLFLOW_TRACKING_URI: then every run gets a database of its own"
            return Check(name=title, level="warn", text=text, cure=cure)
        return Check(name=title, level="ok", text=mask_text(uri))
    # A server answers /health for every host name, but its API may refuse the name in the request.
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    return _server("mlflow", split_userinfo(uri).url, path, "MLFLOW_TRACKING_URI", environ)


def _mlflow_default(title: str, savedir: Path) -> Check:
    found = file_system_of(savedir)
    if not found.is_shared:
        return Check(name=title, level="ok", text="default: SQLite file in savedir")
    text = f"default: one SQLite file per run in savedir, because two jobs would damage one file on {found.kind}"
    text += "; `ranklog sync --to mlflow=sqlite:////LOCAL/mlflow.db` gathers the runs for one `mlflow ui`"
    return Check(name=title, level="ok", text=text)


def _wandb(environ: Mapping[str, str]) -> Check:
    if environ.get("WANDB_MODE", "").lower() in ("offline", "disabled", "dryrun"):
        return Check(name="server of wandb", level="ok", text=f"not used: WANDB_MODE={environ['WANDB_MODE']}")
    url = split_userinfo(environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").url
    return _server("wandb", url, "/healthz", "WANDB_BASE_URL", environ)


def _server(name: str, url: str, path: str, variable: str, environ: Mapping[str, str]) -> Check:
    title = f"server of {name}"
    try:
        answer = _ask(url.rstrip("/") + path)
    except (OSError, ValueError) as error:
        reason = mask_text(str(getattr(error, "reason", error)))
        if environ.get("RANKLOG_FORWARD") == "later":
            text = f"cannot reach {url} ({reason}), not needed with RANKLOG_FORWARD=later"
            return Check(name=title, level="ok", text=f"{text}: deliver with `ranklog sync --watch` on another host")
        cure = f"check {variable} and the proxy (https_proxy); on a node without internet set RANKLOG_FORWARD=later and"
        cure += " run `ranklog sync --watch` on the login node"
        return Check(name=title, level="warn", text=f"cannot reach {url}: {reason}", cure=cure)
    level, text, cure = _judge(name, url, answer, environ)
    return Check(name=title, level=level, text=f"{url} {text}", cure=cure)


def _judge(name: str, url: str, answer: _Answer, environ: Mapping[str, str]) -> tuple[Level, str, str]:
    """Return level, text and cure for a server's answer."""
    if INVALID_HOST in answer.body:
        return "warn", f"refuses the host name {host_of(url)!r} ({INVALID_HOST})", host_cure(url)
    if answer.status in (401, 403):
        key = next((key for key in _KEYS[name] if environ.get(key)), None)
        if key is not None:
            return "ok", f"answers and requires a login; {key} is set (not sent by this check)", ""
        return "warn", f"requires a login (HTTP {answer.status})", "set the token or key"
    if answer.status >= 500:
        return (
            "warn",
            f"answers HTTP {answer.status}",
            "ask the operator of the server; records wait in the journal meanwhile",
        )
    if name == "mlflow" and not answer.is_json_object:
        cure = "check MLFLOW_TRACKING_URI, and whether a proxy requires a login"
        return "warn", f"answers, but not as an MLflow API (HTTP {answer.status})", cure
    return "ok", "answers", ""


class _Answer(msgspec.Struct, frozen=True):
    """Status and beginning of a server's answer."""

    status: int
    body: str

    @property
    def is_json_object(self) -> bool:
        try:
            return isinstance(json.loads(self.body), dict)
        except ValueError:
            return False


def _ask(url: str) -> _Answer:
    """Send a request and return the answer, also if it is an HTTP error."""
    request = urllib.request.Request(url, headers={"User-Agent": "ranklog-doctor"})  # noqa: S310 - checked below
    if request.type not in ("http", "https"):
        raise ValueError(f"{url} is not an HTTP address")
    try:
        with urllib.request.urlopen(request, timeout=ASK_S) as answer:  # noqa: S310  # nosec B310 - http or https only
            return _Answer(int(answer.status), answer.read(_ANSWER_BYTES).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        return _Answer(error.code, error.read(_ANSWER_BYTES).decode("utf-8", "replace"))
