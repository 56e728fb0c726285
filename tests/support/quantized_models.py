"""Quantized ONNX models for tests, and the comparison of their import with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_models import IR_VERSION, SYMBOLIC, evaluate_all, imported, node, session
from snn_compile.ir import ann
from snn_compile.plugins import Imported

MICROSOFT = "com.microsoft"
TYPES = {
    "int4": (TensorProto.INT4, -8, 7),
    "uint4": (TensorProto.UINT4, 0, 15),
    "int8": (TensorProto.INT8, -128, 127),
    "uint8": (TensorProto.UINT8, 0, 255),
    "int16": (TensorProto.INT16, -32768, 32767),
    "uint16": (TensorProto.UINT16, 0, 65535),
    "int64": (TensorProto.INT64, 0, 0),
    "int32": (TensorProto.INT32, -(2**31), 2**31 - 1),
    "float32": (TensorProto.FLOAT, 0, 0),
}


def typed(name: str, values: object, kind: str) -> onnx.TensorProto:
    """A constant of a type, also of one that numpy lacks."""
    array = np.asarray(values)
    if kind in ("int4", "uint4"):
        return helper.make_tensor(name, TYPES[kind][0], array.shape, array.ravel().tolist())
    return numpy_helper.from_array(array.astype(kind), name)


def quantized_model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, tuple[object, str]],
    shape: Sequence[int | str] = (SYMBOLIC, 3, 8, 8),
    opset: int = 21,
    outputs: str = "y",
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with the input 'x' and constants of any type, (values, type) by name."""
    graph = helper.make_graph(
        list(nodes),
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, output_type, None) for n in outputs.split()],
        [typed(name, *value) for name, value in constants.items()],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    made = helper.make_model(graph, opset_imports=domains)
    made.ir_version = IR_VERSION
    return made


def pair(source: str, target: str, scale: str, zero: str) -> list[onnx.NodeProto]:
    """A quantization and its inverse."""
    return [
        node("QuantizeLinear", f"{source} {scale} {zero}", f"{target}_q"),
        node("DequantizeLinear", f"{target}_q {scale} {zero}", target),
    ]


def inputs_of(made: onnx.ModelProto, n: int = 4, seed: int = 0) -> np.ndarray:
    """Random inputs, some of them negative."""
    dims = made.graph.input[0].type.tensor_type.shape.dim
    shape = [dims[0].dim_value or n, *(dim.dim_value for dim in dims[1:])]
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_within_a_step(made: onnx.ModelProto, step: float, seed: int = 0) -> Imported:
    """Import, and compare with onnxruntime: nearly all values equal, the others one step apart.

    Both round the same sums, added in different order: one on the border of two steps may fall on
    either side.
    """
    result, x = imported(made), inputs_of(made, seed=seed)
    (expected,) = session(made).run(None, {"x": x})
    (actual,) = evaluate_all(result, x)
    assert actual.shape == expected.shape
    assert np.ptp(expected) > 4 * step, "the outputs say nothing"
    apart = np.abs(actual - expected) / step
    assert apart.max() < 1.01
    assert (apart > 0.01).mean() < 0.1  # how often depends on the order of sums, so on the machine
    return result


def rng(seed: int = 0) -> np.random.Generator:
    """Numbers that are the same in every run."""
    return np.random.default_rng(seed)


def weights(kind: str, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Integers over the whole range of a type of at most 8 bits, its ends included."""
    _, low, high = TYPES[kind]
    low, high = max(low, -128), min(high, 255)
    found = rng(seed).integers(low, high, shape, endpoint=True)
    found.flat[:2] = low, high
    return found


def layers(graph: Iterable[object]) -> list[ann.Conv | ann.Dense]:
    """The convolutions and products of a network."""
    return [n for n in graph if isinstance(n, ann.Conv | ann.Dense)]


def qonnx(
    bits: int = 4,
    domain: str = "qonnx.custom_op.general",
    op: str = "Quant",
    scale: float = 0.25,
    **attributes: object,
) -> tuple[onnx.ModelProto, np.ndarray]:
    """A convolution whose weights and sums a quantizer rounds, and the weights before."""
    w = rng().normal(size=(3, 3, 1, 1)).astype(np.float32)
    constants: dict[str, tuple[object, str]] = {
        "w": (w, "float32"),
        "ws": ([[[[0.1]]], [[[0.2]]], [[[0.3]]]], "float32"),
        "zero": (0.0, "float32"),
        "bits": (float(bits), "float32"),
        "s": (scale, "float32"),
    }
    more = [] if op != "Quant" else ["zero", "bits"]
    nodes = [
        node(op, " ".join(["w", "ws", *more]), "wd", domain=domain, **attributes),
        node("Conv", "x wd", "c"),
        node(op, " ".join(["c", "s", *more]), "y", domain=domain, **attributes),
    ]
    made = quantized_model(nodes, constants, opset=13)
    made.opset_import.append(helper.make_opsetid(domain, 1))
    return made, w


def qdq(
    weight_kind: str = "int8",
    axis: int | None = None,
    kind: str = "uint8",
    opset: int = 21,
    zero: int | None = None,
    weight_zero: int | None = None,
) -> onnx.ModelProto:
    """Input, Conv, Relu by clipping, Gemm, all of them between pairs."""
    _, low, high = TYPES[kind]
    of_relu = low if zero is None else zero
    w_zero = 0 if weight_zero is None else weight_zero
    n = 5 if axis == 0 else 1
    wide = weight_kind in ("int4", "uint4")
    step = np.linspace(0.01, 0.02, n).astype(np.float32) * (12 if wide else 1)
    more = {} if axis is None else {"axis": axis}
    middle = (low + high + 1) // 2
    span = 255 / (high - low)
    constants = {
        "xs": (0.03 * span, "float32"),
        "xz": (middle, kind),
        "w": (weights(weight_kind, (5, 3, 3, 3)), weight_kind),
        "ws": (step if axis == 0 else step[0], "float32"),
        "wz": (np.full(n, w_zero) if axis == 0 else w_zero, weight_kind),
        "b": (rng(2).integers(-900, 900, 5), "int32"),
        "bs": (step * 0.03 if axis == 0 else step[0] * np.float32(0.03), "float32"),
        "hs": (0.12 * span, "float32"),
        "hz": (of_relu, kind),
        "v": (weights("int8", (4, 5 * 8 * 8)), "int8"),
        "vs": (0.001, "float32"),
        "vz": (0, "int8"),
        "vb": (np.zeros(4), "float32"),
        "ys": (0.2 * span, "float32"),
        "yz": (middle, kind),
    }
    nodes = [
        *pair("x", "xd", "xs", "xz"),
        node("DequantizeLinear", "w ws wz", "wd", **more),
        node("DequantizeLinear", "b bs", "bd", **more),
        node("Conv", "xd wd bd", "c", pads=[1, 1, 1, 1]),
        *pair("c", "h", "hs", "hz"),
        node("Flatten", "h", "f"),
        node("DequantizeLinear", "v vs vz", "vd"),
        node("Gemm", "f vd vb", "g", transB=1),
        *pair("g", "y", "ys", "yz"),
    ]
    return quantized_model(nodes, constants, opset=opset)
