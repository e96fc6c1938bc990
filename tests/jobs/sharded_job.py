"""One rank with a model sharded over all: ``sharded_job.py SAVEDIR HOW``; HOW is fsdp2 or zero3."""

import sys

import torch
import torch.distributed as dist
from torch import nn

from ranklog import JournalLogger
from ranklog.model.errors import InvalidItemError, ReduceTimeoutError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def sharded(how: str) -> nn.Module:
    model = network()
    if how == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        fully_shard(model[0], mesh=mesh)
        return fully_shard(model, mesh=mesh)
    import deepspeed

    config = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
        "zero_allow_untested_optimizer": True,
        "optimizer": {"type": "SGD", "params": {"lr": 0.1}},
    }
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
    return engine


def main(savedir: str, how: str) -> None:
    if how == "zero3":
        import deepspeed

        deepspeed.init_distributed("gloo")
    else:
        dist.init_process_group("gloo")
    rank = dist.get_rank()
    model = sharded(how)
    logger = JournalLogger(savedir, run_id="sharded", log_freq="epoch")
    logger.create_logger_context()
    logger.log(model, "net", kind="model", step=0)
    logger.log(model, "skipped", kind="model", step=0, batch_idx=3)
    if how == "zero3" and rank == 0:
        for kind in ("histogram", "torch"):
            try:
                logger.log(next(model.parameters()), "part", kind=kind, step=0)
            except InvalidItemError as error:
                print(f"refused: {error}", flush=True)
    if how == "fsdp2" and rank == 0:
        try:
            logger.log(model, "alone", kind="model", step=1)
        except ReduceTimeoutError as error:
            print(f"refused: {error}", flush=True)
    dist.barrier()
    logger.destroy_logger_context()
    print(f"rank {rank} has closed", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
