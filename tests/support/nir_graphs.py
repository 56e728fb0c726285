"""Small NIR graphs, and what they compute by NIR's equations: node by node, step by step."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np


def chain(*nodes, metadata=None):
    names = [f"n{i}" for i in range(len(nodes))]
    edges = list(pairwise(names))
    return nir.NIRGraph(
        dict(zip(names, nodes, strict=True)), edges, metadata=metadata or {}, type_check=False
    )


def port(kind, *shape):
    key = "input" if kind is nir.Input else "output"
    return kind(**{f"{key}_type": {key: np.array(shape)}})


def integrate(*shape, threshold=1.0, r=1.0, v_reset=0.0):
    return nir.IF(
        r=np.full(shape, r), v_threshold=np.full(shape, threshold), v_reset=np.full(shape, v_reset)
    )


def lif(*shape, tau=1e-2, r=1.0, v_leak=0.0, threshold=1.0):
    values = (tau, r, v_leak, threshold, 0.0)
    names = ("tau", "r", "v_leak", "v_threshold", "v_reset")
    return nir.LIF(**{k: np.full(shape, v) for k, v in zip(names, values, strict=True)})


def dense(n_in, n_out, seed=0):
    random = np.random.default_rng(seed)
    return nir.Affine(weight=random.normal(size=(n_out, n_in)), bias=random.normal(size=n_out) / 4)


def conv2d(size, n_in, n_out, kernel=(3, 3), stride=(1, 1), padding=(0, 0), **more):
    random, groups = np.random.default_rng(n_out), more.get("groups", 1)
    return nir.Conv2d(
        input_shape=size,
        weight=random.normal(size=(n_out, n_in // groups, *kernel)),
        stride=stride,
        padding=padding,
        dilation=more.get("dilation", (1, 1)),
        groups=groups,
        bias=random.normal(size=n_out) / 8,
    )


def pool(kind, size=2, stride=2):
    pair = np.array([size, size])
    return kind(kernel_size=pair, stride=np.array([stride, stride]), padding=np.array([0, 0]))


def flatten(*shape):
    return nir.Flatten(input_type={"input": np.array(shape)}, start_dim=0, end_dim=-1)


GRAPHS = {
    "dense": lambda: chain(
        port(nir.Input, 5),
        dense(5, 7),
        integrate(7),
        dense(7, 4, 1),
        lif(4, r=10.0),
        port(nir.Output, 4),
    ),
    "conv": lambda: chain(
        port(nir.Input, 2, 7, 6),
        nir.Scale(np.full((2, 7, 6), 2.0)),
        conv2d((7, 6), 2, 4, (3, 2), (2, 1), (1, 0)),
        integrate(4, 4, 5),
        conv2d((4, 5), 4, 4, (2, 2), dilation=(1, 2), groups=2),
        lif(4, 3, 3, r=10.0),
        pool(nir.AvgPool2d),
        flatten(4, 1, 1),
        dense(4, 3),
        integrate(3, threshold=0.05),
        port(nir.Output, 3),
    ),
    "sum pool": lambda: chain(
        port(nir.Input, 2, 6, 6),
        pool(nir.SumPool2d, 3, 1),
        conv2d((4, 4), 2, 3),
        integrate(3, 2, 2, threshold=2.0),
        flatten(3, 2, 2),
        dense(12, 4),
        port(nir.Output, 4),
    ),
    "conv1d": lambda: chain(
        port(nir.Input, 2, 9),
        nir.Conv1d(
            input_shape=9,
            weight=np.random.default_rng(1).normal(size=(3, 2, 3)),
            stride=2,
            padding=1,
            dilation=1,
            groups=1,
            bias=np.zeros(3),
        ),
        integrate(3, 5),
        flatten(3, 5),
        dense(15, 4),
        integrate(4),
        port(nir.Output, 4),
    ),
    "scale": lambda: chain(
        port(nir.Input, 4),
        nir.Scale(np.array([0.5, 1.5, -2.0, 1.0])),
        dense(4, 6),
        lif(6, r=4.0),
        nir.Linear(np.random.default_rng(2).normal(size=(3, 6))),
        port(nir.Output, 3),
    ),
    "bare": lambda: chain(port(nir.Input, 6), integrate(6, threshold=1.5), port(nir.Output, 6)),
}


def plain(graph, x):
    """Spike counts of a graph with IF and LIF neurons, dt 1e-3, reset to zero, node by node."""
    states, total = {}, 0
    for step in x:
        values = {}
        for name, node in graph.nodes.items():
            sources = [values[a] for a, b in graph.edges if b == name]
            values[name] = step if not sources else answer(node, name, sum(sources), states)
        total = total + values[list(graph.nodes)[-1]]
    return total


def answer(node, name, x, states):
    if isinstance(node, nir.IF | nir.LIF):
        kept = 1.0 if isinstance(node, nir.IF) else 1 - 1e-3 / node.tau
        share = 1.0 if isinstance(node, nir.IF) else node.r * 1e-3 / node.tau
        v = kept * states.get(name, 0) + share * x
        fired = v > node.v_threshold
        states[name] = np.where(fired, 0, v)
        return fired.astype(float)
    if isinstance(node, nir.Affine | nir.Linear):
        return node.weight @ x + getattr(node, "bias", 0)
    if isinstance(node, nir.Conv2d | nir.Conv1d):
        weight, maps = node.weight, x
        if isinstance(node, nir.Conv1d):
            weight, maps = weight[:, :, None], x[:, None]
        stride, padding, dilation = (
            np.atleast_1d(v) if not isinstance(node, nir.Conv1d) else (1, v)
            for v in (node.stride, node.padding, node.dilation)
        )
        if isinstance(node, nir.Conv1d):
            padding = (0, node.padding)
        y, w = int(padding[0]), int(padding[-1])
        maps = np.pad(maps, [(0, 0), (y, y), (w, w)])
        out = correlate(maps, weight, stride, dilation, int(node.groups))
        out = out + np.reshape(node.bias, (-1, 1, 1))
        return out[:, 0] if isinstance(node, nir.Conv1d) else out
    if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        k, s = node.kernel_size, node.stride
        rows = range(0, x.shape[1] - k[0] + 1, s[0])
        columns = range(0, x.shape[2] - k[1] + 1, s[1])
        how = np.sum if isinstance(node, nir.SumPool2d) else np.mean
        pooled = [
            [how(x[:, i : i + k[0], j : j + k[1]], axis=(1, 2)) for j in columns] for i in rows
        ]
        return np.moveaxis(np.array(pooled), -1, 0)
    if isinstance(node, nir.Flatten):
        return x.ravel()
    if isinstance(node, nir.Scale):
        return node.scale * x
    return x


def correlate(x, weight, stride, dilation, groups):
    n_out, per_group, kh, kw = weight.shape
    height = (x.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    width = (x.shape[2] - dilation[-1] * (kw - 1) - 1) // stride[-1] + 1
    out = np.zeros((n_out, height, width))
    for o in range(n_out):
        first = o // (n_out // groups) * per_group
        for i in range(height):
            for j in range(width):
                for c in range(per_group):
                    for a in range(kh):
                        for b in range(kw):
                            y = i * stride[0] + a * dilation[0]
                            z = j * stride[-1] + b * dilation[-1]
                            out[o, i, j] += weight[o, c, a, b] * x[first + c, y, z]
    return out
