"""Entities of an RO-Crate that describe the run: action, agent, instrument, parameters and locations.

In: a view of a run, and a function that adds a contextual entity to the crate. Out: the action. Terms follow the
profile Process Run Crate: the run is a ``CreateAction``, the program its instrument, parameters and datasets are its
objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ranklog.backends.shared.run_facts import owner_of, program_of
from ranklog.model.as_json import nonfinite_as_text
from ranklog.model.facts import facts_of
from ranklog.view.query import RunView

_STATUS = {
    "FINISHED": "CompletedActionStatus",
    "FAILED": "FailedActionStatus",
    "KILLED": "FailedActionStatus",
    "RUNNING": "ActiveActionStatus",
}

Add = Callable[..., Any]


def describe_run(run_dir: Path, view: RunView, add: Add, *, objects: Sequence[Any], results: Sequence[Any]) -> Any:
    """Add the run as an action, and return it.

    Args:
        run_dir: The run directory.
        view: The run.
        add: Adds a contextual entity with identifier, type and properties.
        objects: Inputs of the run other than parameters.
        results: Outputs of the run.
    """
    facts, status = view.summary.facts, view.summary.status
    job = view.jobs[max(view.jobs)] if view.jobs else None
    source = job or facts
    owner = owner_of(run_dir)
    reason = view.end.reason if view.end else ""
    failed = _STATUS.get(status) == "FailedActionStatus"
    known = facts_of(job) if job else {}
    return add(
        f"#run-{quote(facts.run_id, safe='')}",
        "CreateAction",
        name=f"Run {facts.run_id}",
        description=" ".join(source.command) or None,
        startTime=to_iso(facts.created_ns),
        endTime=None if status == "RUNNING" else to_iso(view.summary.last_ns),
        actionStatus=f"http://schema.org/{_STATUS[status]}" if status in _STATUS else None,
        error=(reason or f"The run was {status}.") if failed else None,
        agent=add(f"#person-{quote(owner, safe='')}", "Person", name=owner),
        instrument=_program(add, program_of(source.script), known, job.versions if job else {}),
        object=[*_properties(add, "param", view.params), *objects],
        result=list(results),
        location=_places(view, add) or None,
        additionalProperty=_properties(
            add, "fact", {name: value for name, value in known.items() if not name.startswith("ranklog.")}
        )
        or None,
    )


def to_iso(time_ns: int) -> str:
    """Format a time in UTC, to the second.

    Example:
        >>> to_iso(1_700_000_000_123_456_789)
        '2023-11-14T22:13:20+00:00'
    """
    return datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc).isoformat()


def _program(add: Add, name: str, known: Mapping[str, str | bool], versions: Mapping[str, str]) -> Any:
    needed = [
        add(f"#software-{quote(package, safe='')}", "SoftwareApplication", name=package, softwareVersion=version)
        for package, version in versions.items()
    ]
    changed = " with uncommitted changes" if known.get("ranklog.git.dirty") else ""
    commit, remote = known.get("ranklog.git.commit"), known.get("ranklog.git.remote")
    return add(
        f"#program-{quote(name, safe='')}",
        # With a repository it is source code as well. Only an application has versions and requirements.
        ["SoftwareApplication", "SoftwareSourceCode"] if remote else "SoftwareApplication",
        name=name,
        softwareVersion=f"git {commit}{changed}" if commit else None,
        codeRepository=remote,
        softwareRequirements=needed or None,
    )


def _properties(add: Add, prefix: str, values: Mapping[str, Any]) -> list[Any]:
    return [
        add(
            f"#{prefix}-{quote(name, safe='')}",
            "PropertyValue",
            name=name,
            value="null" if value is None else nonfinite_as_text(value),
        )
        for name, value in values.items()
    ]


def _places(view: RunView, add: Add) -> list[Any]:
    hosts: dict[str, list[int]] = {}
    for rank in view.ranks.values():
        hosts.setdefault(rank.host, []).append(rank.rank)
    found = []
    for host, ranks in hosts.items():
        first = view.ranks[ranks[0]]
        what = ", ".join(part for part in (first.device, first.device_model, first.cpu) if part)
        described = f"{len(ranks)} {'rank' if len(ranks) == 1 else 'ranks'}: {what}"
        found.append(add(f"#host-{quote(host, safe='')}", "Place", name=host, description=described))
    return found
