"""Odd but possible content of every kind: an error of ours in the call, or in the journal and in every backend.

The same without a budget is `benchmarks.soak.odd_content`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_database import place_database
from otlp_receiver import shared

from benchmarks.soak.odd_content import OPTIONS, SENTINEL, OddRun, deliver, fill
from benchmarks.soak.odd_items import ITEMS
from ranklog.journal.reader import read_run
from ranklog.model.kinds import KINDS
from ranklog.model.record import Item, Metrics, Params

EXAMPLES = 100
IN_THE_WAY = "Not a directory|Is a directory|File exists"
REFUSES = {
    "console": IN_THE_WAY,
    "csv": IN_THE_WAY,
    "mlflow": f"{IN_THE_WAY}|Invalid alias name|Invalid model name",
    "prov": IN_THE_WAY,
    "tensorboard": IN_THE_WAY,
    "wandb": "already exists with type",
}
"""Rules of a backend that calls cannot know, with words of its reason: a file has the name of a folder, for example."""


def test_every_kind_has_odd_items() -> None:
    assert set(KINDS) <= set(ITEMS)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[OddRun]:
    run = OddRun(tmp_path)
    yield run
    run.logger.destroy_logger_context()


@pytest.mark.parametrize("kind", ITEMS)
def test_a_call_raises_our_error_or_its_record_is_in_the_journal(kind: str, run: OddRun) -> None:
    fill(run, kind, examples=EXAMPLES, first_seed=1)


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed run with odd items of every kind, and a metric after them."""
    run = OddRun(tmp_path_factory.mktemp("odd"))
    for kind in ITEMS:
        fill(run, kind, examples=25, first_seed=2)
    return run.finish()


def test_the_run_has_records_of_every_sort(odd_run: Path) -> None:
    records = [entry.record for entry in read_run(odd_run)]
    kinds = {record.kind for record in records if isinstance(record, Item)}
    assert {kind.name for kind in KINDS.values() if kind.becomes is None} - kinds == {"metric", "param"}
    assert any(isinstance(record, Params) for record in records)
    assert any(isinstance(record, Metrics) and SENTINEL in record.values for record in records)


@pytest.mark.parametrize("backend", [*OPTIONS, "opentelemetry"])
def test_each_backend_shows_a_record_or_sets_it_aside_with_a_reason_and_goes_on(
    backend: str, odd_run: Path, tmp_path: Path
) -> None:
    options = OPTIONS.get(backend, {"endpoint": shared().endpoint})
    if backend == "mlflow":
        place_database(tmp_path / backend / "mlflow.db")
    delivered = deliver(odd_run, backend, tmp_path / backend, options)
    assert delivered.error is None
    assert [reason for reason in delivered.set_aside if not re.search(REFUSES.get(backend, "$^"), reason)] == []
