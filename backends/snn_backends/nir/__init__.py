"""NIR, the neuromorphic intermediate representation: the only backend that imports ``nir``."""

from snn_backends.nir.backend import NirBackend

__all__ = ["NirBackend"]
