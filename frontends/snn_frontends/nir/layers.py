"""NIR's linear nodes as float operators, with their shapes."""

from __future__ import annotations

from math import prod
from typing import Any

import nir
import numpy as np

from snn_compile.errors import Origin, UnsupportedError
from snn_compile.files.documents import check_size
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape

Layer = list[AnnNode]
WEIGHT_BYTES = 8


def linear(node: Any, name: NodeId, source: NodeId, shape: Shape, origin: Origin) -> Layer:
    """The operators of one linear node; the last has the node's name.

    Args:
        node: any node that is neither a neuron nor a port.
        name: id of the last operator.
        source: its source.
        shape: shape of its source.
        origin: of the node.

    Raises:
        UnsupportedError: the node is not supported.
        TooLargeError: it exceeds the memory budget.
    """
    place: dict[str, Any] = {"id": name, "inputs": (source,), "origin": origin}
    match node:
        case nir.Affine() | nir.Linear():
            return [_dense(node, shape, place)]
        case nir.Conv2d():
            return [_conv2d(node, shape, place)]
        case nir.Conv1d():
            return _conv1d(node, shape, place)
        case nir.SumPool2d():
            return [_sum_pool(node, shape, place)]
        case nir.AvgPool2d():
            return [_average_pool(node, shape, place)]
        case nir.Flatten():
            return [ann.Reshape(**place, shape=_flattened(node, shape, origin))]
        case nir.Scale():
            scale = np.broadcast_to(np.asarray(node.scale, np.float64), shape)
            return [
                ann.Affine(**place, shape=shape, scale=scale, shift=np.zeros((1,) * len(shape)))
            ]
    reason, hint = _REFUSED.get(type(node).__name__, ("it is not supported", "remove it"))
    raise UnsupportedError(reason, origin=origin, hint=hint)


_REFUSED = {
    "Delay": ("delays of synapses are not supported", "train without delays"),
    "Threshold": (
        "a threshold without a state is not supported",
        "use an IF neuron that is reset in every step",
    ),
    "LI": (
        "a leaky integrator is not supported",
        "read the sum of the last layer's input, or spikes",
    ),
    "CubaLI": (
        "a leaky integrator is not supported",
        "read the sum of the last layer's input, or spikes",
    ),
    "I": (
        "an integrator is supported only before the output, with r 1",
        "use a spiking neuron here",
    ),
}


def _dense(node: nir.Affine | nir.Linear, shape: Shape, place: dict[str, Any]) -> ann.Dense:
    weight = np.asarray(node.weight)
    if weight.ndim != 2 or len(shape) != 1 or weight.shape[1] != shape[0]:
        raise UnsupportedError(
            f"weights of shape {weight.shape} for an input of shape {shape}",
            code="unsupported-shape",
            origin=place["origin"],
            hint="put a Flatten in front: a dense layer takes a vector",
        )
    bias = getattr(node, "bias", None)
    bias = np.zeros(len(weight), weight.dtype) if bias is None else np.asarray(bias)
    return ann.Dense(**place, shape=(len(weight),), weight=weight, bias=bias)


def _conv2d(node: nir.Conv2d, shape: Shape, place: dict[str, Any]) -> ann.Conv:
    _check_axes(shape, 3, place["origin"])
    weight = np.asarray(node.weight)
    groups = int(node.groups)
    if groups < 1 or len(weight) % groups or weight.shape[1] * groups != shape[0]:
        raise UnsupportedError(
            f"weights of shape {weight.shape} in {groups} groups for an input of shape {shape}",
            code="unsupported-shape",
            origin=place["origin"],
        )
    kernel = (weight.shape[2], weight.shape[3])
    dilation = _pair(node.dilation)
    geometry = Geometry(
        stride=_pair(node.stride),
        padding=_padding(node.padding, kernel, dilation),
        dilation=dilation,
        groups=groups,
    )
    size = geometry.output_size((shape[1], shape[2]), kernel)
    bias = np.broadcast_to(np.asarray(node.bias), (len(weight),)).copy()
    return ann.Conv(
        **place, shape=(len(weight), *size), weight=weight, bias=bias, geometry=geometry
    )


def _conv1d(node: nir.Conv1d, shape: Shape, place: dict[str, Any]) -> Layer:
    """A convolution over maps of height 1."""
    _check_axes(shape, 2, place["origin"])
    name, (source,), origin = place["id"], place["inputs"], place["origin"]
    row, wide = NodeId(f"{name}/row"), NodeId(f"{name}/wide")
    dilation, weight = int(_first(node.dilation)), np.asarray(node.weight)[:, :, None, :]
    padding = node.padding if _is_text(node.padding) else (0, int(_first(node.padding)))
    as_2d = nir.Conv2d(
        input_shape=None,
        weight=weight,
        stride=(1, int(_first(node.stride))),
        padding=_as_text(padding),
        dilation=(1, dilation),
        groups=int(node.groups),
        bias=node.bias,
    )
    maps = (shape[0], 1, shape[1])
    conv = _conv2d(as_2d, maps, {"id": wide, "inputs": (row,), "origin": origin})
    return [
        ann.Reshape(id=row, inputs=(source,), origin=origin, shape=maps),
        conv,
        ann.Reshape(id=name, inputs=(wide,), origin=origin, shape=(conv.shape[0], conv.shape[2])),
    ]


def _sum_pool(node: nir.SumPool2d, shape: Shape, place: dict[str, Any]) -> ann.Conv:
    geometry, kernel, size = _pooled(node, shape, place["origin"])
    return ann.Conv(
        **place,
        shape=(shape[0], *size),
        weight=np.ones((shape[0], 1, *kernel)),
        bias=np.zeros(shape[0]),
        geometry=geometry,
    )


def _average_pool(node: nir.AvgPool2d, shape: Shape, place: dict[str, Any]) -> ann.AveragePool:
    geometry, kernel, size = _pooled(node, shape, place["origin"])
    return ann.AveragePool(
        **place, shape=(shape[0], *size), kernel=kernel, geometry=geometry, count_padding=True
    )


def _pooled(
    node: nir.SumPool2d | nir.AvgPool2d, shape: Shape, origin: Origin
) -> tuple[Geometry, tuple[int, int], tuple[int, int]]:
    _check_axes(shape, 3, origin)
    kernel = _pair(node.kernel_size)
    stride = kernel if node.stride is None else _pair(node.stride)
    geometry = Geometry(
        stride=stride, padding=_padding(node.padding, kernel, (1, 1)), groups=shape[0]
    )
    size = geometry.output_size((shape[1], shape[2]), kernel)
    if min(*kernel, *size) < 1:
        raise UnsupportedError(
            f"windows of {list(kernel)} for an input of shape {shape}",
            code="unsupported-shape",
            origin=origin,
        )
    check_size(f"its windows of {list(kernel)}", shape[0] * prod(kernel) * WEIGHT_BYTES)
    return geometry, kernel, size


def _flattened(node: nir.Flatten, shape: Shape, origin: Origin) -> Shape:
    """NIR counts the axes without the batch."""
    first, last = int(node.start_dim), int(node.end_dim)
    first, last = (axis + len(shape) if axis < 0 else axis for axis in (first, last))
    if len(shape) == 1:
        return shape
    if not 0 <= first <= last < len(shape):
        raise UnsupportedError(
            f"axes {node.start_dim} to {node.end_dim} of an input of shape {shape}",
            code="unsupported-shape",
            origin=origin,
        )
    return (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


def _check_axes(shape: Shape, expected_rank: int, origin: Origin) -> None:
    if len(shape) != expected_rank:
        raise UnsupportedError(
            f"an input of shape {shape}; it needs {expected_rank} axes without the batch",
            code="unsupported-shape",
            origin=origin,
        )


def _padding(
    padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right. ``same`` puts the odd zero last, as torch does."""
    text = _as_text(padding) if _is_text(padding) else ""
    if text == "valid":
        return 0, 0, 0, 0
    if text == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        top, left = total[0] // 2, total[1] // 2
        return top, left, total[0] - top, total[1] - left
    y, x = _pair(padding)
    return y, x, y, x


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _as_text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _first(value: Any) -> Any:
    return np.asarray(value).ravel()[0]


def _pair(value: Any) -> tuple[int, int]:
    flat = np.asarray(value).ravel()
    return int(flat[0]), int(flat[-1])
