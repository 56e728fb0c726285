"""Third-party emulators of Loihi as devices: nengo-loihi and brian2-loihi."""

from snn_backends.oracles.device import Brian2LoihiDevice, NengoLoihiDevice

__all__ = ["Brian2LoihiDevice", "NengoLoihiDevice"]
