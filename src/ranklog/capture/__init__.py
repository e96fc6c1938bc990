"""Runs in every training process: decides which calls count, takes snapshots, hands them to its threads."""
