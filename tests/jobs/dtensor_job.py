"""A rank of sharded training that logs what it should not: ``dtensor_job.py SAVEDIR HOW``; HOW is fsdp2 or fsdp1."""

import sys

import torch
import torch.distributed as dist
from torch import nn

from ranklog import JournalLogger
from ranklog.model.errors import InvalidItemError

STEPS = 3


def refused(call, *arguments, **options) -> None:
    """A call that must be refused, after which training's own collective gives the right number on every rank."""
    try:
        call(*arguments, **options)
    except InvalidItemError as error:
        print(f"rank {dist.get_rank()} refused: {error}", flush=True)
    check = torch.tensor(float(dist.get_rank() + 1))
    dist.all_reduce(check)
    assert check.item() == 3.0, f"training's all_reduce gave {check.item()}"


def fsdp2(logger: JournalLogger) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    net = nn.Linear(4, 4)
    expected = net.weight.detach().norm().item()
    fully_shard(net, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    logger.log(net, "net", kind="watch", log="all", log_freq=1)
    logger.log(net, "net", kind="graph")
    batch = torch.ones(2, 4)
    for step in range(STEPS):
        net(batch).sum().backward()
        norm = net.weight.norm()
        refused(logger.log, norm, "norm", step=step)
        refused(logger.log, norm, "norm", step=step, reduce="mean")
        refused(logger.log_metrics, {"norm": norm}, step=step)
        refused(logger.reduce_now, norm)
        refused(logger.log, net.weight, "weight", kind="histogram", step=step)
        refused(logger.log, (net, batch), "flops", kind="flops_pb", step=step)
        refused(logger.log, net, "now", kind="graph", step=step, input_example=batch)
        logger.log(norm.full_tensor(), "full_norm", step=step)
        logger.log(norm.full_tensor(), "full_mean", step=step, reduce="mean")
        optimizer.step()
    print(f"rank {dist.get_rank()} expects {expected!r}", flush=True)


def fsdp1(logger: JournalLogger) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    net = FullyShardedDataParallel(nn.Linear(4, 4), device_id=torch.device("cpu"))
    (flat,) = net.parameters()
    net(torch.ones(2, 4)).sum().backward()
    for kind in ("histogram", "torch"):
        refused(logger.log, flat, "flat", kind=kind, step=0)
    refused(logger.log, (net, torch.ones(2, 4)), "flops", kind="flops_pb", step=0)
    with FullyShardedDataParallel.summon_full_params(net):
        logger.log(net.module.weight, "weight", kind="torch", step=0)


def main(savedir: str, how: str) -> None:
    dist.init_process_group("gloo")
    logger = JournalLogger(savedir, run_id="sharded", log_freq="batch")
    with logger.start_logging():
        globals()[how](logger)
    print(f"rank {dist.get_rank()} has closed", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
