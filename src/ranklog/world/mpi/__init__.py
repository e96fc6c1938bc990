"""Ranks of MPI, through mpi4py. Importing this package does not import mpi4py."""

from ranklog.world.mpi.strategy import MpiStrategy, initialised_mpi, initialised_place

__all__ = ["MpiStrategy", "initialised_mpi", "initialised_place"]
