"""The seam between training and everything else: an append-only, crash-safe record of a run on disk."""
