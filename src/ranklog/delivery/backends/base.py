"""Documented import path of the port for custom backends, which is defined in `ranklog.backends.base`."""

from ranklog.backends.base import Backend, Refused, RunContext

__all__ = ["Backend", "Refused", "RunContext"]
