"""Capacities of chips, each figure with its source."""

from snn_compile.targets.load import available, content_hash, load_target
from snn_compile.targets.stated import Stated, stated
from snn_compile.targets.target import Confidence, Energy, Figure, Target

__all__ = [
    "Confidence",
    "Energy",
    "Figure",
    "Stated",
    "Target",
    "available",
    "content_hash",
    "load_target",
    "stated",
]
