"""A run as an RO-Crate, read back by the library ``rocrate``."""

from __future__ import annotations

import csv
import hashlib
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from items import T0_NS, Run, metrics
from rocrate.rocrate import ROCrate

from ranklog.cli import main
from ranklog.journal.store import blob_path
from ranklog.model.errors import InvalidArgumentError, MissingExtraError
from ranklog.model.facts import Git, JobFacts, RankFacts
from ranklog.model.record import EVERY_BACKEND, End, Params
from ranklog.model.spec import BackendSpec
from ranklog.view.ro_crate import write_crate

S = 10**9


def make_run(folder: Path) -> Run:
    return Run(folder / "runs" / "run-1", BackendSpec(backend="journal"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crate of a run with something of everything."""
    root = tmp_path_factory.mktemp("crate")
    run = make_run(root)
    checkpoint = root / "checkpoint"
    checkpoint.mkdir()
    checkpoint.joinpath("shard-0").write_bytes(b"weights")
    run.add(
        JobFacts(
            T0_NS,
            ("python", "jobs/train.py", "--lr", "0.1"),
            "/home/ada",
            {"torch": "2.9"},
            Git("abc123", "main", False, "https://git.example/lab"),
            "slurm",
            {"partition": "gpu"},
            script="jobs/train.py",
        ),
        RankFacts(0, T0_NS, "node1", 0, 0, 1, "cuda:0", "H100", "EPYC", 16, 2**36),
        RankFacts(1, T0_NS, "node1", 0, 1, 2, "cuda:1", "H100", "EPYC", 16, 2**36),
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1, "net/size": 3, "none": None, "nan": float("nan")}),
        *run.each_kind(),
        run.text("note", "first", step=1),
        run.text("note", "second", step=2),
        run.file("odd name #1/ü.csv", b"a,b\n"),
        run.reference("shards", checkpoint),
        *[metrics(step, {"loss": 1.0 / (step + 1)}) for step in range(3)],
        End("FINISHED", T0_NS + 60 * S),
    )
    assert write_crate(run.dir, root / "crate", "https://spdx.org/licenses/CC-BY-4.0") == []
    return root / "crate"


@pytest.fixture(scope="module")
def crate(folder: Path) -> Any:
    return ROCrate(folder)


def action(crate: Any) -> Any:
    (found,) = crate.get_by_type("CreateAction")
    return found


def test_the_crate_names_its_specification_and_profile(crate: Any, folder: Path) -> None:
    root = crate.root_dataset
    assert root["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    assert crate.metadata["conformsTo"] == "https://w3id.org/ro/crate/1.1"
    assert (root["name"], root["license"].id) == ("Run run-1 of exp", "https://spdx.org/licenses/CC-BY-4.0")
    assert root["description"] and root["datePublished"]
    context = json.loads((folder / "ro-crate-metadata.json").read_text())["@context"]
    assert "https://w3id.org/ro/terms/workflow-run/context" in context


def test_the_run_is_an_action_of_a_program_for_a_person(crate: Any) -> None:
    run = action(crate)
    assert crate.root_dataset["mentions"] == run
    assert (run["startTime"], run["endTime"]) == ("2023-11-14T22:13:20+00:00", "2023-11-14T22:14:20+00:00")
    assert run["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert run["description"] == "python jobs/train.py --lr 0.1"
    assert run["agent"].type == "Person"
    assert (run["instrument"]["name"], run["instrument"]["softwareVersion"]) == ("train.py", "git abc123")
    assert run["instrument"]["codeRepository"] == "https://git.example/lab"
    assert run["instrument"].type == ["SoftwareApplication", "SoftwareSourceCode"]
    assert [each["softwareVersion"] for each in run["instrument"]["softwareRequirements"]] == ["2.9"]
    assert [(each["name"], each["value"]) for each in run["additionalProperty"]] == [("slurm.partition", "gpu")]
    assert [(each["name"], each["description"]) for each in run["location"]] == [
        ("node1", "2 ranks: cuda:0, H100, EPYC"),
    ]


def test_parameters_and_datasets_are_inputs_of_the_action(crate: Any) -> None:
    used = action(crate)["object"]
    values = {each["name"]: each["value"] for each in used if each.type == "PropertyValue"}
    assert values == {"lr": 0.1, "net/size": 3, "none": "null", "nan": "NaN", "each/param": 0.25}
    (dataset,) = [each for each in used if each.type == "CreativeWork"]
    assert [dataset[name] for name in ("name", "identifier", "url", "size")] == [
        "digits", "0123456789abcdef", "/data/digits.csv", "1797 rows",
    ]  # fmt: skip


def test_every_file_is_in_the_crate_with_its_digest(crate: Any, folder: Path) -> None:
    for file in crate.get_by_type("File"):
        data = (folder / file.source).read_bytes()
        assert len(data) == int(file["contentSize"])
        if "sha256" in file:
            assert hashlib.sha256(data).hexdigest() == file["sha256"]
    described = {Path(file.source) for file in crate.get_by_type("File")}
    there = {path for path in folder.rglob("*") if path.is_file() and path.name != "ro-crate-metadata.json"}
    assert described == there


def test_outputs_have_the_names_under_which_they_were_logged(crate: Any, folder: Path) -> None:
    results = {each["name"]: each for each in action(crate)["result"]}
    kinds = {name.removeprefix("each/") for name in results if name.startswith("each/")}
    assert kinds == {
        "text", "dict", "table", "histogram", "image", "figure", "audio", "video", "html", "artifact", "torch", "model",
        "best_model", "graph", "embedding", "pr_curve", "alert",
    }  # fmt: skip
    assert (folder / "artifacts/each/artifact").read_bytes() == b"bytes of its own"
    model = results["each/model"]
    assert model.type == "Dataset"
    assert [part["name"] for part in model["hasPart"]] == ["state_dict.pt"]
    assert results["each/image"]["encodingFormat"] == "image/png"
    assert results["odd name #1/ü.csv"].source.read_bytes() == b"a,b\n"
    assert results["shards"]["about"]["name"] == "1 files on host"


def test_each_step_of_a_name_is_a_file_of_its_own(folder: Path) -> None:
    texts = [(folder / f"artifacts/steps/{step}/note.txt").read_text() for step in (1, 2)]
    assert texts == ["first", "second"]


def test_the_crate_has_a_table_of_metrics_and_a_file_of_facts(folder: Path) -> None:
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [(row["step"], row["value"]) for row in rows if row["name"] == "loss"][:2] == [("0", "1.0"), ("1", "0.5")]
    assert json.loads((folder / "run.json").read_text())["ranks"][1]["host"] == "node1"


def test_everything_in_the_crate_is_private(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_failed_run_has_its_reason(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.add(End("FAILED", T0_NS, "ValueError: boom"))
    write_crate(run.dir, tmp_path / "crate")
    failed = action(ROCrate(tmp_path / "crate"))
    assert (failed["actionStatus"], failed["error"]) == ("http://schema.org/FailedActionStatus", "ValueError: boom")
    assert "license" not in ROCrate(tmp_path / "crate").root_dataset


def test_a_folder_that_is_not_empty_is_not_changed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.joinpath("x").write_text("mine")
    with pytest.raises(InvalidArgumentError, match="name a new folder"):
        write_crate(run.dir, mine)
    assert [path.name for path in mine.iterdir()] == ["x"]


def test_without_its_library_the_error_names_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rocrate.rocrate", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ranklog\[crate\]'"):
        write_crate(make_run(tmp_path).dir, tmp_path / "crate")
    assert not (tmp_path / "crate").exists()


def test_the_command_writes_a_crate_and_lists_missing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    big, blocked = run.file("big.bin", b"x" * 40_000), run.file("a", b"1")
    run.add(big, blocked, run.file("a/b", b"2"), run.text("note", "kept"))
    blob_path(run.dir, big.files[0].sha256).unlink()

    def call(*args: object) -> object:
        monkeypatch.setattr(sys, "argv", ["ranklog", "export", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code

    assert call(run.dir, "--format", "ro-crate", "-o", tmp_path / "crate") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" of step")[0] for line in lines] == [
        "ranklog: not in the crate: artifact 'big.bin'",
        "ranklog: not in the crate: artifact 'a/b'",
    ]
    assert (tmp_path / "crate/artifacts/note.txt").read_text() == "kept"
    assert ROCrate(tmp_path / "crate").dereference("artifacts/big.bin") is None
    assert call(run.dir, "--format", "ro-crate") == 2
    assert call(run.dir, "--license", "x") == 2
