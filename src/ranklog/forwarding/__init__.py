"""Runs the forwarder process from rank 0: start, supervise, report progress, stop."""
