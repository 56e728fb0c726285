"""Runs a NIR file on a runtime of its own: ``python nir_runtimes.py RUNTIME FILE IN.npz OUT.npz``.

Several files, each with its IN and OUT, may follow each other.

Made for an environment that has torch, nir, nirtorch, norse, spikingjelly and snntorch; nothing of
this project is imported. IN holds ``messages`` (N, T, *input shape); OUT gets ``outputs``
(N, T, *output shape), what reaches the output node in each step.

Norse and spikingjelly read a file as it is and know a reset to zero only. snnTorch needs a map of
its own: its stock import makes a leaky neuron of every IF. Subtraction and initial potentials come
from the metadata.
"""

import logging
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)


def norse(path):
    import nir
    import norse.torch as nt

    graph = nir.read(path)
    return stateful(lambda: nt.from_nir(graph, dt=1e-3))


def spikingjelly(path):
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return stateful(lambda: import_from_nir(path, dt=1.0))


def snntorch(path):
    import nir
    import nirtorch
    import snntorch as snn
    import torch
    from snntorch.import_nir import _nir_to_snntorch_module as stock

    reset = nir.read(path).metadata["reset"]
    reset = reset.decode() if isinstance(reset, bytes) else reset

    def matrix(node):
        layer = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0], bias=False)
        layer.weight.data = torch.from_numpy(node.weight)
        return layer

    def flatten(node):
        first, last = (axis + 1 if axis >= 0 else axis for axis in (node.start_dim, node.end_dim))
        return torch.nn.Flatten(int(first), int(last))

    def neurons(node):
        layer = snn.Leaky(
            beta=1.0,
            threshold=torch.from_numpy(node.v_threshold),
            reset_mechanism=reset,
            init_hidden=True,
        )
        start = (node.metadata or {}).get("initial_potential", np.zeros_like(node.v_threshold))
        layer.start = torch.from_numpy(np.asarray(start, np.float32))[None]
        return layer

    layers = {
        nir.Affine: lambda node: stock(node, init_hidden=True),
        nir.Conv2d: lambda node: stock(node, init_hidden=True),
        nir.Linear: matrix,
        nir.Flatten: flatten,
        nir.IF: neurons,
    }

    def train(messages):
        module, state = nirtorch.nir_to_torch(path, layers), None
        for layer in module.modules():
            if hasattr(layer, "start"):
                layer.mem = layer.start
        outputs = []
        for step in messages:
            y, state = module(torch.from_numpy(step)[None], state)
            outputs.append(np.asarray(y).ravel())
        return outputs

    return train


def stateful(make):
    """A train of messages, one at a time: the state must be handed back."""
    import torch

    def train(messages):
        module, state, outputs = make(), None, []
        for step in messages:
            y, state = module(torch.from_numpy(step)[None], state)
            outputs.append(y.detach().numpy().ravel())  # Norse flattens the batch, too
        return outputs

    return train


def main():
    import torch

    runtime, *files = sys.argv[1:]
    torch.set_num_threads(1)
    make = {"norse": norse, "spikingjelly": spikingjelly, "snntorch": snntorch}[runtime]
    with torch.no_grad():
        for path, given, wanted in zip(files[::3], files[1::3], files[2::3], strict=True):
            messages = np.load(given)["messages"].astype(np.float32)
            train = make(path)
            np.savez(wanted, outputs=np.array([train(one) for one in messages]))


if __name__ == "__main__":
    main()
