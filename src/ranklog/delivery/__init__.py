"""Runs in the forwarder: reads the journal and feeds the backends, live or later."""
