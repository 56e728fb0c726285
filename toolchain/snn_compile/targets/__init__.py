"""Capacities of chips, each figure with its source."""

from snn_compile.targets.figures import FigureEntry, figure_entries
from snn_compile.targets.load import available, content_hash, load_target
from snn_compile.targets.target import Confidence, Constant, Figure, Target, Times

__all__ = [
    "Confidence",
    "Constant",
    "Figure",
    "FigureEntry",
    "Target",
    "Times",
    "available",
    "content_hash",
    "figure_entries",
    "load_target",
]
