"""Measures what users ask to observe: gradients, graphs, node load, energy."""
