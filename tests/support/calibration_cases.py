"""Small networks for calibrations in rate coding, quantized, with all that a calibration needs."""

from __future__ import annotations

import numpy as np

import anns
from anns import INPUT, Net
from quantized_cases import SAME, Quantized, mlp, residual
from snn_compile.codings.rate import Rate
from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.spiking import Reset
from snn_compile.sim import reference

N_STEPS = 12


def depthwise():
    net = Net((4, 6, 6))
    a = net.relu(net.conv(INPUT, 6, geometry=SAME))
    b = net.relu(net.conv(a, 6, geometry=Geometry(padding=(1, 1, 1, 1), groups=6)))
    net.dense(net.flatten(net.relu(net.conv(b, 8, (1, 1)))), 3)
    return net.build()


def pooled():
    """Unlike the one of ``quantized_cases``, with a rectifier behind the pool."""
    net = Net((2, 8, 8))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    net.dense(net.flatten(net.relu(net.conv(net.max_pool(a), 6, (2, 2)))), 4)
    return net.build()


NETWORKS = {build.__name__: build for build in (mlp, residual, depthwise, pooled)}


class Case(Quantized):
    """A quantized network in rate coding that is to be calibrated."""

    def __init__(self, network, reset=Reset.SUBTRACT, n_samples=200):
        x = np.random.default_rng(1).normal(size=(n_samples, *network.input.shape))
        coding = Rate(N_STEPS, reset, 0.5 if reset is Reset.SUBTRACT else 0.0)
        super().__init__(network, coding, 8, x=x)

    def layers(self):
        """The rectifiers that have neurons with a scale of their own."""
        return [n.id for n in self.folded.graph if isinstance(n, ann.Relu) and n.like is None]

    def errors(self, program):
        """Mean count of every neuron less the wanted one."""
        run = reference.run(program, self.encoding(self.x), record=True)
        values = anns.values(self.folded, self.x)
        found = {}
        for key in self.layers():
            counts = run.messages[key].sum(axis=1).mean(axis=0)
            wanted = values[key].mean(axis=-1).reshape(counts.shape)
            found[key] = counts - wanted * N_STEPS / self.scales[key][:, None, None]
        return found
