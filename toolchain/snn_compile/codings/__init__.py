"""Codings: how activations become spikes. One file each; whoever asks about one asks its class."""

from snn_compile.codings.coding import Coding, Correction, coding_of

__all__ = ["Coding", "Correction", "coding_of"]
