"""Recorded events: parts of N-MNIST (Orchard et al. 2015), and a network that takes them."""

from __future__ import annotations

import numpy as np


def nmnist(shared_data, first, last, path=None):
    """Recordings from ``first`` up to ``last`` of the shared 200; written to ``path`` if given."""
    with np.load(shared_data / "data" / "nmnist_train_0_199.npz") as file:
        events = {key: file[key] for key in file.files}
    offsets = events["offsets"]
    begin, end = offsets[first], offsets[last]
    some = {key: events[key][begin:end] for key in ("x", "y", "p", "t_us")}
    some |= {"offsets": offsets[first : last + 1] - begin, "label": events["label"][first:last]}
    if path is not None:
        np.savez(path, **some)
    return some


def classifier(path, n_maps=3):
    """A NIR file: a convolution with stride 4 and a dense layer, for 34 x 34 pixels, untrained."""
    import nir

    import nir_graphs as graphs

    graph = graphs.chain(
        graphs.port(nir.Input, 2, 34, 34),
        graphs.conv2d((34, 34), 2, n_maps, kernel=(4, 4), stride=(4, 4)),
        graphs.integrate(n_maps, 8, 8),
        graphs.flatten(n_maps, 8, 8),
        graphs.dense(64 * n_maps, 10),
        graphs.integrate(10),
        graphs.port(nir.Output, 10),
    )
    nir.write(str(path), graph)
    return path


READING = {"nir_producer": "other", "nir_reset": "zero", "timesteps": 20}
"""How ``classifier`` is to be read."""
