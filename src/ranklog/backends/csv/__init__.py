"""The CSV backend."""
