"""Ranks of Ray Train."""
