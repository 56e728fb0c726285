"""Sizes of a file's tensors, from their declarations."""

from __future__ import annotations

from math import prod

from onnx import TensorProto, helper

from snn_compile.files.documents import DamagedError

_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
"""Types packed several to a byte in the file, but not in memory."""


def n_bytes(tensor: TensorProto) -> int:
    """Size of a tensor's raw data in bytes.

    Raises:
        DamagedError: its type has no raw data, or its shape is invalid.
    """
    count = n_elements(tensor)
    kind = type_name(tensor)
    bits = _BITS.get(kind) or 8 * item_bytes(tensor)
    return -(-count * bits // 8)


def n_elements(tensor: TensorProto) -> int:
    """Number of elements of a tensor.

    Raises:
        DamagedError: its shape is invalid.
    """
    if any(size < 0 for size in tensor.dims):
        raise DamagedError(f"the shape {list(tensor.dims)[:16]}")
    return prod(tensor.dims)


def type_name(tensor: TensorProto) -> str:
    """ONNX's name of the type of a tensor's elements.

    Raises:
        DamagedError: it is unknown.
    """
    if tensor.data_type not in TensorProto.DataType.values():
        raise DamagedError(f"the unknown type {tensor.data_type}")
    return str(TensorProto.DataType.Name(tensor.data_type))


def item_bytes(tensor: TensorProto) -> int:
    """Size of an element in memory in bytes.

    Raises:
        DamagedError: they are texts, or of an unknown type.
    """
    name = type_name(tensor)
    if name in ("STRING", "UNDEFINED"):
        raise DamagedError(f"elements of type {name.lower()}")
    return int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
