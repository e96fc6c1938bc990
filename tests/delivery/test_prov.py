"""The provenance backend, asked through the reader of the library ``prov``."""

from __future__ import annotations

import math
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from items import T0_NS, Run, metrics
from kinds_prov import Document, found
from prov.model import (
    ProvAssociation,
    ProvAttribution,
    ProvCommunication,
    ProvDelegation,
    ProvDerivation,
    ProvDocument,
    ProvGeneration,
    ProvMembership,
    ProvStart,
    ProvUsage,
)

from ranklog import Prov4MLLogger, create_logger
from ranklog.abc import Refused, RunContext
from ranklog.backends.prov.backend import ProvBackend
from ranklog.backends.prov.graph import NO_DOT
from ranklog.backends.prov.items import VERSIONS
from ranklog.backends.prov.metrics import MAX_EPOCHS
from ranklog.backends.prov.terms import Terms
from ranklog.backends.registry import forms_of
from ranklog.journal.writer import JournalWriter
from ranklog.model.errors import InvalidArgumentError, MissingExtraError
from ranklog.model.facts import Git, JobFacts, RankFacts
from ranklog.model.place import Place
from ranklog.model.record import EVERY_BACKEND, Attempt, Coverage, End, Entry, Event, MetricInfo, Params, Record
from ranklog.model.spec import BackendSpec, Scalar

S = 10**9


class Case:
    """A run, and its provenance so far."""

    def __init__(self, folder: Path, **options: Scalar) -> None:
        self.savedir = folder / "prov"
        self.folder = self.savedir / "run-1"
        spec = BackendSpec(backend="prov", options={"savedir": str(self.savedir), "create_svg": False, **options})
        self.run = Run(folder / "runs" / "run-1", spec)
        self.open()
        self.backend.deliver(entries=self.run.entries)

    def open(self, resumed_at: int = 0) -> None:
        self.backend = ProvBackend()
        self.context: RunContext = self.run.context(resumed_at=resumed_at)
        self.known = self.backend.open(context=self.context)

    def log(self, *records: Record) -> list[Entry]:
        entries = self.run.add(*records)
        self.backend.deliver(entries=entries)
        return entries

    def close(self) -> Document:
        self.backend.close(status="FINISHED", timeout_s=1)
        return self.document()

    def document(self) -> Document:
        return Document(self.folder / "provenance.json")

    def console(self) -> str:
        return self.context.console.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def job(time_ns: int, commit: str = "abc123") -> JobFacts:
    return JobFacts(
        time_ns,
        ("/usr/bin/python3", "jobs/train.py", "--lr", "0.1"),
        "/home/ada/work",
        {"python": "3.12", "torch": "2.9"},
        Git(commit, "main", True, "git@git.example:lab/digits.git"),
        "slurm",
        {"job": "41", "partition": "gpu"},
        submitted_ns=T0_NS - 60 * S,
        script="jobs/train.py",
    )


def rank(number: int, host: str) -> RankFacts:
    return RankFacts(number, T0_NS, host, number // 2, number % 2, 100 + number, "cuda:0", "H100", "EPYC", 16, 2**36)


def fake_dot(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program ``dot`` of another behaviour, first on PATH."""
    folder.mkdir()
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """A run of two attempts with something of everything, in all formats."""
    case = Case(
        tmp_path_factory.mktemp("told"),
        formats="turtle,xml",
        prov_user_namespace="https://example.org/runs/",
        experiment_name="digits",
    )
    case.log(job(T0_NS), rank(0, "node1"), rank(1, "node1"), rank(2, "node2"))
    case.log(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1, "layers": 3, "name": "net", "amp": True, "seed": None}),
        case.run.dataset("data/train", context="training"),
        MetricInfo(T0_NS, EVERY_BACKEND, "score", goal="max", context="validation"),
    )
    for step in range(6):
        case.log(metrics(step, {"train/loss": 6.0 - step}, coverage=Coverage(4 - (step == 3), 4, 4 - (step == 3))))
        if step % 2:
            case.log(metrics(step, {"train/accuracy": step / 10}, later_ms=1))
    case.log(metrics(1, {"score": 0.25}), metrics(3, {"score": 0.75}), metrics(5, {"score": 0.5}))
    case.log(case.run.folder("net", {"state_dict.pt": b"one"}, kind="model", step=1))
    case.log(case.run.folder("net", {"state_dict.pt": b"three"}, kind="model", step=3))
    case.log(case.run.text("val/note", "it ends"), case.run.file("out.csv", b"a,b\n", step=5, rank=2))
    case.log(case.run.alert("stop", "too slow"), Event("warning", "nan", "loss is NaN", T0_NS, rank=3, step=4))
    second = Attempt(
        1, "run-1", 1, Place(job_id="42", launcher="slurm"), "node3", 7, T0_NS + 100 * S, case.run.attempt.backends
    )
    case.log(second, job(T0_NS + 101 * S, "def456"), End("FINISHED", T0_NS + 110 * S, "done"))
    case.close()
    yield case


@pytest.fixture(scope="module")
def document(told: Case) -> Document:
    return told.document()


def test_the_librarys_reader_gives_the_same_document_from_json_turtle_and_xml(told: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rdflib's own about its names
        turtle = Document(told.folder / "provenance.ttl", "rdf", rdf_format="turtle")
        xml = Document(told.folder / "provenance.xml", "xml")
    assert len(told.document().document.get_records()) > 50
    assert turtle.document == told.document().document
    assert xml.document == told.document().document


def test_every_kind_is_what_the_table_of_forms_says(case: Case) -> None:
    case.log(*case.run.each_kind())
    case.close()
    assert found(case.savedir, "run-1", case.known) == forms_of("prov")


def test_the_user_and_the_program_stand_behind_the_run_and_ranklog_behind_the_document(document: Document) -> None:
    (person,) = document.all_of("Person")
    (program,) = [agent for agent in document.all_of("SoftwareAgent") if agent["label"] == "train.py"]
    (ranklog,) = [agent for agent in document.all_of("SoftwareAgent") if agent["label"] == "ranklog 0.1.0"]
    associated = document.relations(ProvAssociation)
    assert ("run.run-1", person["id"]) in associated
    assert {("run.run-1.attempt-0", program["id"]), ("run.run-1.attempt-1", program["id"])} < associated
    assert document.relations(ProvDelegation) == {(program["id"], person["id"])}
    assert document.relations(ProvAttribution) == {("run.run-1.document", ranklog["id"])}


def test_identifiers_are_in_the_users_namespace(document: Document) -> None:
    run = document.document.get_record("user:run.run-1")[0]
    assert run.identifier.uri == "https://example.org/runs/run.run-1"
    assert document.one("Run")["experiment"] == "digits"


def test_attempts_say_where_they_ran_and_their_plans_with_which_code(document: Document) -> None:
    first, second = document.all_of("Attempt")
    assert (first["scheduler"], first["version"]) == ("slurm", ["python 3.12", "torch 2.9"])
    assert first["schedulerFact"] == ["job: 41", "partition: gpu"]
    assert (second["jobId"], second["host"], second["status"], second["reason"]) == ("42", "node3", "FINISHED", "done")
    plans = document.all_of("Plan")
    assert [(plan["gitCommit"], plan["gitDirty"]) for plan in plans] == [("abc123", True), ("def456", True)]
    assert plans[0]["gitRemote"] == "git@git.example:lab/digits.git"
    assert plans[0]["command"] == '["/usr/bin/python3","jobs/train.py","--lr","0.1"]'
    hosts = {host["name"]: (host["ranks"], host["deviceModel"]) for host in document.all_of("Host")}
    assert hosts == {"node1": (2, "H100"), "node2": (1, "H100")}
    assert (first["id"], "run.run-1.attempt-0.host.node2") in document.relations(ProvUsage)
    assert (second["id"], first["id"]) in document.relations(ProvCommunication)


def test_contexts_are_those_that_were_said_or_those_in_the_names(document: Document) -> None:
    assert {context["label"] for context in document.all_of("Context")} == {"training", "validation"}
    generated = document.relations(ProvGeneration)
    assert ("run.run-1.metric.validation.score", "run.run-1.context.validation") in generated
    assert ("run.run-1.metric.training.train_x002F_loss", "run.run-1.context.training") in generated


def test_epochs_are_the_steps_of_what_a_context_logs_least_often(document: Document) -> None:
    epochs = {(epoch["context"], epoch["step"]): epoch for epoch in document.all_of("Epoch")}
    assert set(epochs) == {(context, step) for context in ("training", "validation") for step in (1, 3, 5)}
    assert epochs["training", 3]["startTime"] == epochs["training", 1]["endTime"] < epochs["training", 3]["endTime"]
    assert ("run.run-1.context.training.epoch-3", "run.run-1.context.training") in document.relations(ProvStart)


def test_a_metric_is_summed_up(document: Document) -> None:
    loss = document.one("Metric", "train/loss")
    shown = [loss[name] for name in ("values", "first", "firstStep", "last", "lastStep", "min", "max", "reduction")]
    assert shown == [6, 6.0, 0, 1.0, 5, 1.0, 6.0, "mean"]
    assert loss["lowestCoverage"] == "3 of 4 ranks had a value, 3 answered"
    assert document.one("Metric", "score")["goal"] == "max"
    assert ("run.run-1.metrics.training", loss["id"]) in document.relations(ProvMembership)


def test_several_values_of_an_attribute_are_kept_apart_by_their_type() -> None:
    terms = Terms("run-1", "urn:me:")
    values = [1, True, 1.0, "1", 0, False, 0.0, 1, "1"]
    entity = terms.document.entity(terms.name("x"), terms.attributes("x", "Thing", several=values))
    told = [(type(value), value) for name, value in entity.attributes if name.localpart == "several"]
    assert told == [(type(value), value) for value in values[:7]]
    again = ProvDocument.deserialize(content=terms.document.serialize(format="json"), format="json")
    assert again == terms.document


def test_parameters_and_datasets_were_used(document: Document) -> None:
    values = {param["name"]: (param["valueType"], param.get("value")) for param in document.all_of("Parameter")}
    assert values == {
        "lr": ("float", 0.1),
        "layers": ("int", 3),
        "name": ("str", "net"),
        "amp": ("bool", True),
        "seed": ("null", "null"),
    }
    used = document.relations(ProvUsage)
    assert {("run.run-1", "run.run-1.params"), ("run.run-1", "run.run-1.param.lr")} < used
    dataset = document.one("Dataset", "data/train")
    assert ("run.run-1.context.training", dataset["id"]) in used
    assert "sha256" not in dataset


def test_a_model_was_generated_by_its_epoch_and_revises_the_one_before(document: Document) -> None:
    first, second = document.all_of("Model")
    assert [first["location"], second["location"]] == [f"artifacts/steps/{step}/net" for step in (1, 3)]
    assert document.content(second, "state_dict.pt") == b"three"
    assert ("run.run-1.item.model.net.step-3", "run.run-1.context.training.epoch-3") in document.relations(
        ProvGeneration
    )
    assert document.relations(ProvDerivation) == {(second["id"], first["id"])}
    assert second["versions"] == 2


def test_nothing_was_made_or_used_outside_the_time_of_its_activity(document: Document) -> None:
    activities = {each["id"]: each for type_ in ("Run", "Context", "Epoch") for each in document.all_of(type_)}
    seen = 0
    for record in [*document.document.get_records(ProvGeneration), *document.document.get_records(ProvUsage)]:
        facts = document.facts(record)
        activity = activities.get(facts["activity"].localpart)
        if activity is not None and "time" in facts:
            seen += 1
            assert activity["startTime"] <= facts["time"] <= activity["endTime"], record
    assert seen > 10


def test_texts_alerts_and_events_say_what_they_say(document: Document) -> None:
    assert document.one("Text", "val/note")["value"] == "it ends"
    assert document.one("Alert", "stop")["value"] == "too slow"
    event = document.one("Event")
    assert [event[name] for name in ("value", "level", "rank", "step")] == ["loss is NaN", "warning", 3, 4]
    assert document.one("Artifact", "out.csv")["rank"] == 2
    where = ("run.run-1.item.text.val_x002F_note.step-0", "run.run-1.context.validation")
    assert where in document.relations(ProvGeneration)


def test_the_graph_folds_what_would_not_fit(told: Case) -> None:
    lines = (told.folder / "provenance.dot").read_text()
    assert '"user/run.run-1.context.training" -> "user/run.run-1" [label=wasStartedBy' in lines
    assert '"user/run.run-1.params" [label="parameters\nlr\nlayers\nname\namp\nseed"' in lines
    assert '[label="training\n3 epochs"' in lines
    assert '[label="net\n2 versions"' in lines
    assert "epoch-" not in lines.replace("epochs", "")


def test_an_svg_is_drawn_by_the_program_dot(tmp_path: Path) -> None:
    case = Case(tmp_path, create_svg=True)
    case.close()
    assert case.console() == ""
    svg = ElementTree.parse(case.folder / "provenance.svg").getroot()
    texts = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"run run-1", "attempt 0"} <= texts


@pytest.mark.parametrize(("broken", "says"), [(False, "not on PATH"), (True, "failed")])
def test_without_the_program_dot_the_rest_is_there_and_a_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool, says: str
) -> None:
    if broken:
        fake_dot(tmp_path / "bin", monkeypatch, "exit 3")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    case = Case(tmp_path, create_svg=True)
    case.log(case.run._json("prov_documents", "p", "application/json", {"create_graph": True, "create_svg": True}))
    assert case.close().one("Run")["status"] == "FINISHED"
    assert (case.folder / "provenance.dot").exists()
    assert not (case.folder / "provenance.svg").exists()
    assert case.console().count("\n") == 1
    assert says in case.console()
    assert f"dot -Tsvg {case.folder}/provenance.dot" in case.console()
    assert case.console().removeprefix("ranklog: ") in (case.run.dir / "delivery.log").read_text()
    assert case.known["svg"] == ("drawn at the end" if broken else f"not drawn: {NO_DOT}")


def test_nothing_is_drawn_where_no_graph_is_wanted(tmp_path: Path) -> None:
    case = Case(tmp_path, create_graph=False)
    case.close()
    assert [path.name for path in case.folder.iterdir()] == ["provenance.json"]


def test_the_document_is_written_after_so_many_logs_and_when_it_is_asked_for(tmp_path: Path) -> None:
    case = Case(tmp_path, save_after_n_logs=3)
    case.log(metrics(0, {"a": 1}), metrics(1, {"a": 1}))
    assert not case.folder.exists()
    case.log(metrics(2, {"a": 1}))
    assert case.document().one("Metric", "a")["values"] == 3
    assert case.document().one("Run")["status"] == "RUNNING"
    case.log(metrics(3, {"a": 1}), case.run.prov_documents("now"))
    assert case.document().one("Metric", "a")["values"] == 4
    assert case.document().one("Document")["askedForAs"] == "now"


def test_what_is_delivered_again_changes_nothing(tmp_path: Path) -> None:
    case = Case(tmp_path)
    entries = case.log(
        metrics(0, {"a": 1.0}), case.run.text("t", "one"), metrics(1, {"a": 2.0}), case.run.text("t", "two", step=1)
    )
    case.close()
    once = (case.folder / "provenance.json").read_bytes()
    case.backend.deliver(entries=entries)
    case.close()
    assert (case.folder / "provenance.json").read_bytes() == once
    for cursor in (0, 2, 3, 5, 99):
        case.open(resumed_at=cursor)
        case.backend.deliver(entries=case.run.entries[cursor:])
        case.close()
        assert (case.folder / "provenance.json").read_bytes() == once, f"from {cursor}"


def test_a_segment_that_repeats_its_attempt_changes_nothing(case: Case) -> None:
    case.log(metrics(0, {"a": 1.0}))
    segment = JournalWriter(case.run.dir, case.run.attempt)
    entry = Entry(segment.ordinal, 1, metrics(1, {"a": 2.0}))
    segment.append([entry.record])
    case.backend.deliver(entries=[entry])
    live = case.close().document
    case.open(resumed_at=segment.ordinal)
    assert case.close().document == live
    assert case.document().one("Metric", "a")["values"] == 2


def test_a_disk_that_was_full_costs_nothing(case: Case) -> None:
    case.savedir.parent.joinpath("prov").write_text("in the way")
    entries = case.run.add(metrics(0, {"a": 1.0}), case.run.prov_documents("now"))
    with pytest.raises(OSError, match="prov"):
        case.backend.deliver(entries=entries)
    case.savedir.unlink()
    case.backend.deliver(entries=entries)
    assert case.document().one("Metric", "a")["values"] == 1


def test_what_a_later_attempt_undid_does_not_count(case: Case) -> None:
    case.log(*[metrics(step, {"a": float(step)}) for step in range(10)])
    again = Attempt(1, "run-1", 1, Place(), "host", 2, T0_NS + 50 * S, case.run.attempt.backends)
    case.log(again, metrics(5, {"a": 50.0}), metrics(6, {"a": 60.0}))
    live = case.close().one("Metric", "a")
    assert [live[name] for name in ("values", "min", "max", "last", "lastStep")] == [7, 0, 60, 60, 6]
    case.open(resumed_at=len(case.run.entries))
    assert case.close().one("Metric", "a") == live


def test_a_corrected_value_takes_the_place_of_the_first(case: Case) -> None:
    case.log(metrics(0, {"a": 100.0}, coverage=Coverage(1, 2, 1)), metrics(1, {"a": 1.0}, coverage=Coverage(2, 2, 2)))
    case.log(metrics(0, {"a": 2.0}, coverage=Coverage(2, 2, 2), corrects=True))
    metric = case.close().one("Metric", "a")
    assert [metric[name] for name in ("values", "max", "last", "lowestCoverage")] == [2, 2.0, 1.0, "2/2"]


def test_nan_and_infinities_are_counted_apart(case: Case) -> None:
    case.log(*[metrics(step, {"a": value}) for step, value in enumerate((math.nan, 2.0, -math.inf, 1.0, math.inf))])
    case.log(metrics(0, {"b": math.nan}))
    document = case.close()
    metric = document.one("Metric", "a")
    assert [metric[name] for name in ("values", "nonfiniteValues", "first", "last", "min", "max")] == [
        5, 3, "NaN", math.inf, 1.0, 2.0,
    ]  # fmt: skip
    assert document.one("Metric", "b")["min"] == "NaN"


def test_many_steps_are_no_epochs(case: Case) -> None:
    case.log(*[metrics(step, {"a": 1.0}) for step in range(MAX_EPOCHS + 1)])
    document = case.close()
    assert document.all_of("Epoch") == []
    assert document.one("Metric", "a")["values"] == MAX_EPOCHS + 1


def test_batches_are_no_epochs_where_another_context_tells_them(case: Case) -> None:
    case.log(*[metrics(step, {"train/loss": 1.0, "system/cpu": 1.0}) for step in range(61)])
    case.log(*[metrics(step, {"val/loss": 1.0}) for step in range(6)], metrics(0, {"system/gpu": 1.0}))
    epochs = case.close().all_of("Epoch")
    assert [(epoch["context"], epoch["step"]) for epoch in epochs] == [("validation", step) for step in range(6)]


def test_of_many_versions_the_newest_are_told_and_all_are_counted(case: Case) -> None:
    case.log(*[case.run.text("t", str(step), step=step) for step in range(VERSIONS + 2)])
    texts = case.close().all_of("Text")
    assert [text["step"] for text in texts] == list(range(2, VERSIONS + 2))
    assert texts[-1]["versions"] == VERSIONS + 2
    assert (case.folder / "artifacts/steps/0/t.txt").read_text() == "0"


def test_files_that_stay_elsewhere_are_named_with_their_address_and_size(case: Case, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for shard in range(2):
        checkpoint.joinpath(f"shard-{shard}").write_bytes(b"x" * (10 + shard))
    case.log(case.run.reference("net", checkpoint, step=4))
    model = case.close().one("Model", "net")
    assert [model[name] for name in ("refersTo", "seenFrom", "files", "size")] == [checkpoint.as_uri(), "host", 2, 21]


ODD = ["a b", "ü/ß", "x:y", "1st", 'q"<&>', "a\\b", "_x0041_", "dot.", "-", "😀", "n" * 512]


def test_odd_names_and_values_survive_in_every_format(tmp_path: Path) -> None:
    case = Case(tmp_path, formats="xml,turtle")
    values: dict[str, Scalar] = {"big": 2**63, "nan": math.nan, "lines": "a\r\n\tb ", "bell": "\x07", "": "empty"}
    case.log(Params(T0_NS, EVERY_BACKEND, {**dict.fromkeys(ODD, 1), **values}), metrics(0, dict.fromkeys(ODD, 1.0)))
    case.log(*[case.run.text(name, name) for name in ODD])
    document = case.close()
    assert {each["name"] for each in document.all_of("Metric")} == set(ODD)
    texts = {each["name"]: each for each in document.all_of("Text")}
    assert {name: document.content(texts[name]).decode() for name in ODD} == {name: name for name in ODD}
    params = {each["name"]: each["value"] for each in document.all_of("Parameter")}
    assert {name: params[name] for name in values} == {
        "big": str(2**63), "nan": "NaN", "lines": "a\r\n\tb ", "bell": "_x0007_", "": "empty",
    }  # fmt: skip
    xml = ProvDocument.deserialize(case.folder / "provenance.xml", format="xml")
    assert xml == document.document


def test_a_file_in_the_way_of_a_folder_is_refused_and_the_rest_is_kept(case: Case) -> None:
    case.log(case.run.file("x", b"file"))
    entries = case.run.add(case.run.file("x/y", b"below"), metrics(0, {"a": 1.0}))
    with pytest.raises(Refused, match="'x/y' cannot be saved") as refused:
        case.backend.deliver(entries=entries)
    assert refused.value.ordinals == (entries[0].ordinal,)
    case.backend.deliver(entries=entries[1:])
    assert case.close().one("Metric", "a")["values"] == 1


def test_everything_is_private(told: Case) -> None:
    for path in told.savedir.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("library", ["prov.model", "graphviz", "rdflib", "lxml.etree"])
def test_a_missing_library_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"{library}.*pip install 'ranklog\[prov\]'"):
        Case(tmp_path, formats="turtle,xml")


def test_a_format_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="give some of json, turtle, xml"):
        Prov4MLLogger(formats="json,pdf")


@pytest.mark.parametrize(
    "wrong",
    [
        {"prov_user_namespace": "a b"},
        {"prov_user_namespace": "/scratch/runs"},
        {"save_after_n_logs": 0},
        {"formats": ""},
    ],
)
def test_arguments_that_are_not_allowed_say_what_is(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError, match="is not allowed: give"):
        Prov4MLLogger(**wrong)  # type: ignore[arg-type]


def test_a_script_with_the_logger_gets_its_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    logger = create_logger("prov", savedir=tmp_path, forward="thread", experiment="digits", run_id="run-1")
    with logger.start_logging():
        logger.save_hyperparameters({"lr": 0.1})
        for epoch in range(3):
            logger.log(1 / (epoch + 1), "loss", step=epoch)
    document = Document(tmp_path / "provenance" / "run-1" / "provenance.json")
    assert document.one("Run")["status"] == "FINISHED"
    assert document.one("Run")["experiment"] == "digits"
    assert document.one("Parameter", "lr")["value"] == 0.1
    assert document.one("Metric", "loss")["values"] == 3
    assert len(document.all_of("Epoch")) == 3
