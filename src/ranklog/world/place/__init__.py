"""Find the place of this process in its job: from launcher variables, process groups, or despite containers."""
