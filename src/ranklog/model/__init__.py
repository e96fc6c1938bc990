"""Immutable data types that all rooms share: no I/O, no threads, no clocks."""

__version__ = "0.1.0"
