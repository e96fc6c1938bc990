"""A strategy object from another library: this one has the methods of itwinai's strategies, over torch.distributed."""

import torch.distributed as dist

from ranklog import create_logger


class Strategy:
    """Reports rank and world size, like itwinai's TorchDDPStrategy."""

    def global_rank(self) -> int:
        return dist.get_rank()

    def global_world_size(self) -> int:
        return dist.get_world_size()

    def local_rank(self) -> int:
        return dist.get_node_local_rank()


dist.init_process_group("gloo")
logger = create_logger(log_freq="batch", strategy=Strategy())
with logger.start_logging():
    for step in range(20):
        logger.log(dist.get_rank() + 1.0 / (step + 1), "loss", step=step, batch_idx=step, reduce="mean")
dist.destroy_process_group()
