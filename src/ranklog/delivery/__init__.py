"""Delivery of the journal to backends, live in the forwarder or later by `ranklog sync`."""
