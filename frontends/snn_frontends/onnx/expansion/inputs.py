"""Inputs of integers, as real inputs on the grid of these integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from snn_frontends.onnx.expansion.call import CONTRIBUTOR

TYPES = frozenset({TensorProto.INT8, TensorProto.INT16, TensorProto.UINT8, TensorProto.UINT16})
"""Types of integers that pixels and quantized values have."""


def integers_as_numbers(model: onnx.ModelProto, modules: Sequence[str]) -> list[str]:
    """Declare inputs of integers as floats, rounded to integers.

    Args:
        model: the file's contents.
        modules: module of the model's source of each node.

    Returns:
        The same for the new nodes.
    """
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    given = {tensor.name for tensor in graph.initializer}
    first = list[onnx.NodeProto]()
    for entry in graph.input:
        kind = entry.type.tensor_type.elem_type
        if entry.name in given or kind not in TYPES:
            continue
        name = f"{entry.name}.quantized"
        while name in taken:
            name += "_"
        one = numpy_helper.from_array(np.array(1, np.float32), f"{name}.step")
        zero = numpy_helper.from_array(
            np.array(0, helper.tensor_dtype_to_np_dtype(kind)), f"{name}.zero"
        )
        graph.initializer.extend([one, zero])
        entry.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            node.input[:] = [name if read == entry.name else read for read in node.input]
        inputs = [entry.name, one.name, zero.name]
        first.append(
            helper.make_node("QuantizeLinear", inputs, [name], name=name, domain=CONTRIBUTOR)
        )
    rest = list(graph.node)
    if first:
        del graph.node[:]
        graph.node.extend([*first, *rest])
    return [*[""] * len(first), *modules]
