"""What became of `Run.each_kind` at the (stand-in) OTLP receiver and in the files that its log records name."""

from __future__ import annotations

from pathlib import Path

from items import T0_NS
from kinds_csv import FILES
from otlp_receiver import shared


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """Kind to the form in which it is there."""
    receiver = shared()
    assert known["url"] == f"{receiver.endpoint}/v1/metrics"
    forms: dict[str, str] = {}
    points = [(time_ns, value) for _, time_ns, value in receiver.series(run_id, "each/metric")]
    steps = [(time_ns, value) for _, time_ns, value in receiver.series(run_id, "ranklog.step")]
    at_step = T0_NS + 10**9
    if points == [(at_step, 0.5)] and steps == [(at_step, 1)]:
        forms["metric"] = "gauge"
    if [body for _, body, _ in receiver.said(run_id, "params")] == [{"each/param": 0.25}]:
        forms["param"] = "log record"
    texts = {own["ranklog.name"]: (severity, body) for severity, body, own in receiver.said(run_id, "text")}
    if texts == {"each/text": ("INFO", "a text of its own")}:
        forms["text"] = "log record"
    alerts = {own["ranklog.name"]: (severity, body) for severity, body, own in receiver.said(run_id, "alert")}
    if alerts == {"each/alert": ("WARN", "what happened")}:
        forms["alert"] = "log record"
    for _, body, own in receiver.said(run_id, "item"):
        kind, path = own["ranklog.kind"], Path(own["file.path"])
        right = path.read_bytes().startswith(b'{"columns"') if kind == "table" else _as_it_was(kind, path)
        if own["ranklog.name"] == f"each/{kind}" and own["ranklog.step"] == 1 and right and str(path) in body:
            assert savedir / run_id in path.parents
            forms[kind] = "file, log record"
    return forms


def _as_it_was(kind: str, path: Path) -> bool:
    if kind == "pr_curve":
        return b'"true_positives":[3.0,2.0,0.0]' in path.read_bytes()
    return FILES[kind](path)
