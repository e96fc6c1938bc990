"""Encodes items (everything that is not a number) into the canonical bytes of their kind."""
