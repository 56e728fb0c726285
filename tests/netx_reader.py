"""Runs a netx file by lava-dl's own reader: ``python netx_reader.py FOLDER IN.npz OUT.npz``.

Several folders, each with its IN and OUT, may follow each other.

Made for an environment with lava-nc 0.10.0 and lava-dl 0.6.0, with or without torch: what only
training needs is stubbed. IN holds ``messages`` (N, T, *input shape), a window after the other; OUT
gets ``spikes/LAYER`` (N, T, *shape) in the compiler's order of axes and, for the last layer,
``potential`` (*shape) after the first window.
"""

import json
import os
import sys
import types
from pathlib import Path

import numpy as np


def stub(name, *, package=True, **members):
    module = types.ModuleType(name)
    module.__file__ = os.path.join(os.getcwd(), "stub.py")  # Lava asks where siblings are
    if package:
        module.__path__ = []
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules[name] = module


stub("lava.lib.dl.slayer")
stub("lava.lib.dl.slayer.neuron")
stub("lava.lib.dl.slayer.neuron.rf", neuron_params=lambda *a, **k: {})
stub("lava.lib.dl.netx.sequential_modules", package=False)

from lava.lib.dl.netx import hdf5  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.proc.io.sink import RingBuffer as Sink  # noqa: E402
from lava.proc.io.source import RingBuffer as Source  # noqa: E402


def run(folder, messages, n_windows):
    """Spikes of every layer in every step, (*shape in netx's order, steps), and the last v."""
    said = json.loads((folder / "network.json").read_text())
    net = hdf5.Network(str(folder / said["file"]), **said["arguments"])
    n_steps = messages.shape[1]
    rows = messages[:n_windows].reshape(n_windows * n_steps, *messages.shape[2:])
    if said["input"]["flattened"]:
        data = rows.reshape(len(rows), -1).T
    else:
        data = rows.T  # (width, height, channel, step)
    steps = len(rows) + said["latency"]
    source = Source(data=np.pad(data, [*[(0, 0)] * (data.ndim - 1), (0, said["latency"])]))
    source.s_out.connect(net.inp)
    sinks = []
    for layer in net.layers:
        sinks.append(Sink(shape=layer.out.shape, buffer=steps))
        layer.out.connect(sinks[-1].a_in)
    try:
        net.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        spikes = [sink.data.get().astype(int) for sink in sinks]
        v = net.layers[-1].neuron.v.get().astype(int)
    finally:
        net.stop()
    return said, spikes, v


def main():
    files = sys.argv[1:]
    for folder, given, wanted in zip(files[::3], files[1::3], files[2::3], strict=True):
        one(Path(folder), given, wanted)
    print("torch" in sys.modules)


def one(folder, given, wanted):
    messages = np.load(given)["messages"].astype(int)
    n, n_steps = messages.shape[:2]
    said, spikes, _ = run(folder, messages, n)
    arrays = {}
    for depth, (name, data) in enumerate(zip(said["layers"], spikes, strict=True), start=1):
        own = np.moveaxis(data, -1, 0)[depth : depth + n * n_steps]
        own = own.transpose(0, *range(own.ndim - 1, 0, -1))
        arrays[f"spikes/{name}"] = own.reshape(n, n_steps, *own.shape[1:])
    # The last layer is read where its first window ends: a run of that length.
    _, _, v = run(folder, messages, 1)
    np.savez(wanted, potential=(v >> 6).T, **arrays)


if __name__ == "__main__":
    main()
