"""Read-only answers about runs, made from their journals and cursors: for people and for programs."""
