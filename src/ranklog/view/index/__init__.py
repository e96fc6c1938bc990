"""Columns of a run's metrics, made from its journal, kept in a cache, and thrown away at will."""
