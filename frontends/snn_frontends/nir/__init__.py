"""The NIR frontend, for networks that were trained with spikes: the only one to import ``nir``."""

from snn_frontends.nir.frontend import NirFrontend

__all__ = ["NirFrontend"]
