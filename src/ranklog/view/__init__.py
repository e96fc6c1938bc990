"""Read-only views of runs, made from journals and cursors."""
