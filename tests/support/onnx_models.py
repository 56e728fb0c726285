"""Tiny ONNX models for tests, and the comparison of their import with onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from snn_compile.errors import CompileError
from snn_compile.plugins import Imported
from snn_compile.sim.ann import forward
from snn_frontends.onnx import OnnxFrontend

IR_VERSION = 10
"""onnxruntime refuses what the newest onnx writes."""

SYMBOLIC = "N"


def node(op, inputs, outputs, name="", domain="", **attributes):
    """An operator; inputs and outputs as text, separated by blanks ('-' leaves one out)."""
    names = [[n if n != "-" else "" for n in part.split()] for part in (inputs, outputs)]
    return helper.make_node(op, *names, name=name, domain=domain, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str] = (SYMBOLIC, 3, 8, 8),
    constants: Mapping[str, np.ndarray] | None = None,
    outputs: str = "y",
    opset: int = 13,
    *,
    constants_are_inputs: bool = False,
    elem_type: int = TensorProto.FLOAT,
    more_inputs: Sequence[str] = (),
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with the input 'x'."""
    constants = {k: np.asarray(v) for k, v in (constants or {}).items()}
    inputs = [helper.make_tensor_value_info("x", elem_type, shape)]
    inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3)) for n in more_inputs]
    if constants_are_inputs:
        inputs += [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in constants.items()
        ]
    graph = helper.make_graph(
        list(nodes),
        "test",
        inputs,
        [helper.make_tensor_value_info(n, output_type, None) for n in outputs.split()],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = IR_VERSION
    return made


def imported(made: onnx.ModelProto | bytes) -> Imported:
    """The model after a detour through a file named 'net.onnx'."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return OnnxFrontend().read(path)


def refused(made: onnx.ModelProto) -> CompileError:
    """The error with which a model is refused."""
    with pytest.raises(CompileError) as caught:
        imported(made)
    return caught.value


def ints(*values: int) -> np.ndarray:
    """A constant of whole numbers, as axes and sizes are."""
    return np.array(values, np.int64)


def session(made: onnx.ModelProto | str) -> onnxruntime.InferenceSession:
    """onnxruntime, without its optimizations and its log."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = made if isinstance(made, str) else made.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def newest_opset() -> int:
    """The newest operator set that both onnx and onnxruntime know."""
    for opset in range(onnx.defs.onnx_opset_version(), 12, -1):
        try:
            session(model([node("Relu", "x", "y")], opset=opset))
        except Exception:  # noqa: BLE001 - whatever it says, it does not know this version
            continue
        return opset
    raise AssertionError("onnxruntime knows no operator set")


NEWEST = newest_opset()
OPSETS = (7, 9, 11, 13, 18, NEWEST)


def evaluate_all(result: Imported, x: np.ndarray) -> list[np.ndarray]:
    """Every output of the imported network."""
    values = forward(result.ann, np.moveaxis(x.astype(np.float32), 0, -1))
    return [np.moveaxis(values[output.id], -1, 0) for output in result.ann.outputs]


def assert_same(made: onnx.ModelProto, rtol: float = 1e-4, seed: int = 0) -> Imported:
    """Import the model, and compare all outputs with onnxruntime's on random inputs."""
    result = imported(made)
    dims = made.graph.input[0].type.tensor_type.shape.dim
    batch = dims[0].dim_value or 3
    shape = (batch, *(dim.dim_value for dim in dims[1:]))
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    expected = session(made).run(None, {"x": x})
    actual = evaluate_all(result, x)
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-5)
    return result


def ops(result: Imported) -> list[str]:
    """The types of the imported nodes between input and outputs, in order."""
    kinds = [type(n).__name__ for n in result.ann.graph]
    return [kind for kind in kinds if kind not in {"Input", "Output"}]
