"""Large files: what is logged is stored beside training, once for equal contents, by the policy that was asked for."""

import hashlib
import os
import threading
import time
from pathlib import Path

import msgspec
import pytest

from ranklog import JournalLogger
from ranklog.journal import store
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, RanklogWarning
from ranklog.model.record import Item
from ranklog.pipeline.background import Background
from ranklog.testing import captured

MIB = 1024 * 1024


@pytest.fixture
def logger(tmp_path: Path) -> JournalLogger:
    logger = JournalLogger(tmp_path / "logs", log_freq="batch")
    logger.create_logger_context()
    yield logger
    logger.destroy_logger_context()


@pytest.fixture
def held(logger: JournalLogger) -> threading.Event:
    """The thread beside is busy until this is set."""
    release = threading.Event()
    assert logger._session is not None
    logger._session.sink.background("held", lambda: release.wait(60) and [])
    yield release
    release.set()


def folder(tmp_path: Path, name: str = "big") -> Path:
    path = tmp_path / name
    (path / "sub").mkdir(parents=True)
    (path / "a.bin").write_bytes(b"a" * 3 * MIB)
    (path / "sub" / "b.bin").write_bytes(b"a" * 3 * MIB)
    return path


def items(logger: JournalLogger) -> dict[str, Item]:
    assert logger.flush(60)
    return {record.name: record for record in captured(logger) if isinstance(record, Item)}


def blobs(logger: JournalLogger) -> list[Path]:
    return [path for path in (Path(logger.run_dir) / "blobs").iterdir() if path.stat().st_size > MIB]


def test_a_large_folder_is_logged_while_training_goes_on_and_its_metrics_do_not_wait(
    logger: JournalLogger, held: threading.Event, tmp_path: Path
) -> None:
    logger.log(folder(tmp_path), "data", kind="artifact")
    logger.log(0.5, "loss", step=0)
    assert not logger.flush(0.01), "it says that not all is stored"
    while "loss" not in str(captured(logger)):
        threading.Event().wait(0.01)
    assert "data" not in str(captured(logger))
    held.set()
    stored = items(logger)["data"]
    assert {file.path: file.size for file in stored.files} == {"a.bin": 3 * MIB, "sub/b.bin": 3 * MIB}


def test_equal_contents_are_stored_once(logger: JournalLogger, tmp_path: Path) -> None:
    path = folder(tmp_path)
    logger.log(path, "data", kind="artifact", step=0)
    logger.log(path, "data", kind="artifact", step=1)
    items(logger)
    (blob,) = blobs(logger)
    assert blob.name == hashlib.sha256(b"a" * 3 * MIB).hexdigest()
    assert blob.stat().st_ino != (path / "a.bin").stat().st_ino


def test_what_nobody_writes_to_again_is_linked_and_may_be_deleted_at_once(
    logger: JournalLogger, held: threading.Event, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    inodes = {file.stat().st_ino for file in (path / "a.bin", path / "sub" / "b.bin")}
    logger.log(path, "data", kind="artifact", policy="immutable")
    for file in (path / "a.bin", path / "sub" / "b.bin"):
        file.unlink()
    held.set()
    stored = items(logger)["data"]
    assert store.read_file(Path(logger.run_dir), stored.files[0]) == b"a" * 3 * MIB
    assert {blob.stat().st_ino for blob in blobs(logger)} <= inodes
    assert not list(Path(logger.run_dir).glob(".links-*"))


def test_a_reference_holds_addresses_and_digests_and_no_content(logger: JournalLogger, tmp_path: Path) -> None:
    path = folder(tmp_path)
    logger.log(path, "data", kind="artifact", policy="reference")
    logger.log(path, "checkpoint", kind="model", registered_model_name="net")
    found = items(logger)
    for name in ("data", "checkpoint"):
        assert found[name].media == content.REFERENCE
        body = store.read_file(Path(logger.run_dir), found[name].files[0])
        reference = msgspec.json.decode(body, type=content.Reference)
        assert reference.uri == path.as_uri() and reference.is_folder
        digest = hashlib.sha256(b"a" * 3 * MIB).hexdigest()
        assert [(f.path, f.size, f.sha256) for f in reference.files] == [
            ("a.bin", 3 * MIB, digest),
            ("sub/b.bin", 3 * MIB, digest),
        ]
    assert found["checkpoint"].meta == {"registered_model_name": "net"}
    assert not (Path(logger.run_dir) / "blobs").exists() or not blobs(logger)


def test_what_exceeds_the_limit_stays_where_it_is_and_that_is_said(
    logger: JournalLogger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKLOG_COPY_LIMIT_GIB", "0.001")
    with pytest.warns(RanklogWarning, match="RANKLOG_COPY_LIMIT_GIB=0.001"):
        logger.log(folder(tmp_path), "data", kind="artifact")
    assert items(logger)["data"].media == content.REFERENCE


def test_a_file_that_changes_before_it_is_stored_is_said(
    logger: JournalLogger, held: threading.Event, tmp_path: Path
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"a" * 5 * MIB)
    logger.log(path, "x.bin", kind="artifact")
    path.write_bytes(b"b" * 5 * MIB)
    os.utime(path, (1, 1))
    with pytest.warns(RanklogWarning, match="was changed while it was stored"):
        held.set()
        items(logger)


def test_a_file_that_is_gone_is_counted_and_the_next_item_is_stored(
    logger: JournalLogger, held: threading.Event, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    logger.log(path, "gone", kind="artifact")
    (path / "a.bin").unlink()
    logger.log(folder(tmp_path, "other"), "there", kind="artifact")
    with pytest.warns(RanklogWarning, match="artifact 'gone' is lost"):
        held.set()
        assert not logger.flush(60), "something logged before is not there"
    assert "there" in items(logger)


def test_items_of_one_name_keep_their_order_though_only_the_first_is_large(
    logger: JournalLogger, held: threading.Event, tmp_path: Path
) -> None:
    logger.log(folder(tmp_path), "data", kind="artifact", step=0)
    logger.log(b"small", "data", kind="artifact", step=1)
    held.set()
    items(logger)
    assert [record.step for record in captured(logger) if isinstance(record, Item)] == [0, 1]


def test_closing_waits_for_what_is_being_stored(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path / "logs")
    logger.create_logger_context()
    logger.log(folder(tmp_path), "data", kind="artifact")
    run_dir = Path(logger.run_dir)
    logger.destroy_logger_context()
    assert [record.name for record in captured(run_dir) if isinstance(record, Item)] == ["data"]


def test_a_policy_that_is_unknown_is_refused(logger: JournalLogger) -> None:
    with pytest.raises(InvalidArgumentError, match=r"policy='move' is not allowed: give one of mutable, immutable"):
        logger.log(b"x", "x", kind="artifact", policy="move")


def test_jobs_that_are_not_done_in_time_are_named_and_a_failure_does_not_stop_the_next() -> None:
    given: list[object] = []
    failed: list[str] = []
    release = threading.Event()
    background = Background(given.append, lambda name, error: failed.append(f"{name}: {error}"))

    def fails() -> list[object]:
        raise OSError("no space")

    background.put("bad", fails)
    background.put("good", lambda: ["done"])
    assert background.wait(time.monotonic() + 120)
    assert (given, failed) == (["done"], ["bad: no space"])
    background.put("slow", lambda: release.wait(60) and [])
    background.put("after", lambda: [])
    assert background.is_busy("after") and background.close() == ["after", "slow"]
    release.set()


@pytest.mark.parametrize("option", ["alias", "registered_model_name"])
@pytest.mark.parametrize("given", ["", " ", 3, ["a"], object()])
def test_what_a_model_is_called_in_a_registry_is_a_text(option: str, given: object, tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path)
    with logger.start_logging(), pytest.raises(InvalidArgumentError, match=f"{option}=.* give a str"):
        logger.log(tmp_path, "net", kind="model", **{option: given})
