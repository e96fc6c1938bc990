"""Communication between ranks over MPI. `MpiStrategy` accepts a communicator of the program."""

from ranklog.world.mpi.strategy import MpiStrategy

__all__ = ["MpiStrategy"]
