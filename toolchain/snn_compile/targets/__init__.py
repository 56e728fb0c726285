"""What a chip can hold, with the source of every figure beside it."""

from snn_compile.targets.load import available, content_hash, load_target
from snn_compile.targets.target import Confidence, Energy, Figure, Target

__all__ = ["Confidence", "Energy", "Figure", "Target", "available", "content_hash", "load_target"]
