"""Float networks for tests, built by hand or at random; float64 parameters, so that 1e-9 is
exact."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.errors import Origin
from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.sim.ann import forward

INPUT = NodeId("x")


class Net:
    """Adds operators to a growing network; every method returns the new node's id.

    Args:
        shape: of the input.
        seed: of all parameters.
    """

    def __init__(self, shape, seed=0):
        self.random = np.random.default_rng(seed)
        self.nodes = {INPUT: ann.Input(id=INPUT, inputs=(), shape=shape, origin=Origin("t", "x"))}

    def __getitem__(self, node_id):
        return self.nodes[node_id]

    def shape(self, node_id):
        return self.nodes[node_id].shape

    def build(self):
        """The network; a value that nobody reads becomes an output first."""
        read = {s for node in self.nodes.values() for s in node.inputs}
        for node in list(self.nodes.values()):
            if node.id not in read and not isinstance(node, ann.Output):
                self.output(node.id)
        return ANNGraph(Graph(self.nodes.values()), "t.onnx", 13)

    def add(self, kind, inputs, shape, name=None, **fields):
        node_id = NodeId(name or f"{kind.__name__.lower()}{len(self.nodes)}")
        self.nodes[node_id] = kind(
            id=node_id, inputs=inputs, shape=shape, origin=Origin("t", node_id), **fields
        )
        return node_id

    def output(self, source):
        return self.add(ann.Output, (source,), self.shape(source))

    def conv(self, source, channels, kernel=(3, 3), geometry=None, *, weight=None, bias=None):
        geometry = geometry or Geometry()
        n_in, *size = self.shape(source)
        shape = (channels, n_in // geometry.groups, *kernel)
        weight = (
            self.random.normal(size=shape) / np.sqrt(prod(shape[1:])) if weight is None else weight
        )
        bias = self.random.normal(size=channels) / 4 if bias is None else bias
        out = (channels, *geometry.output_size(tuple(size), kernel))
        return self.add(ann.Conv, (source,), out, weight=weight, bias=bias, geometry=geometry)

    def dense(self, source, n_out):
        (n_in,) = self.shape(source)
        weight = self.random.normal(size=(n_out, n_in)) / np.sqrt(n_in)
        bias = self.random.normal(size=n_out) / 4
        return self.add(ann.Dense, (source,), (n_out,), weight=weight, bias=bias)

    def batch_norm(self, source):
        n = self.shape(source)[0]
        gamma, beta, mean = self.random.normal(size=(3, n))
        return self.add(
            ann.BatchNorm,
            (source,),
            self.shape(source),
            gamma=gamma,
            beta=beta,
            mean=mean,
            var=self.random.random(n) + 0.1,
            epsilon=1e-3,
        )

    def affine(self, source, shape=None):
        shape = self.shape(source) if shape is None else shape
        scale, shift = self.random.normal(size=(2, *shape))
        return self.add(ann.Affine, (source,), self.shape(source), scale=scale, shift=shift)

    def relu(self, source, cap=None):
        return self.add(ann.Relu, (source,), self.shape(source), cap=cap)

    def max_pool(self, source, kernel=(2, 2), geometry=None):
        geometry = geometry or Geometry(stride=kernel)
        n, *size = self.shape(source)
        out = (n, *geometry.output_size(tuple(size), kernel))
        return self.add(ann.MaxPool, (source,), out, kernel=kernel, geometry=geometry)

    def average_pool(
        self, source, kernel=(2, 2), geometry=None, *, count_padding=True, overhang=(0, 0)
    ):
        geometry = geometry or Geometry(stride=kernel)
        top, left, bottom, right = geometry.padding
        padded = replace(geometry, padding=(top, left, bottom + overhang[0], right + overhang[1]))
        n, *size = self.shape(source)
        out = (n, *padded.output_size(tuple(size), kernel))
        return self.add(
            ann.AveragePool,
            (source,),
            out,
            kernel=kernel,
            geometry=geometry,
            count_padding=count_padding,
            overhang=overhang,
        )

    def sum(self, *sources):
        return self.add(ann.Add, sources, self.shape(sources[0]))

    def concat(self, *sources, axis=0):
        shape = list(self.shape(sources[0]))
        shape[axis] = sum(self.shape(s)[axis] for s in sources)
        return self.add(ann.Concat, sources, tuple(shape), axis=axis)

    def pad(self, source, before, after):
        shape = tuple(n + a + b for n, a, b in zip(self.shape(source), before, after, strict=True))
        return self.add(ann.Pad, (source,), shape, before=before, after=after)

    def reshape(self, source, *shape):
        return self.add(ann.Reshape, (source,), shape)

    def flatten(self, source):
        return self.reshape(source, prod(self.shape(source)))

    def transpose(self, source, *permutation):
        shape = tuple(self.shape(source)[k] for k in permutation)
        return self.add(ann.Transpose, (source,), shape, permutation=permutation)

    def slice(self, source, *slices):
        shape = np.empty(self.shape(source), np.int8)[slices].shape
        return self.add(ann.Slice, (source,), shape, slices=slices)

    def shuffle(self, source, groups):
        """ShuffleNet's channel shuffle."""
        n, height, width = self.shape(source)
        split = self.reshape(source, groups, n // groups, height, width)
        return self.reshape(self.transpose(split, 1, 0, 2, 3), n, height, width)


def values(network, x):
    """Every value of a network for a batch (N, ...), batch last, in float64."""
    found = {}

    def keep(node, value):
        found[node.id] = value
        return value

    forward(network, np.moveaxis(np.asarray(x, np.float64), 0, -1), keep)
    return found


def outputs(network, x):
    """All outputs for a batch, (N, ...)."""
    found = values(network, x)
    return [np.moveaxis(found[node.id], -1, 0) for node in network.outputs]


def assert_same_function(before, after, x, tolerance=1e-9):
    """The two networks compute the same for x."""
    for one, other in zip(outputs(before, x), outputs(after, x), strict=True):
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


def random_chain(seed, length=6):
    """A network of random linear operators and rectifiers that ends in rectifiers and outputs."""
    random = np.random.default_rng(seed)
    shape = (
        (int(random.integers(1, 13)),)
        if random.random() < 0.15
        else (int(random.choice([1, 2, 3, 4, 6])), *(int(n) for n in random.integers(3, 9, 2)))
    )
    net = Net(shape, seed)
    pool = [INPUT]
    for _ in range(int(random.integers(1, length + 1))):
        source = pool[-1] if random.random() < 0.75 else pool[int(random.integers(len(pool)))]
        pool.append(_random_operator(net, source, pool, random))
    for node_id in pool[-2:]:
        net.output(net.relu(node_id) if random.random() < 0.5 else node_id)
    return net.build()


def _random_operator(net, source, pool, random):
    shape = net.shape(source)
    same = [n for n in pool if net.shape(n) == shape]
    names = ["affine", "channels", "batch_norm", "slice", "pad", "transpose", "reshape", "add"]
    names += ["concat", "relu"]
    names += ["conv", "conv", "depthwise", "average", "average"] if len(shape) == 3 else []
    names += ["dense"] if len(shape) == 1 else ["flatten"] if prod(shape) < 400 else []
    name = str(random.choice(names))
    pick = [int(k) for k in random.integers(0, 3, 12)]
    if name == "affine":
        return net.affine(source)
    if name == "channels":
        return net.affine(source, (shape[0], *[1] * (len(shape) - 1)))
    if name == "batch_norm":
        return net.batch_norm(source)
    if name == "relu":
        return net.relu(source, 6.0 if pick[0] else None)
    if name == "slice":
        return net.slice(source, *(_random_slice(n, random) for n in shape))
    if name == "pad":
        before = tuple(pick[k] - 1 if n > 3 else pick[k] for k, n in enumerate(shape))
        after = tuple(pick[6 + k] - 1 if n > 3 else 0 for k, n in enumerate(shape))
        return net.pad(source, before, after)
    if name == "transpose":
        return net.transpose(source, *(int(k) for k in random.permutation(len(shape))))
    if name == "reshape":
        if len(shape) == 3 and random.random() < 0.3 and shape[0] > 1:
            divisors = [g for g in range(2, shape[0] + 1) if shape[0] % g == 0]
            return net.shuffle(source, int(random.choice(divisors)))
        return net.reshape(source, *_random_shape(prod(shape), random))
    if name == "flatten":
        return net.flatten(source)
    if name == "add":
        return net.sum(source, same[int(random.integers(len(same)))])
    if name == "concat":
        return net.concat(
            source, same[int(random.integers(len(same)))], axis=int(random.integers(len(shape)))
        )
    if name == "dense":
        return net.dense(source, int(random.integers(1, 9)))
    kernel = int(random.integers(1, 4)), int(random.integers(1, 4))
    geometry = Geometry(
        stride=(1 + pick[0], 1 + pick[1]) if random.random() < 0.5 else (1, 1),
        padding=tuple(pick[2:6]) if random.random() < 0.5 else (0, 0, 0, 0),
        dilation=(1 + pick[6] // 2, 1 + pick[7] // 2),
    )
    if min(geometry.output_size(shape[1:], kernel)) < 1:
        kernel, geometry = (1, 1), Geometry()
    if name == "average":
        tiles = random.random() < 0.5 and shape[1] % kernel[0] == 0 == shape[2] % kernel[1]
        if tiles:
            return net.average_pool(source, kernel)
        geometry = replace(geometry, dilation=(1, 1))
        padding = tuple(min(p, k - 1) for p, k in zip(geometry.padding, 2 * kernel, strict=True))
        geometry = replace(geometry, padding=padding)
        overhang = tuple(
            (-(n + a + b - k)) % s if random.random() < 0.5 else 0
            for n, a, b, k, s in zip(
                shape[1:], padding[:2], padding[2:], kernel, geometry.stride, strict=True
            )
        )
        # As ceil mode does it: no window may start in the overhang alone.
        overhang = tuple(
            o if o + p < k else 0 for o, p, k in zip(overhang, padding[2:], kernel, strict=True)
        )
        return net.average_pool(
            source, kernel, geometry, count_padding=bool(pick[8]), overhang=overhang
        )
    if name == "depthwise":
        geometry = replace(geometry, groups=shape[0])
        return net.conv(source, shape[0] * (1 + pick[9] // 2), kernel, geometry)
    divisors = [g for g in range(1, shape[0] + 1) if shape[0] % g == 0]
    geometry = replace(geometry, groups=int(random.choice(divisors)))
    return net.conv(source, geometry.groups * (1 + pick[10]), kernel, geometry)


def _random_slice(n, random):
    if random.random() < 0.4:
        return slice(0, n, 1)
    step = int(random.choice([1, 2, 3, -1, -2]))
    if step < 0:
        return slice(n - 1, None, step)
    return slice(int(random.integers(0, max(1, n - 1))), n, step)


def _random_shape(size, random):
    shape = []
    for _ in range(int(random.integers(0, 4))):
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        shape.append(int(random.choice(divisors)))
        size //= shape[-1]
    return (*shape, size)
