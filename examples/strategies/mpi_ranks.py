"""mpi4py, started by mpirun or srun."""

from mpi4py import MPI

from ranklog import create_logger

world = MPI.COMM_WORLD

logger = create_logger(log_freq="batch")
with logger.start_logging():
    for step in range(20):
        energy = world.allreduce(1.0 / (step + 1 + world.rank))
        logger.log(energy, "energy", step=step, batch_idx=step)  # equal on all ranks, so rank 0 alone writes it
        logger.log(world.rank + 1.0 / (step + 1), "loss", step=step, batch_idx=step, reduce="mean")
