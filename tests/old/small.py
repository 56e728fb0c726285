"""Makes small.onnx and small.npz: a convolution, a maximum, a dense layer; twelve images."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(15)
weights = {
    "conv.weight": rng.normal(0.1, 0.4, (3, 1, 3, 3)),
    "conv.bias": rng.normal(0, 0.1, 3),
    "fc.weight": rng.normal(0, 0.4, (4, 12)),
    "fc.bias": rng.normal(0, 0.1, 4),
}
nodes = [
    helper.make_node(
        "Conv", ["x", "conv.weight", "conv.bias"], ["a"], "conv", pads=[1, 1, 1, 1], strides=[1, 1]
    ),
    helper.make_node("Relu", ["a"], ["b"], "relu"),
    helper.make_node("AveragePool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Flatten", ["c"], ["d"], "flatten"),
    helper.make_node("Gemm", ["d", "fc.weight", "fc.bias"], ["y"], "fc", transB=1),
]
graph = helper.make_graph(
    nodes,
    "small",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(model, "small.onnx")
x = rng.uniform(0, 1, (12, 1, 4, 4)).astype(np.float32)
np.savez("small.npz", x=x, y=rng.integers(0, 4, 12))
