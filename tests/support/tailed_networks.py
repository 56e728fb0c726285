"""Networks whose last operators are no layers: detectors, poses, policies, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnx_models import ints, model, node

F = np.float32
GRID, SIDE = 8, 16
"""Positions of a head along an axis, and of the image."""


@dataclass(frozen=True)
class Tailed:
    """A network with a tail.

    Attributes:
        made: the model.
        cut: the tensors where it is expected to be cut; empty if it is not.
        shape: of one sample.
        varying: outputs whose number of rows depends on the sample.
    """

    made: onnx.ModelProto
    cut: set[str]
    shape: tuple[int, ...] = (3, SIDE, SIDE)
    varying: frozenset[str] = field(default_factory=frozenset)


def weights(seed: int, *shape: int) -> np.ndarray:
    """Random weights for activations of the size of the inputs."""
    fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
    return np.random.default_rng(seed).normal(0, 1.5 / np.sqrt(fan_in), shape).astype(F)


def samples(shape: tuple[int, ...], n: int, seed: int = 1) -> np.ndarray:
    """Inputs."""
    return np.random.default_rng(seed).random((n, *shape)).astype(F)


class _Graph:
    """Operators and constants of a model, collected one after the other."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, op: str, inputs: str, output: str, **attributes: object) -> str:
        """Add an operator, and return the name of its first result."""
        self.nodes.append(node(op, inputs, output, **attributes))
        return output.split()[0]

    def constant(self, name: str, value: object) -> str:
        """Add a constant."""
        self.constants[name] = np.asarray(value)
        return name

    def conv(self, source: str, output: str, n_in: int, n_out: int, **more: object) -> str:
        """Add a convolution."""
        kernel = int(more.pop("kernel", 3))
        seed = 10 + len(self.constants)
        weight = self.constant(f"{output}.w", weights(seed, n_out, n_in, kernel, kernel))
        pads = [kernel // 2] * 4
        return self.add("Conv", f"{source} {weight}", output, pads=pads, **more)

    def dense(self, source: str, output: str, n_in: int, n_out: int) -> str:
        """Add a dense layer."""
        weight = self.constant(f"{output}.w", weights(10 + len(self.constants), n_in, n_out))
        return self.add("Gemm", f"{source} {weight}", output)

    def backbone(self) -> str:
        """Two layers that halve the image."""
        self.conv("x", "c1", 3, 8, strides=[2, 2])
        return self.add("Relu", "c1", "features")

    def trunk(self, n_in: int = 8) -> str:
        """A dense layer."""
        self.dense("x", "d1", n_in, 16)
        return self.add("Relu", "d1", "features")

    def flat(self, source: str, output: str, size: int, batch: int = 1) -> str:
        """Maps as (batch, positions, size)."""
        self.add("Transpose", source, f"{output}.last", perm=[0, 2, 3, 1])
        shape = self.constant(f"{output}.shape", ints(batch, -1, size))
        return self.add("Reshape", f"{output}.last {shape}", output)

    def part(self, source: str, output: str, first: int, end: int, axis: int) -> str:
        """A slice along an axis."""
        names = {"first": first, "end": end, "axis": axis}
        given = [self.constant(f"{output}.{key}", ints(at)) for key, at in names.items()]
        return self.add("Slice", f"{source} {' '.join(given)}", output)

    def model(
        self,
        outputs: str,
        shape: tuple[int | str, ...] = (1, 3, SIDE, SIDE),
        integers: str = "",
        opset: int = 13,
    ) -> onnx.ModelProto:
        """The model."""
        made = model(self.nodes, shape, self.constants, outputs, opset)
        for output in made.graph.output:
            kind = TensorProto.INT64 if output.name in integers.split() else TensorProto.FLOAT
            output.CopyFrom(helper.make_tensor_value_info(output.name, kind, None))
        return made


def ssd() -> Tailed:
    """Scores by a softmax, boxes from priors and variances, both in one output."""
    g, anchors = _Graph(), GRID * GRID * 2
    g.backbone()
    g.conv("features", "l0", 8, 8)
    g.conv("features", "k0", 8, 6)
    g.flat("l0", "offsets", 4)
    g.flat("k0", "logits", 3)
    g.add("Softmax", "logits", "p", axis=2)
    priors = np.random.default_rng(0).random((1, anchors, 2))
    g.constant("centres", priors.astype(F))
    g.constant("sizes", (priors / 2).astype(F))
    g.constant("variances", np.array([0.1, 0.1, 0.2, 0.2], F))
    g.add("Mul", "offsets variances", "scaled")
    g.part("scaled", "dxy", 0, 2, 2)
    g.part("scaled", "dwh", 2, 4, 2)
    g.add("Mul", "dxy sizes", "moved")
    g.add("Add", "moved centres", "xy")
    g.add("Exp", "dwh", "grown")
    g.add("Mul", "grown sizes", "wh")
    g.constant("half", np.array(0.5, F))
    g.add("Mul", "wh half", "reach")
    g.add("Sub", "xy reach", "low")
    g.add("Add", "xy reach", "high")
    g.add("Concat", "low high p", "detections", axis=2)
    return Tailed(g.model("detections"), {"l0", "logits"})


def yolo5() -> Tailed:
    """Two scales: sigmoids, squares, a grid and anchors, joined along the boxes."""
    g = _Graph()
    g.backbone()
    g.conv("features", "deep", 8, 8, strides=[2, 2])
    g.add("Relu", "deep", "deeper")
    cells = ((GRID, "features", 2.0), (GRID // 2, "deeper", 4.0))
    for k, (size, source, stride) in enumerate(cells):
        g.conv(source, f"h{k}", 8, 7, kernel=1)
        g.flat(f"h{k}", f"f{k}", 7, 1)
        g.add("Sigmoid", f"f{k}", f"s{k}")
        rows = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(1, -1, 2)
        g.constant(f"grid{k}", (rows - 0.5).astype(F))
        g.constant(f"stride{k}", np.array(stride, F))
        g.constant(f"anchor{k}", np.array([[[3.0, 5.0]]], F))
        g.constant(f"two{k}", np.array(2, F))
        g.part(f"s{k}", f"xy{k}", 0, 2, 2)
        g.part(f"s{k}", f"wh{k}", 2, 4, 2)
        g.part(f"s{k}", f"rest{k}", 4, 7, 2)
        g.add("Mul", f"xy{k} two{k}", f"xy2{k}")
        g.add("Add", f"xy2{k} grid{k}", f"placed{k}")
        g.add("Mul", f"placed{k} stride{k}", f"centre{k}")
        g.add("Mul", f"wh{k} two{k}", f"wh2{k}")
        g.add("Pow", f"wh2{k} two{k}", f"squared{k}")
        g.add("Mul", f"squared{k} anchor{k}", f"size{k}")
        g.add("Concat", f"centre{k} size{k} rest{k}", f"out{k}", axis=2)
    g.add("Concat", "out0 out1", "predictions", axis=1)
    g.part("predictions", "scores", 4, 5, 2)
    g.constant("k", ints(5))
    g.add("TopK", "scores k", "best which", axis=1)
    return Tailed(g.model("predictions best which", integers="which"), {"h0", "h1"})


def yolo8() -> Tailed:
    """Distances as the mean of a distribution over bins, by a convolution with fixed weights."""
    g, bins, places = _Graph(), 4, GRID * GRID
    g.backbone()
    g.conv("features", "h", 8, 4 * bins + 2, kernel=1)
    g.constant("joined", ints(1, 4 * bins + 2, places))
    g.add("Reshape", "h joined", "flat")
    g.part("flat", "boxes", 0, 4 * bins, 1)
    g.part("flat", "classes", 4 * bins, 4 * bins + 2, 1)
    g.constant("sides", ints(1, 4, bins, places))
    g.add("Reshape", "boxes sides", "by_side")
    g.add("Transpose", "by_side", "by_bin", perm=[0, 2, 1, 3])
    g.add("Softmax", "by_bin", "distribution", axis=1)
    g.constant("bins", np.arange(bins, dtype=F).reshape(1, bins, 1, 1))
    g.add("Conv", "distribution bins", "mean")
    g.constant("four", ints(1, 4, places))
    g.add("Reshape", "mean four", "distances")
    g.part("distances", "lt", 0, 2, 1)
    g.part("distances", "rb", 2, 4, 1)
    cells = np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID))).reshape(1, 2, -1) + 0.5
    g.constant("cells", cells.astype(F))
    g.constant("two", np.array(2, F))
    g.add("Sub", "cells lt", "x1")
    g.add("Add", "cells rb", "x2")
    g.add("Add", "x1 x2", "sum")
    g.add("Div", "sum two", "centre")
    g.add("Sub", "x2 x1", "size")
    g.add("Concat", "centre size", "box", axis=1)
    g.add("Sigmoid", "classes", "p")
    g.add("Concat", "box p", "detections", axis=1)
    return Tailed(g.model("detections"), {"h"})


def suppressed() -> Tailed:
    """Non-maximum suppression, and the boxes that it keeps."""
    g = _Graph()
    g.backbone()
    g.conv("features", "l0", 8, 4)
    g.conv("features", "k0", 8, 2)
    g.flat("l0", "l1", 4)
    g.add("Sigmoid", "l1", "boxes")
    g.flat("k0", "k1", 2)
    g.add("Sigmoid", "k1", "k2")
    g.add("Transpose", "k2", "scores", perm=[0, 2, 1])
    g.constant("most", ints(5))
    g.constant("overlap", np.array([0.5], F))
    g.constant("least", np.array([0.4], F))
    g.add("NonMaxSuppression", "boxes scores most overlap least", "kept")
    g.part("kept", "which", 2, 3, 1)
    g.constant("zero", ints(0))
    g.add("Squeeze", "boxes zero", "all")
    g.constant("column", ints(1))
    g.add("Squeeze", "which column", "index")
    g.add("Gather", "all index", "found", axis=0)
    made = g.model("kept found", integers="kept")
    return Tailed(made, {"l0", "k0"}, varying=frozenset({"kept", "found"}))


def actor_critic() -> Tailed:
    """A policy as probabilities, its best action, a value, and standard deviations."""
    g = _Graph()
    g.trunk()
    g.dense("features", "policy", 16, 4)
    g.add("Softmax", "policy", "probabilities", axis=1)
    g.add("ArgMax", "probabilities", "action", axis=1, keepdims=0)
    g.dense("features", "v", 16, 1)
    g.add("Tanh", "v", "value")
    g.dense("features", "log_std", 16, 4)
    g.constant("low", np.array(-5, F))
    g.constant("high", np.array(2, F))
    g.add("Clip", "log_std low high", "bounded")
    g.add("Exp", "bounded", "std")
    made = g.model("probabilities action value std", ("N", 8), integers="action")
    return Tailed(made, set(), (8,))


def sampled_policy() -> Tailed:
    """Entropy and the two best actions of a policy, beside a value that spikes give."""
    g = _Graph()
    g.trunk()
    g.dense("features", "policy", 16, 4)
    g.add("LogSoftmax", "policy", "log_p", axis=1)
    g.add("Exp", "log_p", "p")
    g.add("Mul", "p log_p", "terms")
    g.add("ReduceSum", "terms last", "negative", keepdims=0)
    g.constant("last", ints(1))
    g.add("Neg", "negative", "entropy")
    g.constant("two", ints(2))
    g.add("TopK", "log_p two", "best actions", axis=1)
    g.dense("features", "value", 16, 1)
    made = g.model("entropy best actions value", ("N", 8), integers="actions")
    return Tailed(made, {"policy", "value"}, (8,))


def soft_arg_max() -> Tailed:
    """Joints as the means of coordinates under a softmax over each heatmap."""
    g = _Graph()
    g.backbone()
    g.conv("features", "heat", 8, 4)
    g.constant("flat", ints(0, 4, GRID * GRID))
    g.add("Reshape", "heat flat", "maps")
    g.add("Softmax", "maps", "p", axis=-1)
    places = np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), -1).reshape(-1, 2)
    g.constant("coordinates", (places / (GRID - 1)).astype(F))
    g.add("MatMul", "p coordinates", "joints")
    return Tailed(g.model("joints", ("N", 3, SIDE, SIDE)), {"maps"})


def arg_max_joints() -> Tailed:
    """Joints as the positions of the largest values, by integers."""
    g = _Graph()
    g.backbone()
    g.conv("features", "heat", 8, 4)
    g.constant("flat", ints(0, 4, -1))
    g.add("Reshape", "heat flat", "maps")
    g.add("ArgMax", "maps", "place", axis=2, keepdims=0)
    g.constant("width", ints(GRID))
    g.add("Mod", "place width", "column")
    g.add("Div", "place width", "row")
    g.add("Cast", "column", "x0", to=TensorProto.FLOAT)
    g.add("Cast", "row", "y0", to=TensorProto.FLOAT)
    g.constant("axis", ints(2))
    g.add("Unsqueeze", "x0 axis", "x1")
    g.add("Unsqueeze", "y0 axis", "y1")
    g.add("ReduceMax", "maps", "peak", axes=[2], keepdims=1)
    g.add("Concat", "x1 y1 peak", "joints", axis=2)
    return Tailed(g.model("joints", ("N", 3, SIDE, SIDE)), {"maps", "peak"})


def looked_up() -> Tailed:
    """A row of a table for the best class."""
    g = _Graph()
    g.trunk()
    g.dense("features", "logits", 16, 5)
    g.add("ArgMax", "logits", "best", axis=1, keepdims=0)
    g.constant("table", weights(5, 5, 3))
    g.add("Gather", "table best", "row", axis=0)
    return Tailed(g.model("row", ("N", 8)), {"logits"}, (8,))


def masks() -> Tailed:
    """Masks as products of coefficients and prototypes."""
    g = _Graph()
    g.backbone()
    g.conv("features", "prototypes", 8, 4)
    g.constant("flat", ints(1, 4, GRID * GRID))
    g.add("Reshape", "prototypes flat", "maps")
    g.add("GlobalAveragePool", "features", "pooled")
    g.conv("pooled", "coefficients", 8, 8, kernel=1)
    g.constant("two", ints(1, 2, 4))
    g.add("Reshape", "coefficients two", "factors")
    g.add("MatMul", "factors maps", "products")
    g.add("Sigmoid", "products", "masks")
    return Tailed(g.model("masks"), {"maps", "factors"})


def embedding() -> Tailed:
    """An embedding of length one, and the order of its parts."""
    g = _Graph()
    g.trunk()
    g.dense("features", "e", 16, 6)
    g.add("ReduceL2", "e", "length", axes=[1], keepdims=1)
    g.constant("least", np.array(1e-6, F))
    g.add("Max", "length least", "safe")
    g.add("Div", "e safe", "unit")
    g.constant("all", ints(6))
    g.add("TopK", "unit all", "sorted order", axis=1)
    return Tailed(g.model("unit order", ("N", 8), integers="order"), {"e"}, (8,))


def labels() -> Tailed:
    """A class for each position, which today's rule leaves off."""
    g = _Graph()
    g.backbone()
    g.conv("features", "logits", 8, 5)
    g.add("ArgMax", "logits", "labels", axis=1, keepdims=1)
    return Tailed(g.model("labels", ("N", 3, SIDE, SIDE), integers="labels"), set())


def counted() -> Tailed:
    """Positions above a threshold, counted as integers."""
    g = _Graph()
    g.backbone()
    g.conv("features", "heat", 8, 1)
    g.add("Sigmoid", "heat", "p")
    g.constant("half", np.array(0.5, F))
    g.add("Greater", "p half", "there")
    g.add("NonZero", "there", "where")
    g.add("Transpose", "where", "places", perm=[1, 0])
    return Tailed(g.model("places", integers="places"), {"heat"}, varying=frozenset({"places"}))


NETWORKS: Mapping[str, Callable[[], Tailed]] = {
    made.__name__: made
    for made in (
        ssd,
        yolo5,
        yolo8,
        suppressed,
        actor_critic,
        sampled_policy,
        soft_arg_max,
        arg_max_joints,
        looked_up,
        masks,
        embedding,
        labels,
        counted,
    )
}
