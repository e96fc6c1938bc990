"""Plain frozen data that every other room shares: no I/O, no threads, no clocks."""

__version__ = "0.1.0"
