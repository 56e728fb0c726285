"""Networks that lava-dl has trained: ``.net`` files."""

from snn_frontends.lava_dl.frontend import LavaDlFrontend

__all__ = ["LavaDlFrontend"]
