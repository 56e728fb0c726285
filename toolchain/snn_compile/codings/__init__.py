"""Codings: how activations become spikes. One file and one class each."""

from snn_compile.codings.coding import Coding, Correction, coding_of

__all__ = ["Coding", "Correction", "coding_of"]
