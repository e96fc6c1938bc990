"""Reduce the values of all ranks: the maths, and the rounds in which ranks exchange values."""
