"""Handling of this process as a whole: signals, exit status, forks, last output, warnings."""
