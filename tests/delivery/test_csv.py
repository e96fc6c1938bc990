"""What the CSV backend writes, as pandas and a JSON reader see it."""

import json
import math
import os
import stat
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from items import T0_NS, Run, metrics, png
from test_conformance import Case

from ranklog import CSVLogger
from ranklog.backends.csv import wide
from ranklog.backends.csv.backend import CsvBackend
from ranklog.backends.registry import create_backend
from ranklog.journal.cursor import load_cursor
from ranklog.model.record import EVERY_BACKEND, Coverage, End, Event, MetricInfo, Params
from ranklog.model.spec import BackendSpec


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case("csv", tmp_path / "csv", tmp_path)


def folder(case: Case) -> Path:
    return case.savedir / case.run_id


def long(case: Case) -> pd.DataFrame:
    return pd.read_csv(folder(case) / "metrics.csv")


def wide_table(case: Case) -> pd.DataFrame:
    return pd.read_csv(folder(case) / "metrics_wide.csv", index_col="step")


def facts(case: Case) -> dict[str, object]:
    return json.loads((folder(case) / "run.json").read_text())


def lines(case: Case, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder(case) / name).read_text().splitlines()]


def test_a_name_that_comes_later_loses_nothing_and_rewrites_nothing(case: Case) -> None:
    case.run.add(metrics(0, {"loss": 0.1}), metrics(1, {"loss": 1 / 3}))
    case.deliver(None)
    before = (folder(case) / "metrics.csv").read_bytes()
    inode = (folder(case) / "metrics.csv").stat().st_ino
    case.run.add(metrics(2, {"loss": 0.3, 'val, of "one"': 7.0}))
    case.deliver("FINISHED")
    after = (folder(case) / "metrics.csv").read_bytes()
    assert after.startswith(before) and (folder(case) / "metrics.csv").stat().st_ino == inode
    rows = long(case)
    assert rows[["step", "name", "value"]].to_numpy().tolist() == [
        [0, "loss", 0.1],
        [1, "loss", 1 / 3],
        [2, "loss", 0.3],
        [2, 'val, of "one"', 7.0],
    ]
    assert pd.to_datetime(rows["time"])[1] == pd.Timestamp("2023-11-14T22:13:21Z")
    table = wide_table(case)
    assert table["loss"].tolist() == [0.1, 1 / 3, 0.3]
    assert table['val, of "one"'].isna().tolist() == [True, True, False]


def test_values_that_are_not_finite_are_kept_and_coverage_stands_beside_reduced_ones(case: Case) -> None:
    case.run.add(
        metrics(0, {"a": math.nan, "b": math.inf, "c": -math.inf}, coverage=Coverage(3, 4, 2)),
        MetricInfo(T0_NS, EVERY_BACKEND, "a", "min", "validation"),
    )
    case.deliver("FINISHED")
    rows = long(case).set_index("name")
    assert math.isnan(rows["value"]["a"]) and rows["value"]["b"] == math.inf and rows["value"]["c"] == -math.inf
    assert rows.loc["a", ["op", "answered", "contributed", "world_size"]].tolist() == ["mean", 3, 2, 4]
    assert wide_table(case)["c"].tolist() == [-math.inf]
    said = facts(case)
    assert (said["ranklog.coverage"], said["ranklog.coverage.partial_steps"]) == (
        "2 of 4 ranks had a value, 3 answered",
        1,
    )
    assert (said["ranklog.goal.a"], said["ranklog.context.a"], said["status"]) == ("min", "validation", "FINISHED")


def test_params_and_options_that_are_not_finite_are_kept_and_leave_columns_of_numbers(case: Case) -> None:
    notes = [msgspec.structs.replace(case.run.text(f"n{i}", ""), meta={"x": x}) for i, x in enumerate((math.nan, 0.5))]
    case.run.add(Params(T0_NS, EVERY_BACKEND, {"lr": math.nan, "clip": math.inf}), *notes)
    case.deliver("FINISHED")
    assert json.loads((folder(case) / "params.json").read_text()) == {"lr": "NaN", "clip": "Infinity"}
    first, second = lines(case, "items.jsonl")
    assert (first["meta"], first["not_finite"]) == ({"x": None}, {"meta": {"x": "NaN"}})
    assert second["meta"] == {"x": 0.5} and "not_finite" not in second


def test_a_parameter_that_changes_its_type_only_is_a_change_and_nan_is_none(case: Case) -> None:
    case.run.add(Params(T0_NS, EVERY_BACKEND, {"amp": 1, "decay": math.nan}))
    case.run.add(Params(T0_NS, EVERY_BACKEND, {"amp": True, "decay": math.nan}))
    case.deliver("FINISHED")
    said = facts(case)
    assert said["ranklog.changed.amp"] == "1; True in attempt 0"
    assert "ranklog.changed.decay" not in said


def test_an_attempt_that_goes_back_is_told_apart_and_only_the_wide_table_leaves_the_old_points_out(case: Case) -> None:
    case.run.add(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1, "seed": 1}),
        *(metrics(step, {"loss": float(step)}) for step in range(4)),
    )
    case.run.add(
        msgspec.structs.replace(case.run.attempt, attempt=1),
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.2, "seed": 1}),
        metrics(2, {"loss": 20.0}, later_ms=9000),
        metrics(2, {"loss": 21.0}, corrects=True, later_ms=9500),
    )
    case.deliver("FINISHED")
    assert long(case)[["attempt", "step", "value", "corrects"]].to_numpy().tolist() == [
        *([0, step, step, 0] for step in range(4)),
        [1, 2, 20.0, 0],
        [1, 2, 21.0, 1],
    ]
    assert wide_table(case)["loss"].to_dict() == {0: 0.0, 1: 1.0, 2: 21.0}
    said = facts(case)
    assert said["ranklog.superseded.1"] == "loss from step 2" and said["ranklog.attempt"] == 1
    assert said["ranklog.changed.lr"] == "0.1; 0.2 in attempt 1" and "ranklog.changed.seed" not in said
    assert json.loads((folder(case) / "params.json").read_text()) == {"lr": 0.2, "seed": 1}


def test_what_a_kill_left_behind_is_cut_and_written_whole(case: Case) -> None:
    case.run.add(
        metrics(0, {"loss": 0.0}),
        Event("warning", "first-nan", "loss is nan", T0_NS, rank=1, step=0),
        case.run.text("note", "hello"),
    )
    case.deliver(None)
    for name in ("metrics.csv", "events.jsonl", "items.jsonl"):
        with (folder(case) / name).open("ab") as file:
            file.write(b'1,2023-11-14T22:13:21.0000,"lo')
    case.forget(1)
    case.run.add(metrics(1, {"loss": 1.0}), End("FAILED", T0_NS, "out of memory"))
    case.deliver(None)
    assert long(case)[["step", "value"]].to_numpy().tolist() == [[0, 0.0], [1, 1.0]]
    assert [(line["type"], line.get("code")) for line in lines(case, "events.jsonl")] == [
        ("attempt", None),
        ("event", "first-nan"),
        ("end", None),
    ]
    assert [line["path"] for line in lines(case, "items.jsonl")] == ["artifacts/note.txt"]
    assert (facts(case)["status"], facts(case)["ranklog.reason"]) == ("FAILED", "out of memory")


@pytest.mark.parametrize("damage", ["lost", "zeros", "other head", "no note"])
def test_a_lost_or_damaged_file_is_written_anew_from_the_journal(case: Case, damage: str) -> None:
    case.run.add(*(metrics(step, {"loss": float(step)}) for step in range(3)), case.run.text("note", "hello"))
    case.deliver(None)
    path = folder(case) / "metrics.csv"
    match damage:
        case "lost":
            path.unlink()
        case "zeros":
            path.write_bytes(bytes(path.stat().st_size))
        case "other head":
            path.write_bytes(b"iter" + path.read_bytes()[4:])
        case _:
            (folder(case) / ".ranklog.json").unlink()
    case.run.add(metrics(3, {"loss": 3.0}))
    case.deliver("FINISHED")
    assert long(case)[["step", "value"]].to_numpy().tolist() == [[n, n] for n in range(4)]
    assert len(lines(case, "items.jsonl")) == 1 and len(lines(case, "events.jsonl")) == 1


def test_a_disk_that_refuses_a_part_leaves_each_row_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    run = case.run
    backend = CsvBackend()
    backend.open(context=run.context())
    run.add(metrics(0, {"loss": 0.0}), Event("info", "hello", "hello", T0_NS))
    second = [
        *run.add(metrics(1, {"loss": 1.0}), msgspec.structs.replace(run.attempt, attempt=1)),
        *run.add(metrics(2, {"loss": 2.0})),
    ]
    backend.deliver(entries=run.entries[:3])
    fsync = os.fsync
    calls: list[int] = []

    def full_at_the_second(fd: int) -> None:  # a full disk cannot be had here
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(OSError, match="No space"):
        backend.deliver(entries=second)
    monkeypatch.undo()
    backend.deliver(entries=second)
    backend.close(status="FINISHED", timeout_s=1.0)
    assert long(case)[["step", "attempt"]].to_numpy().tolist() == [[0, 0], [1, 0], [2, 1]]
    assert [line["type"] for line in lines(case, "events.jsonl")] == ["attempt", "event", "attempt"]


def test_each_step_of_an_item_is_kept_and_lists_and_references_are_found(case: Case, tmp_path: Path) -> None:
    shards = tmp_path / "ckpt"
    shards.mkdir()
    (shards / "rank0.bin").write_bytes(b"shard")
    run = case.run
    run.add(run.image("pic", png(2, 2), step=1))
    case.deliver(None)
    run.add(
        run.image("pic", png(3, 3), step=2),
        run.images("many", [png(1, 1), png(2, 1)], captions=["one", "two"], step=2),
        run.reference("net", shards),
        run.file("clash", b"a file"),
        run.folder("clash", {"x": b"a folder"}),
        metrics(0, {"loss": 1.0}),
    )
    case.deliver("FINISHED")
    kept = folder(case) / "artifacts"
    assert (kept / "pic.png").read_bytes() == png(3, 3) == (kept / "steps/2/pic.png").read_bytes()
    assert (kept / "steps/1/pic.png").read_bytes() == png(2, 2)
    assert (kept / "many/001.png").read_bytes() == png(2, 1)
    listed = {str(line["name"]): line for line in lines(case, "items.jsonl")}
    assert listed["many"]["meta"] == {"caption.0": "one", "caption.1": "two"}
    assert json.loads((folder(case) / str(listed["net"]["path"])).read_text())["uri"] == shards.as_uri()
    assert len(load_cursor(case.run.dir, 0, "csv").refused) == 1 and long(case)["value"].tolist() == [1.0]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in case.savedir.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [folder(case), *kept.rglob("*/")] if path.is_dir()} == {0o700}


def test_more_values_than_a_table_holds_are_in_the_long_file_only(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "MAX_VALUES", 2)
    case.run.add(*(metrics(step, {"step": float(step)}) for step in range(2)))
    case.deliver("FINISHED")
    assert wide_table(case)["metric:step"].tolist() == [0.0, 1.0]
    case.run.add(msgspec.structs.replace(case.run.attempt, attempt=1), metrics(2, {"step": 2.0}))
    case.deliver("FINISHED")
    assert not (folder(case) / "metrics_wide.csv").exists() and "not written" in str(facts(case)["metrics_wide"])
    assert len(long(case)) == 3


def test_the_logger_of_a_script_writes_below_its_savedir(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, log_freq="batch", forward="thread", run_id="mine")
    with logger.start_logging():
        logger.log(0.5, "loss", step=3)
        logger.log("hello", "note", kind="text", step=3)
    rows = pd.read_csv(tmp_path / "csv/mine/metrics.csv")
    assert rows[["step", "name", "value"]].to_numpy().tolist() == [[3, "loss", 0.5]]
    assert (tmp_path / "csv/mine/artifacts/note.txt").read_text() == "hello"


def test_a_missing_savedir_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", BackendSpec(backend="csv"))
    with pytest.raises(ValueError, match="'savedir' is missing"):
        create_backend("csv").open(context=run.context())
