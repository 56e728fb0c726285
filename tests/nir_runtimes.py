"""Runs a NIR file on a runtime of its own: ``python nir_runtimes.py RUNTIME FILE IN.npz OUT.npz``.

Several files, each with its IN and OUT, may follow each other.

Made for an environment that has torch, nir, nirtorch, norse, rockpool, sinabs, spikingjelly and
snntorch; nothing of this project is imported. IN holds ``messages`` (N, T, *input shape); OUT gets
``outputs`` (N, T, *output shape), what reaches the output node in each step, or ``error``, why the
file was refused; then the exit code is 1.

Norse and spikingjelly read a file as it is and know a reset to zero only. ``snntorch`` and
``sinabs`` are maps of nodes to their layers, written here: the import that ships with snnTorch
makes a leaky neuron of every IF, that of sinabs one that sends several spikes a step, subtracts and
is cut off below. These two are ``snntorch-stock`` and ``sinabs-stock``; ``rockpool`` is Rockpool's
own. Subtraction and initial potentials come from the metadata.
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


def reset_of(path):
    import nir

    reset = nir.read(path).metadata["reset"]
    return reset.decode() if isinstance(reset, bytes) else reset


def start_of(node):
    import torch

    start = (node.metadata or {}).get("initial_potential", np.zeros_like(node.v_threshold))
    return torch.from_numpy(np.asarray(start, np.float32))[None]


def matrix(node):
    import torch

    biased = hasattr(node, "bias")
    layer = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0], bias=biased)
    layer.weight.data = torch.from_numpy(node.weight)
    if biased:
        layer.bias.data = torch.from_numpy(node.bias)
    return layer


def flatten(node):
    import torch

    first, last = (axis + 1 if axis >= 0 else axis for axis in (node.start_dim, node.end_dim))
    return torch.nn.Flatten(int(first), int(last))


def sinabs(path):
    import nir
    import nirtorch
    import sinabs.activation as activation
    import sinabs.layers as layers
    import torch
    from sinabs.nir import _import_sinabs_module as stock

    resets = {"zero": activation.MembraneReset, "subtract": activation.MembraneSubtract}
    reset = resets[reset_of(path)]

    def neurons(node):
        layer = layers.IAFSqueeze(
            batch_size=1,
            spike_threshold=torch.from_numpy(node.v_threshold),
            spike_fn=activation.SingleSpike,
            reset_fn=reset(),
            min_v_mem=None,
        )
        layer.start = start_of(node)
        return layer

    shipped = {kind: lambda node: stock(node, 1, None) for kind in (nir.Affine, nir.Conv2d)}
    kinds = {**shipped, nir.Linear: matrix, nir.Flatten: flatten, nir.IF: neurons}

    def train(messages):
        module, state = nirtorch.nir_to_torch(path, kinds), None
        for layer in module.modules():
            if hasattr(layer, "start"):
                layer.init_state_with_shape(layer.start.shape)
                layer.v_mem.data = layer.start.clone()
        outputs = []
        for step in messages:
            y, state = module(torch.from_numpy(step)[None], state)
            outputs.append(np.asarray(y).ravel())
        return outputs

    return train


def sinabs_stock(path):
    import nir
    from sinabs.nir import from_nir

    return stateful(lambda: from_nir(nir.read(path), batch_size=1))


def rockpool(path):
    import nir
    from rockpool.nn.modules.torch.nir import from_nir

    return stateful(lambda: from_nir(nir.read(path)))


def snntorch_stock(path):
    import nir
    from snntorch.import_nir import import_from_nir

    return stateful(lambda: import_from_nir(nir.read(path)))


def snntorch(path):
    import nir
    import nirtorch
    import snntorch as snn
    import torch
    from snntorch.import_nir import _nir_to_snntorch_module as stock

    reset = reset_of(path)

    def neurons(node):
        layer = snn.Leaky(
            beta=1.0,
            threshold=torch.from_numpy(node.v_threshold),
            reset_mechanism=reset,
            init_hidden=True,
        )
        layer.start = start_of(node)
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
            answer = module(torch.from_numpy(step)[None], *(() if state is None else (state,)))
            y, state = answer if isinstance(answer, tuple) else (answer, None)
            outputs.append(y.detach().numpy().ravel())  # Norse flattens the batch, too
        return outputs

    return train


def main():
    import torch

    runtime, *files = sys.argv[1:]
    torch.set_num_threads(1)
    makers = (norse, rockpool, sinabs, sinabs_stock, snntorch, snntorch_stock, spikingjelly)
    make = {each.__name__.replace("_", "-"): each for each in makers}[runtime]
    refused = False
    with torch.no_grad():
        for path, given, wanted in zip(files[::3], files[1::3], files[2::3], strict=True):
            messages = np.load(given)["messages"].astype(np.float32)
            try:
                train = make(path)
                np.savez(wanted, outputs=np.array([train(one) for one in messages]))
            except Exception as error:  # noqa: BLE001  (libraries refuse in ways of their own)
                text = f"{type(error).__name__}: {error}"
                np.savez(wanted, error=text)
                print(text, file=sys.stderr)
                refused = True
    sys.exit(refused)


if __name__ == "__main__":
    main()
