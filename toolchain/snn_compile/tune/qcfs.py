"""Training of the float network with quantized activations, before it is converted (QCFS)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from snn_compile.tune.float_network import FloatNetwork
from snn_compile.tune.method import Batch, Steps
from snn_compile.tune.options import TuneOptions
from snn_compile.tune.psg import classification


class QuantizedActivations:
    """Backpropagation through clip-floor-shift activations (Bu et al. 2022).

    Their number of levels is that of the coding, so that the network is trained for the rounding
    of the conversion, with trained thresholds. The effect of spike timing on a rate code is not
    modelled.
    """

    name: ClassVar[str] = "qcfs"
    optimizer: ClassVar[Steps] = torch.optim.Adam

    def __init__(self, network: FloatNetwork, options: TuneOptions) -> None:
        self.network, self.options = network, options

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The method has no parameters."""
        return {}

    def begin(self, epoch: int, batches: Iterable[Batch]) -> None:
        """No state by epoch."""

    def gradients(self, batch: Batch) -> float:
        """Backpropagate the loss of a batch."""
        logits = self.network(batch.messages).flatten(1)
        loss = classification(logits, batch, self.options.distill)
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        return float(loss.detach())

    def project(self) -> None:
        """Keep scales in their range."""
        self.network.confine()

    def facts(self) -> dict[str, Any]:
        """Nothing beyond the learning curve."""
        return {}
