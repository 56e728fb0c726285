"""NIR files that go between this compiler and other libraries, in both directions."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np

import networks
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import IFNeurons, QuantizedGraph, along_channels
from snn_compile.ir.spiking import InputCoding
from snn_compile.options import CompileOptions

HERE = Path(__file__).parent.parent
RUNTIMES, PRODUCERS = HERE / "nir_runtimes.py", HERE / "nir_producers.py"


def ran(python, script, *arguments):
    """A script in an interpreter that has the libraries, without this project."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [str(part) for part in (python, script, *arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=600, check=False
    )


def called(python, script, *arguments):
    done = ran(python, script, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]


# ----------------------------------------------------------------------------------------- export


def network(kind, seed, *, joined, one_threshold):
    """Padding, strides, groups, a kernel that is not square, dense layers, biases."""
    net = networks.Builder(seed, (2, 8, 7), n_steps=8, coding=InputCoding.CURRENT, low=-9, high=20)
    same, across = Geometry(padding=(1, 1, 1, 1)), Geometry(padding=(0, 1, 0, 1))
    first = net.neurons(kind, net.conv(networks.INPUT, 4, geometry=same))
    second = net.neurons(
        kind, net.conv(first, 4, (2, 2), geometry=Geometry(stride=(2, 2), groups=4))
    )
    arms = [net.conv(second, 3, (1, 3), geometry=across)]
    if joined:
        arms.append(net.conv(second, 3, (1, 1)))
    third = net.neurons(kind, *arms)
    fourth = net.neurons(kind, net.dense(third, 9), per_element_bias=True)
    net.neurons("readout", net.dense(fourth, 5))
    return alike(net.build(), one_threshold=one_threshold), net.frames(4)


def dense(kind, seed):
    """Dense layers alone, which need no Flatten, with one threshold each."""
    net = networks.Builder(seed, (12,), n_steps=8, coding=InputCoding.CURRENT, low=-9, high=20)
    hidden = net.neurons(kind, net.dense(networks.INPUT, 10))
    net.neurons("readout", net.dense(net.neurons(kind, net.dense(hidden, 9)), 5))
    return alike(net.build(), one_threshold=True), net.frames(6)


def alike(program, *, one_threshold):
    """The network with neurons that no runtime takes for others."""
    nodes = list(program.graph)
    if one_threshold:
        nodes = [with_one_threshold(n) if isinstance(n, IFNeurons) else n for n in nodes]
    nodes = [that_waits(node) if isinstance(node, IFNeurons) else node for node in nodes]
    return QuantizedGraph(Graph(nodes), program.window)


def that_waits(node):
    """Starts below its threshold: from above, snnTorch takes one off without having spiked."""
    most = along_channels(node.threshold.values, node.shape) - 1
    start = np.minimum(along_channels(node.initial_potential.values, node.shape), most)
    return replace(node, initial_potential=QTensor.of(start))


def with_one_threshold(node):
    values = node.threshold.values
    return replace(node, threshold=QTensor.of(np.full_like(values, int(np.median(values)))))


# ----------------------------------------------------------------------------------------- import

SUBTRACT = {
    *("snntorch_subtract", "snntorch_if", "snntorch_synaptic", "snntorch_conv"),
    *("sinabs_if", "sinabs_lif", "sinabs_conv", "rockpool_lif", "rockpool_current"),
}
DT = {"norse": 1e-3, "spikingjelly": 1e-4, "rockpool": 1e-3}
NAMES = (
    *("snntorch_subtract", "snntorch_zero", "snntorch_if", "snntorch_if_zero"),
    *("snntorch_synaptic", "snntorch_synaptic_zero", "snntorch_conv", "norse_if", "norse_box"),
    *("norse_current", "sinabs_if", "sinabs_lif", "sinabs_conv"),
    *("rockpool_lif", "rockpool_current"),
    *("spikingjelly_if", "spikingjelly_lif", "spikingjelly_lif_sum"),
)

REFUSED = ("snntorch_recurrent",)


def options_for(name, n_steps):
    """How a network that ``nir_producers`` wrote is to be read."""
    producer = name.split("_")[0]
    return CompileOptions(
        timesteps=n_steps,
        nir_producer=producer,
        nir_reset="subtract" if name in SUBTRACT else "zero",
        nir_reset_delay=name != "snntorch_synaptic_zero",
        nir_dt=DT.get(producer),
        emit=(),
    )
