"""The Trackio backend."""
