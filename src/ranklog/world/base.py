"""Documented import path of the ports for custom strategies, which are defined in `ranklog.abc`."""

from ranklog.abc import Strategy, World

__all__ = ["Strategy", "World"]
