"""The console backend."""
