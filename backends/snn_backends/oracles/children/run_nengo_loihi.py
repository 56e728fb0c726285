"""Run a network on nengo-loihi's emulator, without nengo: its blocks are filled with integers.

python run_nengo_loihi.py FOLDER OUT.npz      (nengo-loihi 1.1.0, numpy < 2)
"""

import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

from types import SimpleNamespace

import numpy as np
from nengo_loihi.block import Axon, LoihiBlock, Synapse
from nengo_loihi.emulator import EmulatorInterface
from nengo_loihi.inputs import SpikeInput

sys.path.insert(0, str(Path(__file__).parent))  # an isolated interpreter does not look there
from read_network import main


def make_block(layer):
    """The neurons of a layer."""
    n = layer["size"]
    block = LoihiBlock(n)
    neurons = block.compartment
    neurons.decay_u = np.full(n, layer["du"], np.int32)  # the emulator adds the 1 that Loihi adds
    neurons.decay_v = np.full(n, layer["dv"], np.int32)
    neurons.scale_u = neurons.scale_v = False
    neurons.vth = (layer["threshold"] << 6).astype(np.int32)
    neurons.bias = layer["bias"].astype(np.int32)
    neurons.refract_delay = np.ones(n, np.int32)  # none
    neurons.vmin, neurons.vmax = 1 - (1 << 23), (1 << 23) - 1
    neurons.noise_exp = 0
    return block


def make_synapse(group, n_sources):
    """The synapses of a group; each weight has its exponent before anything is summed."""
    e = group["exponent"]
    weight = group["weight"].astype(np.int64)
    weight = (weight << e if e >= 0 else weight >> -e) << 6
    ends = np.searchsorted(group["pre"], np.arange(n_sources + 1))
    pieces = [slice(ends[i], ends[i + 1]) for i in range(n_sources)]
    synapse = Synapse(n_sources)
    synapse._set_weights_indices(
        [weight[piece].astype(np.int32) for piece in pieces],
        [group["post"][piece].astype(np.int32) for piece in pieces],
        weight_dtype=np.int32,
    )
    synapse.format(weight_exp=0)
    return synapse


def run(network):
    """What each layer did in every row: spikes, of a readout its potential."""
    blocks = [make_block(layer) for layer in network.layers]
    inputs = []
    for group in network.groups:
        from_input = group["source"] < 0
        n = network.spikes.shape[1] if from_input else network.layers[group["source"]]["size"]
        synapse = make_synapse(group, n)
        blocks[group["target"]].add_synapse(synapse)
        axon = Axon(n)
        axon.target = synapse
        if from_input:
            source = SpikeInput(n)
            source.add_axon(axon)
            inputs.append(source)
            for row, spikes in enumerate(network.spikes):  # steps count from 1
                source.add_spikes(1 + row + network.input_delay(group), np.flatnonzero(spikes))
        else:
            blocks[group["source"]].add_axon(axon)
    model = SimpleNamespace(blocks=blocks, inputs=inputs, probes=[], dt=0.001)
    recorded = [np.zeros((network.n_rows, layer["size"]), np.int32) for layer in network.layers]
    with EmulatorInterface(model, seed=0) as emulator:
        state = emulator.compartment
        places = [emulator.block_info.slices[block] for block in blocks]
        for row in range(network.n_rows):
            for layer, place in zip(network.layers, places):
                if network.starts(layer, row):
                    state.current[place] = 0
                    state.voltage[place] = 0
            emulator.step()
            for layer, place, trace in zip(network.layers, places, recorded):
                trace[row] = state.voltage[place] >> 6 if layer["readout"] else state.spiked[place]
    return recorded


if __name__ == "__main__":
    main(run)
