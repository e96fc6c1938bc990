"""The W3C PROV document of a run, built from its `Story`. Pure.

The same story always gives the same document, independent of time and place.

Activities are the run, its attempts, its contexts (training, validation, …) and their epochs. The run starts its
attempts and contexts; a context starts its epochs. Agents are the user, the program that acts on the user's behalf, and
ranklog, to which the document is attributed. The plan of an attempt has its command and commit.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ranklog.backends.prov.entities import (
    Activities,
    add_events,
    add_items,
    add_metrics,
    add_params,
    context_of_item,
)
from ranklog.backends.prov.items import REQUESTS
from ranklog.backends.prov.metrics import epochs_of
from ranklog.backends.prov.story import AttemptStory, Span, Story
from ranklog.backends.prov.terms import Terms, moment
from ranklog.backends.shared.run_facts import program_of
from ranklog.model.record import RunFacts, Status


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of the run that the story does not have.

    Attributes:
        facts: The run's facts.
        owner: Name of the run's owner.
        experiment: Name of the experiment.
        namespace: The user's namespace.
        status: How the run ended; None while it is running.
        records: Number of records of the journal in the document.
    """

    facts: RunFacts
    owner: str
    experiment: str
    namespace: str
    status: Status | None
    records: int


def build_document(story: Story, info: RunInfo) -> Any:
    """Build the document of a run."""
    from prov.model import PROV

    terms = Terms(info.facts.run_id, info.namespace)
    document = terms.document
    user = document.agent(terms.agent_name("person", info.owner), terms.attributes(info.owner, PROV["Person"]))
    activities = Activities(_run(terms, story, info))
    document.wasAssociatedWith(activities.run, user)
    _add_attempts(terms, story, info, activities.run, user)
    _add_contexts(terms, story, activities)
    add_params(terms, story, activities)
    add_metrics(terms, story, activities)
    add_items(terms, story, activities)
    add_events(terms, story, activities)
    _add_itself(terms, story, info)
    return document


def _run(terms: Terms, story: Story, info: RunInfo) -> Any:
    facts, attempts = info.facts, list(story.attempts.values())
    last_ns = max((attempt.last_ns for attempt in attempts), default=facts.created_ns)
    attributes = terms.attributes(
        f"run {facts.run_id}",
        "Run",
        run_id=facts.run_id,
        experiment=info.experiment,
        group=facts.group or None,
        status=info.status or "RUNNING",
        reason=(attempts[-1].end.reason or None) if attempts and attempts[-1].end else None,
        attempts=len(attempts),
        items_left_out=story.items.left_out or None,
        events_left_out=(story.events_seen - len(story.events)) or None,
    )
    end = moment(last_ns) if info.status else None
    return terms.document.activity(terms.name(), moment(facts.created_ns), end, attributes)


def _add_attempts(terms: Terms, story: Story, info: RunInfo, run: Any, user: Any) -> None:
    from prov.model import PROV

    document = terms.document
    programs: set[str] = set()
    before: Any = None
    for number, attempt in story.attempts.items():
        is_running = attempt.end is None and info.status is None and attempt is list(story.attempts.values())[-1]
        activity = document.activity(
            terms.name(f"attempt-{number}"),
            moment(attempt.head.time_ns),
            None if is_running else moment(attempt.last_ns),
            _attempt(terms, number, attempt),
        )
        document.wasStartedBy(activity, starter=run, time=moment(attempt.head.time_ns))
        if before is not None:
            document.wasInformedBy(activity, before)
        before = activity
        source = attempt.job or info.facts
        name = program_of(source.script)
        program = terms.agent_name("program", name)
        if str(program) not in programs:
            programs.add(str(program))
            document.agent(program, terms.attributes(name, PROV["SoftwareAgent"]))
            document.actedOnBehalfOf(program, user)
        plan = document.entity(terms.name(f"attempt-{number}", "plan"), _plan(terms, attempt, source.command))
        document.wasAssociatedWith(activity, program, plan)
        _add_hosts(terms, number, attempt, activity)


def _attempt(terms: Terms, number: int, attempt: AttemptStory) -> list[tuple[Any, Any]]:
    head, job, place = attempt.head, attempt.job, attempt.head.place
    return terms.attributes(
        f"attempt {number}",
        "Attempt",
        attempt=number,
        launcher=place.launcher,
        job_id=place.job_id,
        world_size=place.world_size,
        nodes=place.node_count,
        host=head.host,
        pid=head.pid,
        version=[f"{name} {version}" for name, version in job.versions.items()] if job else None,
        scheduler=(job.scheduler or None) if job else None,
        scheduler_fact=[f"{name}: {value}" for name, value in job.facts.items()] if job else None,
        submitted=moment(job.submitted_ns) if job and job.submitted_ns is not None else None,
        time_limit=moment(job.ends_ns) if job and job.ends_ns is not None else None,
        status=attempt.end.status if attempt.end else None,
        reason=(attempt.end.reason or None) if attempt.end else None,
    )


def _plan(terms: Terms, attempt: AttemptStory, command: tuple[str, ...]) -> list[tuple[Any, Any]]:
    from prov.model import PROV

    job = attempt.job
    git = job.git if job else None
    return terms.attributes(
        "command and code",
        PROV["Plan"],
        command=msgspec.json.encode(command).decode(),
        directory=(job.directory or None) if job else None,
        git_commit=git.commit if git else None,
        git_branch=(git.branch or None) if git else None,
        git_dirty=git.dirty if git else None,
        git_remote=(git.remote or None) if git else None,
    )


def _add_hosts(terms: Terms, number: int, attempt: AttemptStory, activity: Any) -> None:
    for name, (rank, ranks) in attempt.hosts.items():
        attributes = terms.attributes(
            name,
            "Host",
            name=name,
            ranks=len(ranks),
            first_rank=min(ranks),
            device=rank.device,
            device_model=rank.device_model or None,
            cpu=rank.cpu or None,
            cores=rank.cores,
            memory_bytes=rank.memory_bytes or None,
        )
        host = terms.document.entity(terms.name(f"attempt-{number}", "host", name), attributes)
        terms.document.used(activity, host)


def _add_contexts(terms: Terms, story: Story, activities: Activities) -> None:
    document = terms.document
    epochs_by_context = epochs_of(story.metrics.values())
    items = _spans_of_items(story)
    for name, span in story.contexts.items():
        epochs = epochs_by_context.get(name, [])
        first, last = _with_items(span, items.get((name, None)))
        attributes = terms.attributes(name, "Context", context=name, epochs=len(epochs) or None)
        context = document.activity(terms.name("context", name), moment(first), moment(last), attributes)
        document.wasStartedBy(context, starter=activities.run, time=moment(first))
        activities.contexts[name] = context
        began_ns = span.first_ns
        for mark in epochs:
            # An epoch must not end before it began, even if the clock was set back.
            of_metrics = Span(min(began_ns, mark.time_ns))
            of_metrics.add(mark.time_ns)
            first, last = _with_items(of_metrics, items.get((name, mark.step)))
            attributes = terms.attributes(f"{name}, step {mark.step}", "Epoch", context=name, step=mark.step)
            identifier = terms.name("context", name, f"epoch-{mark.step}")
            epoch = document.activity(identifier, moment(first), moment(last), attributes)
            document.wasStartedBy(epoch, starter=context, time=moment(first))
            activities.epochs[name, mark.step] = epoch
            began_ns = mark.time_ns


def _spans_of_items(story: Story) -> dict[tuple[str, int | None], Span]:
    """Return the times of items by context, and by context and step: an activity ends after the items that it made."""
    spans: dict[tuple[str, int | None], Span] = {}
    for group in story.items.groups.values():
        for version in group.versions.values():
            context = context_of_item(version)
            for key in ((context, None), (context, version.item.step)):
                spans.setdefault(key, Span(version.item.time_ns)).add(version.item.time_ns)
    return spans


def _with_items(span: Span, items: Span | None) -> tuple[int, int]:
    if items is None:
        return span.first_ns, span.last_ns
    return min(span.first_ns, items.first_ns), max(span.last_ns, items.last_ns)


def _add_itself(terms: Terms, story: Story, info: RunInfo) -> None:
    from prov.model import PROV

    version = info.facts.ranklog_version
    ranklog = terms.document.agent(
        terms.agent_name("software", f"ranklog-{version}"),
        terms.attributes(f"ranklog {version}", PROV["SoftwareAgent"], version=version),
    )
    requested_as = [name for kind, name, _ in story.items.groups if kind in REQUESTS]
    attributes = terms.attributes("this document", "Document", records=info.records, asked_for_as=requested_as)
    terms.document.wasAttributedTo(terms.document.entity(terms.name("document"), attributes), ranklog)
