"""A model sharded over ranks is logged as a whole, and a call on one rank alone is an error instead of a hang."""

import io
from pathlib import Path

import pytest
import torch
from runtimes import start
from sharded_job import network

from ranklog.journal import store
from ranklog.model.record import Item
from ranklog.testing import captured

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("sharded_job.py")


@pytest.mark.parametrize("how", ["fsdp2", "zero3"])
def test_its_full_weights_are_stored_once(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOG_REDUCE_TIMEOUT", "4")
    done = start("torch", 2, JOB, str(tmp_path / "logs"), how, cwd=tmp_path, timeout_s=280)
    assert done.code == 0, done.output
    run_dir = tmp_path / "logs" / "runs" / "sharded"
    (item,) = [record for record in captured(run_dir) if isinstance(record, Item)]
    (weights,) = [file for file in item.files if file.path == "state_dict.pt"]
    state = torch.load(io.BytesIO(store.read_file(run_dir, weights)), weights_only=True)
    expected = network().state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    if how == "fsdp2":
        assert "refused: model 'alone' is sharded over ranks, so every rank must call log()" in done.output
    else:
        assert "refused: histogram 'part' is a parameter that ZeRO-3 has spread over ranks" in done.output
        assert done.output.count("deepspeed.zero.GatheredParameters") == 2
