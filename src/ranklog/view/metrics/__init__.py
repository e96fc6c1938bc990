"""Metrics of a run as columns: which rows, on which axis, how many."""
