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


def random_events(n_recordings=6, seed=0, side=34):
    """Recordings of random events in the arrays of a file, with labels 0, 1, 2, 0, ..."""
    random = np.random.default_rng(seed)
    sizes = random.integers(200, 400, n_recordings)
    n = int(sizes.sum())
    return {
        "x": random.integers(0, side, n),
        "y": random.integers(0, side, n),
        "p": random.integers(0, 2, n),
        "t_us": random.integers(0, 300_000, n),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "label": np.arange(n_recordings) % 3,
    }


def each(events):
    """The events of each recording, as a structured array like those of tonic."""
    kind = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    for first, stop in zip(events["offsets"], events["offsets"][1:], strict=False):
        recording = np.empty(stop - first, kind)
        for field, key in zip("xytp", ("x", "y", "t_us", "p"), strict=True):
            recording[field] = events[key][first:stop]
        yield recording


def nmnist_bytes(recording):
    """A structured array in the format of N-MNIST: 5 bytes an event, the first bit first."""
    word = (
        recording["x"] << 32 | recording["y"] << 24 | recording["p"] << 23 | recording["t"]
    ).astype(">u8")
    return word.view(np.uint8).reshape(-1, 8)[:, 3:].tobytes()


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
