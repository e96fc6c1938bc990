"""What the doctor finds about the backends: installed, and reachable where they are servers.

In: names of backends, environment. Out: findings. Asks each server once, with a time limit; sends no secret.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence, Set
from importlib.metadata import PackageNotFoundError, entry_points, version
from urllib.parse import urlsplit

from ranklog.cli.doctor.check import Check
from ranklog.model.redact import mask_text, split_userinfo
from ranklog.model.spec import JOURNAL

ASK_S = 4.0
_CLIENTS = {
    "mlflow": "mlflow",
    "opentelemetry": "opentelemetry-exporter-otlp-proto-http",
    "prov": "prov",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Backends with a client, and the package that has it."""
_BUILT_IN = ("console", "csv", JOURNAL, "memory")


def backend_checks(wanted: Sequence[str], environ: Mapping[str, str]) -> Sequence[Check]:
    """Every wanted backend; of the others only whether they are installed."""
    known = {entry.name for entry in entry_points(group="ranklog.backends")} | {*_CLIENTS, *_BUILT_IN}
    found = [_installed(name, known, needed=True) for name in wanted]
    found += [_installed(name, known, needed=False) for name in sorted(known.difference(wanted, _BUILT_IN))]
    for name in wanted:
        if name == "mlflow":
            found.append(_mlflow(environ))
        elif name == "wandb":
            found.append(_wandb(environ))
    return found


def _installed(name: str, known: Set[str], *, needed: bool) -> Check:
    title = f"backend {name}"
    if name in _BUILT_IN:
        return Check(name=title, level="ok", text="part of ranklog")
    if name not in known:
        return Check(name=title, level="bad", text="not known", cure="install the package that has this backend")
    if name not in _CLIENTS:
        return Check(name=title, level="ok", text="installed")
    try:
        return Check(name=title, level="ok", text=f"{_CLIENTS[name]} {version(_CLIENTS[name])}")
    except PackageNotFoundError:
        pass
    if needed:
        cure = f"pip install 'ranklog[{name}]' where delivery runs, or deliver from elsewhere: ranklog sync"
        return Check(name=title, level="bad", text=f"{_CLIENTS[name]} is not installed", cure=cure)
    return Check(name=title, level="ok", text="not installed, not wanted")


def _mlflow(environ: Mapping[str, str]) -> Check:
    uri = environ.get("MLFLOW_TRACKING_URI", "")
    if urlsplit(uri).scheme not in ("http", "https"):
        shown = mask_text(uri) if uri else "a SQLite file below savedir"
        return Check(name="server of mlflow", level="ok", text=f"none: {shown}")
    return _server("mlflow", split_userinfo(uri).url, "/health", "MLFLOW_TRACKING_URI", environ)


def _wandb(environ: Mapping[str, str]) -> Check:
    if environ.get("WANDB_MODE", "").lower() in ("offline", "disabled", "dryrun"):
        return Check(name="server of wandb", level="ok", text=f"none: WANDB_MODE={environ['WANDB_MODE']}")
    url = split_userinfo(environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").url
    return _server("wandb", url, "/healthz", "WANDB_BASE_URL", environ)


def _server(name: str, url: str, path: str, variable: str, environ: Mapping[str, str]) -> Check:
    title = f"server of {name}"
    try:
        status = _ask(url.rstrip("/") + path)
    except (OSError, ValueError) as error:
        reason = mask_text(str(getattr(error, "reason", error)))
        if environ.get("RANKLOG_FORWARD") == "later":
            text = f"{url} cannot be reached from here ({reason}), which RANKLOG_FORWARD=later does not need"
            return Check(name=title, level="ok", text=f"{text}: deliver by `ranklog sync --watch` from elsewhere")
        cure = f"check {variable} and the proxy (https_proxy); on a node without internet set RANKLOG_FORWARD=later and"
        cure += " run `ranklog sync --watch` on the login node"
        return Check(name=title, level="warn", text=f"{url} cannot be reached: {reason}", cure=cure)
    if status in (401, 403):
        return Check(name=title, level="warn", text=f"{url} wants a login (HTTP {status})", cure="set the token or key")
    if status >= 500:
        text = f"{url} answers HTTP {status}"
        return Check(name=title, level="warn", text=text, cure="ask who runs it; runs wait in the journal meanwhile")
    return Check(name=title, level="ok", text=f"{url} answers")


def _ask(url: str) -> int:
    """HTTP status of a server's answer; anything that speaks HTTP is one."""
    request = urllib.request.Request(url, headers={"User-Agent": "ranklog-doctor"})  # noqa: S310 - checked below
    if request.type not in ("http", "https"):
        raise ValueError(f"{url} is no address of a web server")
    try:
        with urllib.request.urlopen(request, timeout=ASK_S) as answer:  # noqa: S310  # nosec B310 - http or https only
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
