"""Intel's Lava (lava-nc 0.10.0): emission, the environment it runs in, verification bit for bit."""

from snn_backends.lava.backend import LavaBackend
from snn_backends.lava.environment import LavaEnvironment

__all__ = ["LavaBackend", "LavaEnvironment"]
