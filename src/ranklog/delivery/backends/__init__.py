"""Documented import path for packages that provide a backend."""
