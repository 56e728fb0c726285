"""Networks as other libraries train and write them: ``python nir_producers.py FOLDER [NAME ...]``.

Made for an environment that has torch, nir, nirtorch, norse, rockpool, sinabs, spikingjelly and
snntorch; nothing of this project is imported. For each network FOLDER gets ``NAME.nir`` and
``NAME.npz`` with ``x`` (N, T, *input shape), spikes, and ``spikes`` (N, T, *output shape), what the
library itself makes of them. The fixture in ``tests/fixtures`` was made by this script.
"""

import contextlib
import io
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)


def full(n, value):
    return torch.full((n,), float(value))


def trains(n, n_steps, shape, rate=0.3):
    return (torch.rand(n, n_steps, *shape) < rate).float()


def linear(n_in, n_out, gain=2.5):
    layer = torch.nn.Linear(n_in, n_out)
    with torch.no_grad():
        layer.weight.mul_(gain)
    return layer


# snnTorch: parameters must be vectors, and a sample without its batch axis states the shapes.


def snn_fresh(net):
    for layer in net:
        for state in ("mem", "syn"):
            if hasattr(layer, state):
                setattr(layer, state, torch.zeros(0))


def snn_run(net, x):
    found = []
    for sample in x:
        snn_fresh(net)
        found.append(torch.stack([net(step[None])[0] for step in sample]))
    return torch.stack(found)


def snn_graph(net, x):
    from snntorch.export_nir import export_to_nir

    return export_to_nir(net, x[:1, 0], ignore_dims=[0])


def leaky(n, **options):
    import snntorch as snn

    given = {"beta": 0.9, **options}
    return snn.Leaky(
        **{**given, "beta": full(n, given["beta"])}, threshold=full(n, 1.0), init_hidden=True
    )


def synaptic(n, **options):
    import snntorch as snn

    return snn.Synaptic(
        alpha=full(n, 0.8), beta=full(n, 0.9), threshold=full(n, 1.0), init_hidden=True, **options
    )


def snn_dense(neuron, **options):
    net = torch.nn.Sequential(
        linear(20, 16), neuron(16, **options), linear(16, 8), neuron(8, **options)
    )
    x = trains(12, 40, (20,))
    return net, x, snn_run, snn_graph


def snn_recurrent():
    import snntorch as snn

    neurons = snn.RLeaky(
        beta=full(8, 0.9), V=full(8, 0.3), all_to_all=False, threshold=full(8, 1), init_hidden=True
    )
    return torch.nn.Sequential(linear(20, 8), neurons), trains(4, 20, (20,)), snn_run, snn_graph


def snn_tiny():
    net = torch.nn.Sequential(linear(8, 6), leaky(6))
    return net, trains(10, 24, (8,)), snn_run, snn_graph


def snn_conv():
    import snntorch as snn

    def maps(*shape):
        one = torch.full(shape, 1.0)
        return snn.Leaky(beta=0.9 * one, threshold=one, init_hidden=True)

    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        maps(4, 8, 8),
        torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(4, 6, 3, bias=False),
        maps(6, 2, 2),
        torch.nn.Flatten(),
        linear(24, 5),
        leaky(5),
    )
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.mul_(4)
    return net, trains(6, 30, (2, 8, 8)), snn_run, snn_graph


# Norse: a sample without a batch axis; states are handed on.


def norse_run(net, x):
    found = []
    for sample in x:
        state, steps = None, []
        for step in sample:
            y, state = net(step[None], state)
            steps.append(y[0])
        found.append(torch.stack(steps))
    return torch.stack(found)


def norse_graph(net, x):
    import norse.torch as nt

    return nt.to_nir(net, x[0, 0])


def norse_dense(make, gain):
    from norse.torch.module.sequential import SequentialState

    net = SequentialState(linear(20, 16, gain), make(16), linear(16, 8, gain), make(8))
    return net, trains(12, 40, (20,)), norse_run, norse_graph


def norse_if(n):
    import norse.torch as nt
    from norse.torch.module.iaf import IAFCell

    return IAFCell(nt.IAFParameters(v_th=full(n, 1)))


def norse_box(n):
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.lif_box import LIFBoxCell

    zero = full(n, 0)
    return LIFBoxCell(
        LIFBoxParameters(tau_mem_inv=full(n, 100), v_th=full(n, 0.1), v_leak=zero, v_reset=zero)
    )


def norse_current():
    import norse.torch as nt
    from norse.torch.module.lif import LIFCell
    from norse.torch.module.sequential import SequentialState

    n, zero = 16, full(16, 0)
    taus = {"tau_syn_inv": full(n, 200), "tau_mem_inv": full(n, 100)}
    parameters = nt.LIFParameters(**taus, v_leak=zero, v_th=full(n, 0.1), v_reset=zero)
    net = SequentialState(linear(20, n), LIFCell(parameters))
    return net, trains(12, 40, (20,)), norse_run, norse_graph


# sinabs: batch and time share an axis; by itself it sends several spikes in a step.


def sinabs_run(net, x):
    found = []
    for sample in x:
        for layer in net:
            if hasattr(layer, "reset_states"):
                layer.reset_states()
        found.append(net(sample))
    return torch.stack(found)


def sinabs_graph(net, x):
    import sinabs.nir

    graph = sinabs.nir.to_nir(net, x[:1, 0])
    graph.infer_types()  # without, nir cannot write a Flatten, whose types are None
    return graph


def sinabs_dense(kind, **options):
    import sinabs.activation as activation
    import sinabs.layers as layers

    def neurons(n):
        given = {k: full(n, v) if k == "tau_mem" else v for k, v in options.items()}
        return getattr(layers, kind)(
            batch_size=1,
            spike_threshold=full(n, 1),
            spike_fn=activation.SingleSpike,
            min_v_mem=None,
            **given,
        )

    net = torch.nn.Sequential(linear(20, 16), neurons(16), linear(16, 8), neurons(8))
    return net, trains(12, 40, (20,)), sinabs_run, sinabs_graph


def sinabs_conv():
    import sinabs.activation as activation
    import sinabs.layers as layers

    def neurons():
        return layers.IAFSqueeze(batch_size=1, spike_fn=activation.SingleSpike, min_v_mem=None)

    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1, bias=False),
        neurons(),
        layers.SumPool2d(2),
        torch.nn.Conv2d(4, 6, 3),
        neurons(),
        torch.nn.Flatten(),
        linear(24, 5),
        neurons(),
    )
    with torch.no_grad():
        net[0].weight.mul_(4)
    return net, trains(6, 30, (2, 8, 8)), sinabs_run, sinabs_graph


# Rockpool: batch, time, vector; several spikes in a step, unless told otherwise.


def rockpool_run(net, x):
    found = []
    for sample in x:
        net.reset_state()
        y, _, _ = net(sample[None])
        found.append(y[0])
    return torch.stack(found)


def rockpool_graph(net, x):
    from rockpool.nn.modules.torch.nir import to_nir

    return to_nir(net, x[:1])


def rockpool_dense(kind, gain=2.5, **options):
    from rockpool.nn import modules
    from rockpool.nn.combinators import Sequential

    def dense(n_in, n_out):
        made = modules.LinearTorch((n_in, n_out), has_bias=True)
        made.weight.data *= gain
        return made

    def neurons(n):
        return getattr(modules, kind)(
            n,
            threshold=full(n, 1),
            dt=1e-3,
            max_spikes_per_dt=torch.tensor(1.0),
            **{key: full(n, value) for key, value in options.items()},
        )

    net = Sequential(dense(20, 16), neurons(16), dense(16, 8), neurons(8))
    return net, trains(12, 40, (20,)), rockpool_run, rockpool_graph


# spikingjelly: a batch axis in the sample; a reset between samples.


def sj_run(net, x):
    from spikingjelly.activation_based import functional

    found = []
    for sample in x:
        functional.reset_net(net)
        found.append(torch.stack([net(step[None])[0] for step in sample]))
    return torch.stack(found)


def sj_graph(net, x):
    from spikingjelly.activation_based import functional, nir_exchange

    graph = nir_exchange.export_to_nir(net, x[:1, 0])
    functional.reset_net(net)
    return graph


def sj_dense(make, gain):
    from spikingjelly.activation_based import layer

    def dense(n_in, n_out):
        made = layer.Linear(n_in, n_out)
        with torch.no_grad():
            made.weight.mul_(gain)
        return made

    net = torch.nn.Sequential(dense(20, 16), make(), dense(16, 8), make())
    return net, trains(12, 40, (20,)), sj_run, sj_graph


def sj_neuron(kind, **options):
    from spikingjelly.activation_based import neuron

    return lambda: getattr(neuron, kind)(v_reset=0.0, **options)


NETWORKS = {
    "snntorch_subtract": lambda: snn_dense(leaky),
    "snntorch_zero": lambda: snn_dense(leaky, reset_mechanism="zero"),
    "snntorch_if": lambda: snn_dense(leaky, beta=1.0),
    "snntorch_if_zero": lambda: snn_dense(leaky, beta=1.0, reset_mechanism="zero"),
    "snntorch_synaptic": lambda: snn_dense(synaptic),
    "snntorch_synaptic_zero": lambda: snn_dense(
        synaptic, reset_mechanism="zero", reset_delay=False
    ),
    "snntorch_conv": snn_conv,
    "snntorch_tiny": snn_tiny,
    "snntorch_recurrent": snn_recurrent,
    "norse_if": lambda: norse_dense(norse_if, 2.5),
    "norse_box": lambda: norse_dense(norse_box, 6.0),
    "norse_current": norse_current,
    "sinabs_if": lambda: sinabs_dense("IAFSqueeze"),
    "sinabs_lif": lambda: sinabs_dense("LIFSqueeze", tau_mem=10.0, norm_input=False),
    "sinabs_conv": sinabs_conv,
    "rockpool_lif": lambda: rockpool_dense("LIFNeuronTorch", tau_mem=0.02),
    "rockpool_current": lambda: rockpool_dense("LIFTorch", 1.2, tau_mem=0.02, tau_syn=0.01),
    "spikingjelly_if": lambda: sj_dense(sj_neuron("IFNode"), 2.5),
    "spikingjelly_lif": lambda: sj_dense(sj_neuron("LIFNode", tau=8.0, v_threshold=0.2), 4.0),
    "spikingjelly_lif_sum": lambda: sj_dense(sj_neuron("LIFNode", tau=8.0, decay_input=False), 2.5),
}


def main():
    import nir

    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(NETWORKS)
    torch.set_num_threads(1)
    for name in names:
        torch.manual_seed(sum(name.encode()))
        net, x, run, graph = NETWORKS[name]()
        with torch.no_grad():
            spikes = run(net, x).numpy()
            with contextlib.redirect_stdout(io.StringIO()):
                made = graph(net, x)
        # Compression makes small arrays larger.
        nir.write(str(folder / f"{name}.nir"), made, compression=None)
        np.savez_compressed(
            folder / f"{name}.npz", x=x.numpy().astype(np.int8), spikes=spikes.astype(np.int8)
        )


if __name__ == "__main__":
    main()
