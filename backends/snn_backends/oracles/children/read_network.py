"""What the emulators are given: a network of Loihi's own neurons, and its input spikes.

Needs numpy alone. A row is a step of the emulator's clock, from 0. Layer d (its ``depth``) handles step t
of stimulus n in row ``n * n_steps + t + d``: the state of its neurons is set to zero before row
``n * n_steps + d``.
"""

import json
import sys
from pathlib import Path

import numpy as np


class Network:
    """A network, read from a folder with ``network.json`` and ``arrays.npz``.

    Attributes:
        layers: dictionaries with ``name``, ``size``, ``depth``, ``du``, ``dv``, ``readout``; arrays
            ``threshold`` (units of the weight) and ``bias`` (2**-6 of that), one value a neuron.
        groups: dictionaries with ``source`` (index of a layer, -1 for the input), ``target``,
            ``exponent``; arrays ``pre``, ``post``, ``weight``, one value a synapse, sorted by ``pre``.
        spikes: (rows, inputs) of the input, 0 or 1, in the rows in which it sends them.
        n_steps, n_stimuli: of a window, and windows.
    """

    def __init__(self, folder):
        facts = json.loads((folder / "network.json").read_text())
        with np.load(folder / "arrays.npz", allow_pickle=False) as file:
            arrays = dict(file)
        self.n_steps, self.n_stimuli = facts["n_steps"], facts["n_stimuli"]
        self.layers, self.groups = facts["layers"], facts["groups"]
        for kind, entries in (("layer", self.layers), ("group", self.groups)):
            for index, entry in enumerate(entries):
                prefix = f"{kind}{index}."
                found = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
                entry.update(found)
        self.spikes = arrays["spikes"]

    @property
    def n_rows(self):
        """Rows until every layer has had every window."""
        return self.n_stimuli * self.n_steps + max(layer["depth"] for layer in self.layers)

    def starts(self, layer, row):
        """Whether a window of a layer starts in a row."""
        return row >= layer["depth"] and (row - layer["depth"]) % self.n_steps == 0

    def input_delay(self, group):
        """Rows that the input is held back for a group, so that it arrives with the target's window."""
        return self.layers[group["target"]]["depth"] - 1

    def save(self, path, recorded):
        """Write what each layer did in its own windows: (rows, size) for every row of the run."""
        arrays = {}
        for index, layer in enumerate(self.layers):
            first, n = layer["depth"], self.n_stimuli * self.n_steps
            arrays[f"layer{index}"] = recorded[index][first : first + n].astype(np.int32)
        np.savez(path, **arrays)


def main(run):
    """Run the network of the folder that the command line names, and save what it did."""
    network = Network(Path(sys.argv[1]))
    network.save(sys.argv[2], run(network))
