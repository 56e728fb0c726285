"""Constants: operators that do not depend on the network's input are computed once, here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import checker, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_compile.ir.graph import Shape
from snn_frontends.onnx.refusals import first_line
from snn_frontends.onnx.values import Constant, Tensor, Value

FOREIGN_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    checker.ValidationError,
    defs.SchemaError,
    shape_inference.InferenceError,
)
"""What numpy and onnx raise on contents that contradict themselves."""

RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Operators that give another result each time, which no folding may freeze."""

DIVISORS = frozenset({"blocksize", "group", "num_groups", "num_outputs", "split", "strides"})
"""Attributes by which onnx 1.16 divides without a look, which ends the whole process at 0."""

MEANT_OTHERWISE = {
    "Softmax": 13,
    "LogSoftmax": 13,
    "Hardmax": 13,
    "Resize": 11,
    "Upsample": 9,
    "RoiAlign": 16,
}
"""Operators of which onnx computes the newest meaning only, and the operator set that gave it."""

MAX_ELEMENTS = 1 << 30
"""Larger constants are a damaged file, and would exhaust the memory."""


def evaluate(
    node: onnx.NodeProto, inputs: Sequence[Constant | None], opset: int, origin: Origin
) -> list[Constant]:
    """The results of an operator whose inputs are all constants.

    Raises:
        ModelError: it cannot be computed.
    """
    refuse_outdated(node, opset, origin)
    if node.op_type == "Constant":
        if len(node.attribute) != 1:
            raise ModelError(f"states {len(node.attribute)} values", origin=origin)
        if node.attribute[0].name == "value":
            return [numpy_helper.to_array(node.attribute[0].t)]
    feeds = {
        name: value
        for name, value in zip(node.input, inputs, strict=True)
        if name and value is not None
    }
    shapes = [_type(value.dtype, value.shape) for value in feeds.values()]
    _refuse_huge(node, inputs, origin)
    graph = helper.make_graph(
        [node],
        "constant",
        [onnx.ValueInfoProto(name=n, type=t) for n, t in zip(feeds, shapes, strict=True)],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    try:
        results = iter(_run(graph, feeds, opset))
    except Exception as error:
        raise ModelError(f"cannot be computed: {first_line(error)}", origin=origin) from error
    return [np.asarray(next(results)) if name else np.empty(0) for name in node.output]


def refuse_outdated(node: onnx.NodeProto, opset: int, origin: Origin) -> None:
    """Refuse what onnx would compute by the newest meaning of the operator alone.

    Raises:
        UnsupportedError: the operator meant something else in this operator set.
    """
    since = MEANT_OTHERWISE.get(node.op_type, 0)
    if opset < since:
        raise UnsupportedError(
            f"means something else before operator set {since}, and is not computed for constants",
            origin=origin,
            hint=f"convert it: onnx.version_converter.convert_version(model, {since})",
        )


def _run(graph: onnx.GraphProto, feeds: dict[str, Constant], opset: int) -> Sequence[Constant]:
    """Evaluate a graph; where onnx lacks an operator's older version, by the newest one."""
    try:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        evaluator = ReferenceEvaluator(model)
    except RuntimeError:
        newest = helper.make_opsetid("", defs.onnx_opset_version())
        evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[newest]))
    return list(evaluator.run(None, feeds))


def infer_shapes(
    node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int
) -> list[Shape | None]:
    """The shapes of the results of any operator that ONNX knows; None where it cannot tell."""
    if any(attribute.name in DIVISORS and _has_zero(attribute) for attribute in node.attribute):
        return [None] * len(node.output)
    types, data = {}, {}
    for name, value in zip(node.input, inputs, strict=True):
        if isinstance(value, Tensor):
            types[name] = _type(np.dtype(np.float32), value.shape)
        elif isinstance(value, np.ndarray):
            types[name] = _type(value.dtype, value.shape)
            data[name] = numpy_helper.from_array(value, name)
    try:
        schema = defs.get_schema(node.op_type, opset, "")
        found = shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=[helper.make_opsetid("", opset)]
        )
    except FOREIGN_ERRORS:
        return [None] * len(node.output)
    return [_shape(found[name]) if name in found else None for name in node.output]


def _has_zero(attribute: onnx.AttributeProto) -> bool:
    return not attribute.i and (not attribute.ints or 0 in attribute.ints)


def _type(dtype: np.dtype[np.generic], shape: Shape) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), shape)


def _shape(found: onnx.TypeProto) -> Shape | None:
    kind = found.tensor_type
    floating = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    if kind.elem_type not in floating or not kind.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(int(dim.dim_value) for dim in kind.shape.dim)


def _refuse_huge(node: onnx.NodeProto, inputs: Sequence[Constant | None], origin: Origin) -> None:
    """Refuse to fill the memory where a damaged file asks for it."""
    target = inputs[-1] if inputs else None
    if node.op_type in {"ConstantOfShape", "Expand"} and target is not None:
        if np.prod(target.astype(np.float64)) > MAX_ELEMENTS:
            raise ModelError(f"asks for a constant of shape {target.tolist()}", origin=origin)
