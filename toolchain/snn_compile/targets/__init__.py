"""Capacities of chips, each figure with its source."""

from snn_compile.targets.load import available, content_hash, load_target
from snn_compile.targets.stated import Stated, stated
from snn_compile.targets.target import Confidence, Constant, Figure, Target, Times

__all__ = [
    "Confidence",
    "Constant",
    "Figure",
    "Stated",
    "Target",
    "Times",
    "available",
    "content_hash",
    "load_target",
    "stated",
]
