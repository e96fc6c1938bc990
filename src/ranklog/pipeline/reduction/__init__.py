"""Reduction over the ranks of one run: the reducer thread and what it needs."""
