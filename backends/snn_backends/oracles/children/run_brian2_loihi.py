"""Run a network on brian2-loihi.

python run_brian2_loihi.py FOLDER OUT.npz      (brian2-loihi 0.5.2)

The package has no bias and one threshold a group: a class between its neurons and Brian's adds both to the
equations. Nothing else is changed.
"""

import sys
from pathlib import Path

import numpy as np
from brian2 import NetworkOperation, NeuronGroup, ms, prefs

prefs.codegen.target = "numpy"

from brian2_loihi import (
    LoihiNetwork,
    LoihiNeuronGroup,
    LoihiSpikeGeneratorGroup,
    LoihiSpikeMonitor,
    LoihiStateMonitor,
    LoihiSynapses,
    synapse_sign_mode,
)

sys.path.insert(0, str(Path(__file__).parent))  # an isolated interpreter does not look there
from read_network import main


class _WithBias(NeuronGroup):
    def __init__(self, N, model, **others):
        if "+ I/ms" not in model or not others["threshold"].startswith("v > "):
            raise RuntimeError("this brian2-loihi has other equations")
        model = model.replace("+ I/ms", "+ (I + bias)/ms") + "bias : 1\nhighest : 1\n"
        super().__init__(N, model, **{**others, "threshold": "v > highest"})


class Neurons(LoihiNeuronGroup, _WithBias):
    """LoihiNeuronGroup with a bias and a threshold for each neuron."""


def make_neurons(layer):
    """The neurons of a layer."""
    neurons = Neurons(
        layer["size"],
        refractory=1,  # none
        threshold_v_mant=int(layer["threshold"].max()),
        decay_v=layer["dv"],
        decay_I=layer["du"] + 1,  # Loihi adds 1, this package does not
    )
    neurons.bias = layer["bias"]
    neurons.highest = layer["threshold"] << 6
    return neurons


def make_synapses(group, source, target, delay):
    """The synapses of a group: mantissas on the grid of even numbers, the 1 back in the exponent."""
    synapses = LoihiSynapses(
        source,
        target,
        delay=delay,
        w_exp=group["exponent"] - 1,
        sign_mode=synapse_sign_mode.MIXED,
        num_weight_bits=8,
    )
    synapses.connect(i=group["pre"], j=group["post"])
    if not (np.array_equal(synapses.i, group["pre"]) and np.array_equal(synapses.j, group["post"])):
        raise RuntimeError("brian2 has sorted the synapses")
    synapses.w = 2 * group["weight"].astype(np.int64)
    return synapses


def run(network):
    """What each layer did in every row: spikes, of a readout its potential."""
    neurons = [make_neurons(layer) for layer in network.layers]
    rows, indices = np.nonzero(network.spikes)
    parts = []
    for group in network.groups:
        target = neurons[group["target"]]
        if group["source"] < 0:
            times = rows + network.input_delay(group)
            source = LoihiSpikeGeneratorGroup(network.spikes.shape[1], indices, times)
            parts += [source, make_synapses(group, source, target, 1)]
        else:
            parts.append(make_synapses(group, neurons[group["source"]], target, 0))
    row = [0]

    def reset():
        for layer, each in zip(network.layers, neurons):
            if network.starts(layer, row[0]):
                each.v, each.I = 0, 0
        row[0] += 1

    monitors = [
        LoihiStateMonitor(each, "v") if layer["readout"] else LoihiSpikeMonitor(each)
        for layer, each in zip(network.layers, neurons)
    ]
    operation = NetworkOperation(reset, when="start", dt=1 * ms)
    LoihiNetwork(*neurons, *parts, *monitors, operation).run(network.n_rows)
    recorded = []
    for layer, monitor in zip(network.layers, monitors):
        if layer["readout"]:
            recorded.append(np.asarray(monitor.v).T.astype(np.int64) >> 6)
        else:
            trace = np.zeros((network.n_rows, layer["size"]), np.int32)
            trace[np.asarray(monitor.t).astype(int), np.asarray(monitor.i)] = 1
            recorded.append(trace)
    return recorded


if __name__ == "__main__":
    main(run)
