"""This process as a whole: signals, exit status, forks, last output, warnings."""
