"""Networks with several inputs: ONNX files with their samples, and random ones in fixed point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnx_models
from network_builder import INPUT, Builder
from networks import random_synapses
from onnx_models import node
from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Input, QuantizedGraph
from snn_compile.ir.spiking import InputCoding

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Model:
    """An ONNX model of several inputs.

    Attributes:
        nodes: its operators.
        inputs: shape of each input without the batch axis, by its name, in order.
        constants: shapes of its weights; they are random.
        batch: first axis of every input.
        types: element types of inputs that are no floats.
    """

    nodes: Sequence[onnx.NodeProto]
    inputs: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, tuple[int, ...]]
    batch: str | int = "N"
    types: Mapping[str, int] = dataclass_field(default_factory=dict)

    def build(self) -> onnx.ModelProto:
        """The file."""
        random = np.random.default_rng(len(self.nodes))
        values = {
            name: (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
            for name, shape in self.constants.items()
        }
        kinds = {name: self.types.get(name, TensorProto.FLOAT) for name in self.inputs}
        graph = helper.make_graph(
            list(self.nodes),
            "several",
            [
                helper.make_tensor_value_info(name, kinds[name], (self.batch, *shape))
                for name, shape in self.inputs.items()
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in values.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        made.ir_version = onnx_models.IR_VERSION
        return made

    def save(self, folder: Path, name: str = "net.onnx") -> Path:
        """The file in a folder."""
        path = folder / name
        path.write_bytes(self.build().SerializeToString())
        return path

    def samples(self, n: int = 64, seed: int = 0) -> Arrays:
        """Samples of each input, each in a range of its own."""
        random = np.random.default_rng(seed)
        return {
            name: ((k + 1) * random.uniform(-(k % 2), 1, (n, *shape))).astype(np.float32)
            for k, (name, shape) in enumerate(self.inputs.items())
        }

    def wanted(self, x: Arrays) -> np.ndarray:
        """What onnxruntime says, sample by sample where the file fixes one."""
        session = onnx_models.session(self.build())
        if self.batch == "N":
            (y,) = session.run(None, x)
            return y
        n = len(next(iter(x.values())))
        pieces = [{k: v[i : i + 1] for k, v in x.items()} for i in range(n)]
        return np.concatenate([session.run(None, piece)[0] for piece in pieces])


IMAGE_AND_VECTOR = Model(
    (
        node("Conv", "image w", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("Flatten", "r", "f"),
        node("Gemm", "vector v", "g"),
        node("Relu", "g", "h"),
        node("Concat", "f h", "joined", axis=1),
        node("Gemm", "joined o", "y"),
    ),
    {"image": (2, 6, 6), "vector": (5,)},
    {"w": (4, 2, 3, 3), "v": (5, 8), "o": (4 * 36 + 8, 3)},
)
TWO_IMAGES = Model(
    (
        node("Conv", "near w", "a", strides=[2, 2]),
        node("Conv", "far v", "b"),
        node("Add", "a b", "s"),
        node("Relu", "s", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f o", "y"),
    ),
    {"near": (1, 9, 9), "far": (3, 6, 6)},
    {"w": (4, 1, 3, 3), "v": (4, 3, 3, 3), "o": (4, 3)},
)
SHARED_AND_LATE = Model(
    (
        node("Gemm", "b v1", "g1"),
        node("Relu", "g1", "h1"),
        node("Gemm", "h1 v2", "g2"),
        node("Gemm", "b v3", "g3"),
        node("Add", "g2 g3", "s"),
        node("Relu", "s", "h2"),
        node("Gemm", "a w", "late"),
        node("Gemm", "h2 o", "out"),
        node("Add", "out late", "y"),
    ),
    {"a": (3,), "b": (7,)},
    {"v1": (7, 9), "v2": (9, 6), "v3": (7, 6), "w": (3, 4), "o": (6, 4)},
)
THREE = Model(
    (
        node("Sub", "x y_", "d"),
        node("Gemm", "d v", "g"),
        node("Relu", "g", "h"),
        node("Gemm", "z w", "k"),
        node("Relu", "k", "l"),
        node("Add", "h l", "s"),
        node("Gemm", "s o", "y"),
    ),
    {"x": (6,), "y_": (6,), "z": (4,)},
    {"v": (6, 8), "w": (4, 8), "o": (8, 3)},
)
GATED = Model(
    (
        node("Mul", "a b", "m"),
        node("Gemm", "m w", "g"),
        node("Relu", "g", "r"),
        node("Gemm", "r o", "y"),
    ),
    {"a": (6,), "b": (6,)},
    {"w": (6, 8), "o": (8, 3)},
)
FIXED = Model(IMAGE_AND_VECTOR.nodes, IMAGE_AND_VECTOR.inputs, IMAGE_AND_VECTOR.constants, batch=1)
MODELS = {
    "image and vector": IMAGE_AND_VECTOR,
    "two images": TWO_IMAGES,
    "shared and late": SHARED_AND_LATE,
    "three": THREE,
    "a product of two": GATED,
    "batch of one": FIXED,
}


def random_network(
    seed: int, kind: str, n_steps: int, coding: InputCoding
) -> tuple[QuantizedGraph, np.ndarray]:
    """Two or three inputs of random shapes and ranges, joined at random depths; four stimuli."""
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in (random.integers(1, 4), *random.integers(3, 7, 2)))
    net = Builder(seed, shape, n_steps=n_steps, coding=coding, high=15)
    inputs = [INPUT, *(_input(net, random, k, coding) for k in range(random.integers(1, 3)))]
    size = int(random.integers(2, 9))
    joined = [net.dense(source, (size,), bits=5) for source in inputs]
    hidden = net.neurons(kind, *joined)
    mapped = net.neurons(kind, random_synapses(net, inputs[-1], ("conv", "sparse"), bits=4))
    late = net.dense(inputs[int(random.integers(len(inputs)))], (3,), bits=4)
    net.neurons("readout", net.dense(hidden, (3,)), net.dense(mapped, (3,)), late)
    net.neurons("readout", net.dense(mapped, (2,)))
    program = net.build()
    return program, frames_of(program, 4, seed)


def _input(net: Builder, random: np.random.Generator, k: int, coding: InputCoding) -> NodeId:
    shape = tuple(int(n) for n in random.integers(2, 6, random.choice([1, 3])))
    low, high = -int(random.integers(0, 8)), int(random.integers(1, 16))
    if coding is InputCoding.EVENTS:
        low, high = max(low, -1), 1
    net.nodes.append(
        Input(
            id=NodeId(f"further{k}"),
            inputs=(),
            shape=shape,
            origin=Origin("random"),
            format=QFormat.holding(low, high),
            low=low,
            high=high,
            coding=coding,
            seed=k,
        )
    )
    return net.nodes[-1].id


def frames_of(program: QuantizedGraph, n: int, seed: int = 0) -> np.ndarray:
    """Random stimuli in the range of each input."""
    random = np.random.default_rng(seed)
    before = (n, program.window.n_steps) if program.input_coding is InputCoding.EVENTS else (n,)
    values = {
        one.id: random.integers(one.low, one.high, (*before, *one.shape), endpoint=True)
        for one in program.inputs
    }
    return program.inputs.join(values, len(before))
