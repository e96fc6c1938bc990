"""Training that is sharded goes on undisturbed, whatever its ranks log: errors instead of hangs and wrong numbers."""

import io
import re
from pathlib import Path

import pytest
import torch
from launch import torchrun

from ranklog.journal import store
from ranklog.model.record import Item
from ranklog.testing import captured, series

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("dtensor_job.py")
STEPS = 3


def test_a_sharded_value_is_an_error_on_every_rank_that_logs_and_training_keeps_its_collectives(tmp_path: Path) -> None:
    done = torchrun(2, JOB, str(tmp_path / "logs"), "fsdp2", cwd=tmp_path, timeout_s=200)
    assert done.code == 0, done.output
    everyone, rank_0_only = ("with reduce=", "reduce_now"), ("log", "log_metrics", "histogram", "flops", "graph")
    for rank, calls in ((0, len(everyone) + len(rank_0_only)), (1, len(everyone))):
        refused = re.findall(rf"rank {rank} refused: (.*)", done.output)
        assert len(refused) == calls * STEPS, done.output
        forwards = [line for line in refused if "its forward needs all of them" in line]
        assert len(forwards) == (2 * STEPS if rank == 0 else 0)
        assert all(".full_tensor()" in line for line in refused if line not in forwards)

    expected = float(re.search(r"rank 0 expects (\S+)", done.output)[1])
    records = captured(tmp_path / "logs" / "runs" / "sharded")
    for name in ("full_norm", "full_mean"):
        assert series(records, name) == pytest.approx(dict.fromkeys(range(STEPS), expected)), name
    items = {(record.kind, record.name): record.meta for record in records if isinstance(record, Item)}
    watched = {
        ("histogram", f"{what}/net.{name}") for what in ("gradients", "parameters") for name in ("weight", "bias")
    }
    assert items.keys() == {("graph", "net"), *watched}
    assert all(items[key] == {"part": "rank 0"} for key in watched)


def test_a_flat_parameter_is_an_error_and_the_whole_is_taken_inside_summon_full_params(tmp_path: Path) -> None:
    done = torchrun(2, JOB, str(tmp_path / "logs"), "fsdp1", cwd=tmp_path, timeout_s=200)
    assert done.code == 0, done.output
    refused = re.findall(r"rank 0 refused: (.*)", done.output)
    assert ["summon_full_params" in line for line in refused] == [True, True, False], done.output
    assert "its forward needs all of them" in refused[2]
    run_dir = tmp_path / "logs" / "runs" / "sharded"
    (item,) = [record for record in captured(run_dir) if isinstance(record, Item)]
    (file,) = item.files
    assert torch.load(io.BytesIO(store.read_file(run_dir, file)), weights_only=True).shape == (4, 4)
