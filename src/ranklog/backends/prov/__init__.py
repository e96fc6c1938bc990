"""The provenance backend."""
