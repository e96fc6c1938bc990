from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from custom_backend import install
from items import Run, metrics

from ranklog.backends.registry import create_backend
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import BackendSpec


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes the example visible to this process; as value for the path of others."""
    folders = install(tmp_path / "site")
    for folder in folders:
        monkeypatch.syspath_prepend(str(folder))
    return os.pathsep.join(map(str, folders))


def lines_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_backend_that_is_not_installed_is_named_with_those_that_are() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"backend 'jsonl' is not installed: choose one of .*console, .*wandb"
    ):
        create_backend("jsonl")


def test_an_installed_package_is_found_by_its_entry_point(path: str) -> None:
    assert type(create_backend("jsonl")).__module__ == "ranklog_jsonl"


def test_a_torn_last_line_is_written_again_and_nothing_twice(path: str, tmp_path: Path) -> None:
    run = Run(tmp_path / "runs/run-1", BackendSpec(backend="jsonl", options={"savedir": str(tmp_path / "out")}))
    run.add(metrics(0, {"loss": math.nan}), metrics(1, {"loss": 0.5}))
    backend = create_backend("jsonl")
    backend.open(context=run.context())
    backend.deliver(entries=run.entries)
    backend.close(status=None, timeout_s=1.0)
    file = tmp_path / "out/run-1.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    backend.open(context=run.context(resumed_at=1))
    backend.deliver(entries=run.entries[1:])
    backend.close(status="FINISHED", timeout_s=1.0)
    lines = lines_of(file)
    assert [line["ordinal"] for line in lines] == [0, 1, 2]
    assert math.isnan(lines[1]["values"]["loss"])  # type: ignore[index]
    assert lines[2]["values"] == {"loss": 0.5}


LOGGING = """
import sys
from ranklog.loggers import BackendLogger

logger = BackendLogger("jsonl", {"savedir": sys.argv[1]}, savedir=sys.argv[2], log_freq="batch")
with logger.start_logging():
    logger.save_hyperparameters({"lr": 0.1})
    logger.log(0.5, "loss", step=3)
    logger.log("hello", "note", kind="text", step=4)
"""


@pytest.mark.slow
def test_a_logger_delivers_through_it_from_the_forwarder(path: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([path, *sys.path])}
    subprocess.run(
        [sys.executable, "-c", LOGGING, str(tmp_path / "out"), str(tmp_path / "logs")],
        env=environ,
        check=True,
        timeout=60,
    )
    (file,) = (tmp_path / "out").glob("*.jsonl")
    lines = {str(line["type"]): line for line in lines_of(file)}
    assert lines["Params"]["values"] == {"lr": 0.1}
    assert (lines["Metrics"]["step"], lines["Metrics"]["values"]) == (3, {"loss": 0.5})
    assert (tmp_path / "out" / lines["Item"]["files"][0]).read_text() == "hello"  # type: ignore[index]
    assert lines["End"]["status"] == "FINISHED"
