"""Constant folding: operators independent of the network's input are computed once, here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import checker, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from snn_compile import memory
from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_compile.files.documents import DamagedError, TooLargeError, first_line, too_large
from snn_compile.ir.graph import Shape
from snn_frontends.onnx import in_place
from snn_frontends.onnx.sizes import item_bytes, n_bytes, n_elements
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
"""Exceptions of numpy and onnx for inconsistent contents."""

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
"""Nondeterministic operators, which must not be folded."""

DIVISORS = frozenset({"blocksize", "group", "num_groups", "num_outputs", "split", "strides"})
"""Attributes by which onnx 1.16 divides unchecked: 0 would terminate the process."""

MEANT_OTHERWISE = {
    "Softmax": 13,
    "LogSoftmax": 13,
    "Hardmax": 13,
    "Resize": 11,
    "Upsample": 9,
    "RoiAlign": 16,
}
"""Operators that onnx computes only by their newest definition, and its operator set."""

NUMBERS = "biufV"
"""Kinds of arrays that are real numbers; the last stands for bfloat16 and the like."""
WIDEST = 8
"""Maximal size of an element in bytes."""
MAX_PARAMETER_SIZE = 4096
"""Maximal number of elements of a shape, of axes or the like."""

NO_LARGER = frozenset({"Compress", "NonZero", "TopK", "Unique"})
"""Operators whose results have at most as many elements as an input, per axis."""
PRODUCTS = frozenset({"Gemm", "MatMul"})
QUICK = PRODUCTS | frozenset(
    (
        "Abs Add And ArgMax ArgMin BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike "
        "Ceil Clip Compress Concat Constant ConstantOfShape Cos CumSum DepthToSpace "
        "DequantizeLinear Div Dropout Equal Exp Expand EyeLike Flatten Floor Gather Greater "
        "GreaterOrEqual Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mod "
        "Mul Neg NonZero Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1 "
        "ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu "
        "Reshape Round Shape Sigmoid Sign Sin Size Slice Softmax SpaceToDepth Split Sqrt "
        "Squeeze Sub Sum Tanh Tile Transpose Trilu Unsqueeze Where Xor "
    ).split()
)
"""Operators that onnx computes with numpy; others run Python code per element."""
SLOW = 1 << 14
"""Cost of an element in Python, in elements of numpy."""
PRODUCTS_PER_BATCH = 16
MAX_WORK = 1 << 31
"""Limit of the elements of all constants together: a few seconds."""

SIMPLIFY = "compute its constants beforehand, with onnx-simplifier or onnxruntime"


@dataclass
class Folding:
    """Computes operators whose inputs are all constants, within limits.

    Attributes:
        opset: version of the operator set.
        path: the model's file, where large weights are read.
        size: bytes of all constants so far.
        work: work done for them, in elements.
    """

    opset: int
    path: Path = Path()
    size: int = 0
    work: int = 0

    def keep(self, what: str, size: int) -> None:
        """Count bytes of a constant, before it is allocated.

        Raises:
            TooLargeError: all constants take too much memory.
        """
        before = f", with {memory.format_size(self.size)} of other constants," if self.size else ""
        if self.size + size > memory.budget():
            raise TooLargeError(
                f"{what} takes {memory.format_size(size)}{before} more than the"
                f" {memory.format_size(memory.budget())} that it may"
            )
        self.size += size

    def evaluate(
        self, node: onnx.NodeProto, inputs: Sequence[Constant | None], origin: Origin
    ) -> list[Constant]:
        """The results of an operator whose inputs are all constants.

        Raises:
            UnsupportedError: it is not supported for constants.
            ModelError: it cannot be computed, or would take too much memory or time.
        """
        refuse_outdated(node, self.opset, origin)
        if node.op_type == "Constant":
            if len(node.attribute) != 1:
                raise ModelError("has no value, or several", origin=origin)
        try:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                return [self.decode("its value", node.attribute[0].t)]
            if node.op_type == "Constant" and node.attribute[0].name == "sparse_value":
                return [self.densify("its value", node.attribute[0].sparse_tensor)]
            self._allow(node, inputs, origin)
        except TooLargeError as error:
            raise too_large(origin, error, ModelError) from error
        return evaluate_node(node, inputs, self.opset, origin)

    def decode(self, what: str, tensor: onnx.TensorProto) -> Constant:
        """A tensor of the file as an array.

        Raises:
            DamagedError: its size differs from its shape.
            TooLargeError: all constants take too much memory.
        """
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            self.keep(what, in_memory(tensor))
            return in_place.read(tensor, self.path)
        if not tensor.HasField("raw_data"):
            self.keep(what, in_memory(tensor))
            return numpy_helper.to_array(tensor)
        raw = tensor.raw_data  # a copy each time that it is asked for
        if len(raw) != n_bytes(tensor):
            shape = list(tensor.dims)[:16]
            raise DamagedError(f"the shape {shape} for {memory.format_size(len(raw))}")
        self.keep(what, in_memory(tensor))
        if tensor.data_type == onnx.TensorProto.FLOAT:
            return np.frombuffer(raw, "<f4").reshape(tensor.dims).astype(np.float32, copy=False)
        del raw
        return numpy_helper.to_array(tensor)

    def densify(self, what: str, sparse: onnx.SparseTensorProto) -> Constant:
        """A sparse tensor of the file as an array.

        Raises:
            DamagedError: its parts are inconsistent.
            TooLargeError: all constants take too much memory.
        """
        shape = tuple(sparse.dims)
        values, places = (self.decode(what, part) for part in (sparse.values, sparse.indices))
        if min(shape, default=1) < 0 or values.ndim != 1 or values.dtype.kind not in NUMBERS:
            raise DamagedError(f"the shape {list(shape)[:16]} for {list(values.shape)} values")
        self.keep(what, prod(shape) * values.dtype.itemsize)
        wanted = [(len(values),), (len(values), len(shape))]
        if places.dtype != np.int64 or places.shape not in wanted:
            raise DamagedError(f"indices of shape {list(places.shape)} for {len(values)} values")
        sizes = np.array(shape if places.ndim == 2 else [prod(shape)], np.int64)
        if ((places < 0) | (places.reshape(len(values), -1) >= sizes).reshape(places.shape)).any():
            raise DamagedError("indices beyond its shape")
        dense = np.zeros(shape, values.dtype)
        at = tuple(places.T) if places.ndim == 2 else np.unravel_index(places, shape)
        dense[at] = values
        return dense

    def _allow(
        self, node: onnx.NodeProto, inputs: Sequence[Constant | None], origin: Origin
    ) -> None:
        """Check the limits for the results, and count them."""
        given = [value for value in inputs if value is not None]
        if any(value.dtype.kind not in NUMBERS for value in given):
            raise UnsupportedError(
                "computes with values that are not real numbers", origin=origin, hint=SIMPLIFY
            )
        sizes = result_sizes(node, inputs, self.opset)
        if sizes is None:
            raise UnsupportedError(
                "the size of its result is not known in advance", origin=origin, hint=SIMPLIFY
            )
        for count, width in sizes:
            self.keep("its result", count * width)
        elements = sum(value.size for value in given) + sum(count for count, _ in sizes)
        work = elements if node.op_type in QUICK else elements * SLOW
        if node.op_type in PRODUCTS and len(given) > 1 and given[0].ndim:
            depth = given[0].shape[-1] if node.op_type == "MatMul" else max(given[0].shape)
            work += sizes[0][0] * depth // PRODUCTS_PER_BATCH
        self.work += work
        if self.work > MAX_WORK:
            raise TooLargeError(
                f"its result, of {sum(count for count, _ in sizes):,} elements, takes more work"
                " than constants may"
            )


def in_memory(tensor: onnx.TensorProto) -> int:
    """Size of a tensor as an array in bytes; texts count with their length in the file."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return int(tensor.ByteSize())
    return n_elements(tensor) * item_bytes(tensor)


def result_sizes(
    node: onnx.NodeProto, inputs: Sequence[Constant | None], opset: int
) -> list[tuple[int, int]] | None:
    """Number and size of the elements of an operator's results; None if unknown."""
    if node.op_type in {"Constant", "Shape", "Size"}:
        return [(sum(value.ndim for value in inputs if value is not None) + 1, WIDEST)]
    if node.op_type in NO_LARGER:
        most = max(value.size * (value.ndim + 1) for value in inputs if value is not None)
        return [(most, WIDEST)] * len(node.output)
    if node.op_type == "Range":
        start, limit, delta = (float(np.asarray(v).reshape(())) for v in inputs if v is not None)
        return [(max(int(np.ceil((limit - start) / delta)), 0), WIDEST)]
    found = infer_types(node, inputs, opset)
    shapes = [None if kind is None else _sizes(kind) for kind in found]
    named = [shape for name, shape in zip(node.output, shapes, strict=True) if name]
    if any(shape is None for shape in named):
        return None
    return [(prod(shape), WIDEST) for shape in named if shape is not None]


def evaluate_node(
    node: onnx.NodeProto, inputs: Sequence[Constant | None], opset: int, origin: Origin
) -> list[Constant]:
    """The results of an operator, by onnx.

    Raises:
        ModelError: it cannot be computed.
    """
    feeds = {
        name: value
        for name, value in zip(node.input, inputs, strict=True)
        if name and value is not None
    }
    shapes = [_type(value.dtype, value.shape) for value in feeds.values()]
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
    """Refuse an operator that onnx would compute by its newest definition only.

    Raises:
        UnsupportedError: the operator has another definition in this operator set.
    """
    since = MEANT_OTHERWISE.get(node.op_type, 0)
    if opset < since:
        raise UnsupportedError(
            f"has another definition before operator set {since}, unsupported for constants",
            origin=origin,
            hint=f"convert it: onnx.version_converter.convert_version(model, {since})",
        )


def _run(graph: onnx.GraphProto, feeds: dict[str, Constant], opset: int) -> Sequence[Constant]:
    """Evaluate a graph; by the newest version of operators whose older version onnx lacks."""
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
    """The shapes of floating-point results of any ONNX operator; None if not inferable."""
    floating = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    return [
        _sizes(kind) if kind is not None and kind.tensor_type.elem_type in floating else None
        for kind in infer_types(node, inputs, opset)
    ]


def infer_types(
    node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int
) -> list[onnx.TypeProto | None]:
    """The types of the results of any ONNX operator; None if not inferable."""
    if any(attribute.name in DIVISORS and _has_zero(attribute) for attribute in node.attribute):
        return [None] * len(node.output)
    types, data = {}, {}
    for name, value in zip(node.input, inputs, strict=True):
        if isinstance(value, Tensor):
            types[name] = _type(np.dtype(np.float32), value.shape)
        elif isinstance(value, np.ndarray):
            types[name] = _type(value.dtype, value.shape)
            if value.size <= MAX_PARAMETER_SIZE:
                data[name] = numpy_helper.from_array(value, name)
    try:
        schema = defs.get_schema(node.op_type, opset, "")
        found = shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=[helper.make_opsetid("", opset)]
        )
    except FOREIGN_ERRORS:
        return [None] * len(node.output)
    return [found.get(name) for name in node.output]


def _has_zero(attribute: onnx.AttributeProto) -> bool:
    return not attribute.i and (not attribute.ints or 0 in attribute.ints)


def _type(dtype: np.dtype[np.generic], shape: Shape) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), shape)


def _sizes(found: onnx.TypeProto) -> Shape | None:
    """The shape of a type, if fully specified."""
    kind = found.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(max(int(dim.dim_value), 0) for dim in kind.shape.dim)
