"""Finds this process's place in its job: launcher variables, containers, process groups."""
