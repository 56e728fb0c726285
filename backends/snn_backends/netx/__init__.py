"""lava-dl's netx: the only backend that writes ``.net`` files."""

from snn_backends.netx.backend import NetxBackend

__all__ = ["NetxBackend"]
