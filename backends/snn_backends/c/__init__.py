"""C99 without dependencies: for microcontrollers, and for anything else that has a compiler."""

from snn_backends.c.backend import CBackend

__all__ = ["CBackend"]
