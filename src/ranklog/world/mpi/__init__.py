"""Ranks of MPI."""
