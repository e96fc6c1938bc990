"""Driver of a Ray job: ``ray_job.py MODE FOLDER``; each rank writes to FOLDER what it saw.

Modes: ``torch`` and ``actor`` check the promises of the strategy in the workers of a trainer with and without torch's
group, ``tune`` logs from two trials at once.
"""

import json
import os
import sys
from pathlib import Path

import ray
import ray.train
from ray import tune
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

import ranklog
from ranklog.abc import World
from ranklog.loggers import JournalLogger
from ranklog.model.errors import WorldError
from ranklog.testing.conformance import check_strategy
from ranklog.world.ray.rendezvous import Rendezvous
from ranklog.world.ray.strategy import RayStrategy, RayWorld, in_ray_worker, initialised_place
from ranklog.world.torch.worlds import TorchWorld

Config = dict[str, str]


def write(config: Config, name: str, seen: object) -> None:
    (Path(config["folder"]) / f"{name}.json").write_text(json.dumps(seen))


def place_is_trains() -> None:
    context, here = ray.train.get_context(), RayStrategy().place()
    assert in_ray_worker()
    assert here == initialised_place()
    assert (ranklog.place().rank, ranklog.place().world_size) == (here.rank, here.world_size)
    assert (here.rank, here.world_size) == (context.get_world_rank(), context.get_world_size())
    assert (here.local_rank, here.local_world_size) == (context.get_local_rank(), context.get_local_world_size())
    assert (here.node_rank, here.node_count) == (0, 1)
    assert here.job_id == ray.get_runtime_context().get_job_id()


def log_means(config: Config, *, then_fail: bool = False) -> None:
    rank = ray.train.get_context().get_world_rank()
    logger = JournalLogger(config["folder"], strategy=RayStrategy(), log_freq="batch")
    with logger.start_logging():
        for step in range(10):
            logger.log(float(step + rank), "loss", step=step, reduce="mean")
        if then_fail:
            assert logger.flush(120)
            raise RuntimeError("the first attempt fails")


def patiently_connect(channel: str) -> World:
    """As a logger does: once a second, until all ranks joined."""
    for attempt in range(60):
        try:
            return RayStrategy().connect(channel=channel, timeout_s=1)
        except WorldError as error:
            print(f"{channel}, attempt {attempt}: {error}", flush=True)
    raise AssertionError("the ranks did not meet")


def with_torch(config: Config) -> None:
    import torch
    import torch.distributed as dist

    def beside() -> None:
        mine = torch.full((100,), float(dist.get_rank()))
        dist.all_reduce(mine)
        assert mine[0] == 1.0

    place_is_trains()
    strategy = RayStrategy()
    world = strategy.connect(channel="kind", timeout_s=120)
    assert isinstance(world, TorchWorld)
    world.barrier(timeout_s=120)  # a rank that drops its end earlier breaks the connection of a slower one
    promises = check_strategy(strategy, together=dist.barrier, beside=beside)
    log_means(config)
    write(config, f"rank{dist.get_rank()}", promises)


def without_torch(config: Config) -> None:
    from ray.train import collective

    rank = ray.train.get_context().get_world_rank()

    def beside() -> None:
        assert collective.broadcast_from_rank_zero(rank) == 0

    place_is_trains()
    world = patiently_connect("in both attempts")
    assert isinstance(world, RayWorld)
    assert world.all_gather(bytes([rank]) * 1_000_000, timeout_s=120) == [bytes([r]) * 1_000_000 for r in range(2)]
    begun = Path(config["folder"]) / f"begun{rank}"
    if not begun.exists():
        begun.touch()
        collective.barrier()
        if rank == 0:
            (name,) = [name for name in ray.util.list_named_actors() if name.startswith("ranklog/")]
            ray.kill(ray.get_actor(name))
        try:
            while True:
                world.barrier(timeout_s=120)
        except WorldError as error:
            trouble = str(error)
        patiently_connect("after the actor").barrier(timeout_s=120)
        write(config, f"actor-ended{rank}", trouble)
        collective.barrier()
        log_means(config, then_fail=True)
    promises = check_strategy(RayStrategy(), together=collective.barrier, beside=beside)
    log_means(config)
    write(config, f"rank{rank}", promises)


def trial(config: Config) -> None:
    assert os.environ["SLURM_PROCID"] == "1", "as if a daemon in a Slurm step had started this worker"
    meet = ray.get_actor("trials")
    number, value = int(config["number"]), float(config["number"])
    logger = JournalLogger(config["folder"], log_freq="batch")
    with logger.start_logging():
        assert ray.get(meet.join.remote("open", number, "", 60.0)) == ""
        for step in range(5):
            logger.log(value, "loss", step=step, reduce="mean")
        assert ray.get(meet.join.remote("logged", number, "", 60.0)) == ""
    write(config, f"trial{number}", [str(ranklog.place()), RayStrategy().ready(), in_ray_worker()])


def main() -> None:
    mode, folder = sys.argv[1:]
    config = {"folder": folder}
    ray.init()  # the cluster that the environment names
    assert not in_ray_worker()
    assert initialised_place() is None
    if mode == "tune":
        trials = ray.remote(Rendezvous).options(name="trials", num_cpus=0).remote(2)
        space = {**config, "number": tune.grid_search(["0", "1"])}
        run = tune.RunConfig(storage_path=f"{folder}/tune")
        results = tune.Tuner(trial, param_space=space, run_config=run).fit()
        assert not results.errors, results.errors
        del trials
    else:
        from ray.train.torch import TorchTrainer

        run = ray.train.RunConfig(
            storage_path=f"{folder}/train", failure_config=ray.train.FailureConfig(max_failures=int(mode == "actor"))
        )
        arguments = {"train_loop_config": config, "scaling_config": ray.train.ScalingConfig(num_workers=2)}
        trainer = TorchTrainer if mode == "torch" else DataParallelTrainer
        trainer({"torch": with_torch, "actor": without_torch}[mode], run_config=run, **arguments).fit()
    ray.shutdown()
    print("done", flush=True)


if __name__ == "__main__":
    main()
