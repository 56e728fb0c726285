"""Networks for tests of passes: one converted in every coding, and a pass that does as told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anns import INPUT, Net
from snn_compile import CompileOptions
from snn_compile.codings import coding_of
from snn_compile.convert.calibrate import calibrate
from snn_compile.ir import ann
from snn_compile.ir.expression import X, apply
from snn_compile.lowering import passes_at_bounds
from snn_compile.passes import PassResult
from snn_compile.pipeline.folding import folding_of
from snn_compile.samples.arrays import Samples

SETTINGS = {
    "graded": {"coding": "graded"},
    "sigma-delta": {"coding": "sigma-delta", "bias_correction": False},
    "sync": {"coding": "sync", "timesteps": 4, "rounding": "nearest"},
    "radix": {"coding": "radix", "timesteps": 4},
    "signed": {"coding": "signed", "timesteps": 6},
    "rate": {"coding": "rate", "timesteps": 6, "input": "poisson"},
    "zero": {"coding": "rate", "timesteps": 6, "reset": "zero"},
    "stock": {"coding": "rate", "timesteps": 6, "reset": "zero", "neurons": "stock"},
}


def converted(network, settings):
    """A folded network, some samples, and the passes that put it in fixed point."""
    options = CompileOptions(**settings)
    coding = coding_of(options, "graded")
    folded = folding_of(network, coding)(network).graph
    x = np.random.default_rng(0).normal(size=(20, *folded.input.shape))
    return folded, x, passes_at_bounds(folded, calibrate(folded, x), options, coding, Samples(x))


@dataclass(frozen=True)
class Broken:
    """A pass that does what it is given."""

    does: object
    name = "broken"

    def __call__(self, graph, /):
        return PassResult(self.does(graph))


def shrunk():
    """A function that is a sum of rectifiers."""
    net = Net((3, 4, 6))
    layer = net.conv(INPUT, 2)
    shrink = net.add(ann.Function, (layer,), net.shape(layer), expression=apply("abs", X))
    net.dense(net.flatten(shrink), 3)
    return net.build()
