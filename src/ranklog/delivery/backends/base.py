"""Documented import path of the port for custom backends, which is defined in `ranklog.abc`."""

from ranklog.abc import Backend, Refused, RunContext

__all__ = ["Backend", "Refused", "RunContext"]
