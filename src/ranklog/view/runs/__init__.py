"""Runs in a directory: how programs open them, and their list."""
