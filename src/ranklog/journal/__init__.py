"""The journal: an append-only, crash-safe record of a run on disk, written by training and read by everything else."""
