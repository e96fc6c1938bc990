"""The entities of a run's provenance: parameters, metrics, items and events, with their relations.

Each function adds entities of a `Story` to the document. The run used parameters and datasets; it generated metrics,
other items and events. A later version of an item is a revision of the one before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ranklog.backends.prov.items import FILES_LISTED, REQUESTS, USED, ItemGroup, ItemStory
from ranklog.backends.prov.metrics import MetricSummary, context_of
from ranklog.backends.prov.story import Story
from ranklog.backends.prov.terms import Terms, Value, moment
from ranklog.model.content import FOLDER

ARTIFACTS = "artifacts"
COLUMNS_LISTED = 100


class Activities:
    """The activities that entities refer to.

    Attributes:
        run: The run.
        contexts: Contexts by name.
        epochs: Epochs by name of their context and step.
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self.contexts: dict[str, Any] = {}
        self.epochs: dict[tuple[str, int], Any] = {}

    def of(self, context: str, step: int) -> Any:
        """Return the activity of a step of a context: the epoch, else the context, else the run."""
        return self.epochs.get((context, step), self.contexts.get(context, self.run))


def add_params(terms: Terms, story: Story, activities: Activities) -> None:
    """Add the parameters, each one and as a collection. The run used them."""
    if not story.params:
        return
    document = terms.document
    all_of_them = document.collection(terms.name("params"), terms.attributes("parameters", "Parameters"))
    document.used(activities.run, all_of_them)
    for name, (value, time_ns) in story.params.items():
        attributes = terms.attributes(
            name,
            "Parameter",
            name=name,
            value="null" if value is None else value,
            value_type="null" if value is None else type(value).__name__,
        )
        param = document.entity(terms.name("param", name), attributes)
        document.hadMember(all_of_them, param)
        document.used(activities.run, param, moment(time_ns))


def add_metrics(terms: Terms, story: Story, activities: Activities) -> None:
    """Add a summary of each metric. Its context generated it; all metrics of a context are a collection."""
    document = terms.document
    collections: dict[str, Any] = {}
    for (context, name), summary in story.metrics.items():
        activity = activities.contexts[context]
        if context not in collections:
            attributes = terms.attributes(f"metrics of {context}", "Metrics", context=context)
            collections[context] = document.collection(terms.name("metrics", context), attributes)
            document.wasGeneratedBy(collections[context], activity)
        metric = document.entity(terms.name("metric", context, name), _metric(terms, summary))
        document.hadMember(collections[context], metric)
        document.wasGeneratedBy(metric, activity, moment(summary.last_ns))


def _metric(terms: Terms, summary: MetricSummary) -> list[tuple[Any, Any]]:
    finite = summary.min <= summary.max
    return terms.attributes(
        summary.name,
        "Metric",
        name=summary.name,
        context=summary.context,
        goal=summary.goal,
        values=summary.values,
        nonfinite_values=summary.nonfinite or None,
        first=summary.first[0],
        first_step=summary.first[1],
        last=summary.last[0],
        last_step=summary.last[1],
        min=summary.min if finite else math.nan,
        max=summary.max if finite else math.nan,
        reduction=summary.op,
        lowest_coverage=None if summary.coverage is None else str(summary.coverage),
        first_logged=moment(summary.first_ns),
        last_logged=moment(summary.last_ns),
    )


def context_of_item(version: ItemStory) -> str:
    """Return the context of an item: the logged one, or else the one that its name suggests."""
    return version.context or context_of(version.item.name, None)


def add_items(terms: Terms, story: Story, activities: Activities) -> None:
    """Add the kept versions of each item. The run used datasets and generated all other items."""
    for (kind, name, rank), group in story.items.groups.items():
        if kind in REQUESTS:
            continue
        where = ("item", kind, name, *((f"rank-{rank}",) if rank else ()))
        before: Any = None
        for version in group.versions.values():
            step = version.item.step
            entity = terms.document.entity(terms.name(*where, f"step-{step}"), _item(terms, group, version))
            activity = activities.of(context_of_item(version), step)
            time = moment(version.item.time_ns)
            if kind in USED:
                terms.document.used(activity, entity, time)
            else:
                terms.document.wasGeneratedBy(entity, activity, time)
            if before is not None:
                terms.document.wasRevisionOf(entity, before)
            before = entity


def _item(terms: Terms, group: ItemGroup, version: ItemStory) -> list[tuple[Any, Any]]:
    item = version.item
    path = group.path_of(version)
    newest = version is next(reversed(group.versions.values()))
    values: dict[str, Value] = {
        "kind": item.kind,
        "name": item.name,
        "step": item.step,
        "rank": item.rank,
        "context": version.context,
        "media": item.media,
        "size": version.size,
        "sha256": version.sha256,
        "value": version.text,
        "location": None if path is None else f"{ARTIFACTS}/{path}",
        "option": [f"{key}: {value}" for key, value in item.meta.items() if key != "context"],
        "versions": group.count if newest and group.count > 1 else None,
        **(_files(version) if item.media == FOLDER else {}),
        **_reference(version),
        **_dataset(version),
    }
    label = f"{item.name}, step {item.step}" if group.count > 1 else item.name
    return terms.attributes(label, "".join(word.capitalize() for word in item.kind.split("_")), **values)


def _files(version: ItemStory) -> dict[str, Value]:
    files = version.item.files
    listed = [f"{file.sha256}  {file.path}" for file in sorted(files, key=lambda file: file.path)[:FILES_LISTED]]
    return {"files": len(files), "file": listed}


def _reference(version: ItemStory) -> dict[str, Value]:
    reference = version.reference
    if reference is None:
        return {}
    return {"refers_to": reference.uri, "seen_from": reference.host, "files": len(reference.files)}


def _dataset(version: ItemStory) -> dict[str, Value]:
    dataset = version.dataset
    if dataset is None:
        return {}
    columns = [f"{name}: {kind}" for name, kind in (dataset.columns or {}).items()]
    return {
        "dataset": dataset.name,
        "digest": dataset.digest,
        "digest_of": dataset.digest_of,
        "location": dataset.source or None,
        "source_type": dataset.source_type,
        "column": columns[:COLUMNS_LISTED],
        "columns": len(columns) or None,
        "rows": dataset.rows,
        "files": dataset.files,
        "size": dataset.size_bytes,
        "sha256": None,  # the digest of the description would be mistaken for that of the data
    }


def add_events(terms: Terms, story: Story, activities: Activities) -> None:
    """Add the newest events of the run."""
    first = story.events_seen - len(story.events)
    facts: Mapping[str, Value]
    for number, event in enumerate(story.events, start=first):
        facts = {"level": event.level, "code": event.code, "rank": event.rank, "step": event.step, "value": event.text}
        entity = terms.document.entity(terms.name(f"event-{number}"), terms.attributes(event.code, "Event", **facts))
        terms.document.wasGeneratedBy(entity, activities.run, moment(event.time_ns))
