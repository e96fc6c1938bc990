"""Runs a function on the ranks of any runtime; the part of a job that differs between them."""

from collections.abc import Callable

Work = Callable[[int, int], None]
"""What a rank does, given its rank and the world size."""


def run(runtime: str, work: Work) -> None:
    """Join the ranks and do the work on each; Ray starts its two workers here."""
    if runtime == "ray":
        _on_ray(work)
    else:
        work(*_join(runtime))


def _join(runtime: str) -> tuple[int, int]:
    if runtime == "torch":
        import torch.distributed as dist

        dist.init_process_group("gloo")
        return dist.get_rank(), dist.get_world_size()
    if runtime == "deepspeed":
        import deepspeed

        deepspeed.init_distributed(dist_backend="gloo")
        return deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()
    if runtime == "horovod":
        import horovod.torch as hvd

        hvd.init()
        return hvd.rank(), hvd.size()
    from mpi4py import MPI

    return MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size


def _on_ray(work: Work) -> None:
    import ray.train
    from ray.train.torch import TorchTrainer

    def on_a_worker() -> None:
        context = ray.train.get_context()
        work(context.get_world_rank(), context.get_world_size())

    TorchTrainer(on_a_worker, scaling_config=ray.train.ScalingConfig(num_workers=2)).fit()
