"""NIR files of dense networks that end in spiking neurons, to be trained."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np

from nir_graphs import chain, port


def leaky(n, tau_mem, tau_syn):
    """Current-based leaky neurons; time constants in steps."""
    values = {"tau_syn": tau_syn, "tau_mem": tau_mem, "r": 1.0, "v_leak": 0.0}
    values |= {"v_threshold": 1.0, "v_reset": 0.0}
    return nir.CubaLIF(**{k: np.full(n, v) for k, v in values.items()}, w_in=np.full(n, 1.0))


def write_mlp(path, sizes, *, tau_mem=5.0, tau_syn=2.0, seed=0, gain=2.0, spiking_end=True):
    """Write layers with random weights; reset to zero, a step of one second."""
    random = np.random.default_rng(seed)
    nodes = [port(nir.Input, sizes[0])]
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        weight = random.normal(0, gain / np.sqrt(n_in), (n_out, n_in))
        nodes.append(nir.Affine(weight, np.zeros(n_out)))
        if spiking_end or index < len(sizes) - 2:
            nodes.append(leaky(n_out, tau_mem, tau_syn))
    nodes.append(port(nir.Output, sizes[-1]))
    nir.write(path, chain(*nodes, metadata={"producer": "other", "reset": "zero", "dt": 1.0}))
    return path
