"""Whether what reads the integers of a file leaves them the real numbers that they stand for.

The expansion computes with real values instead of integers: those of a ``DynamicQuantizeLinear``
have a scale of 1, and products of integers do not wrap around. That is right if the integers, the
zero point and the scale meet again in the end, and if nothing rounds in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import onnx
from onnx import TensorProto

MOVES = frozenset(
    "Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split()
)
"""Operators that leave values as they are."""
PRODUCTS = frozenset({"ConvInteger", "MatMulInteger", "MatMulInteger16"})
"""Products of integers: the operands, then their zero points."""
SHAPES = frozenset({"Shape", "Size"})
WHOLE = MOVES | {"Add", "MaxPool", "Neg", "ReduceMax", "ReduceMin", "Relu", "Sub"}
"""Operators that make integers of integers, too few of them to leave the 32 bits of a product."""
REAL = frozenset({"ArgMax", "DequantizeLinear", "QuantizeLinear"})
WIDE = frozenset({TensorProto.INT32, TensorProto.INT64})
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})


class Role(Enum):
    """What a value is."""

    INTEGERS = "integers"
    ZERO = "zero point"
    SCALE = "scale"
    PRODUCT = "product, which its scale must still multiply"
    WHOLE = "product of integers that stand for themselves"


@dataclass(frozen=True)
class Origins:
    """What a value is of a dynamic quantization or a product, by its position in the graph."""

    role: Role
    of: int


def misread(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> set[int]:
    """Positions of the dynamic quantizations that their readers do not undo.

    Also of operators that compute with a product of integers otherwise than real numbers would.
    """
    found: set[int] = set()
    roles: dict[str, Origins] = {}
    for k, node in enumerate(nodes):
        if node.op_type == "DynamicQuantizeLinear" and node.domain in ("", "ai.onnx"):
            parts = (Role.INTEGERS, Role.SCALE, Role.ZERO)
            roles |= {n: Origins(p, k) for n, p in zip(node.output, parts, strict=False) if n}
            continue
        read = [roles.get(name) for name in (*node.input, *_captured(node))]
        if node.op_type in SHAPES:
            continue
        if any(one and one.role is Role.WHOLE for one in read):
            to = _to(node) if node.op_type == "Cast" else None
            if node.op_type in WHOLE or to in WIDE:
                roles.update(dict.fromkeys(node.output, Origins(Role.WHOLE, k)))
            elif node.op_type not in REAL and to not in FLOATS:
                found.add(k)
        elif not any(read):
            if node.op_type in PRODUCTS:
                roles[node.output[0]] = Origins(Role.WHOLE, k)
        else:
            result = _result(node, read)
            if isinstance(result, Origins):
                roles.update(dict.fromkeys(node.output, result))
            elif not result:
                found.update(one.of for one in read if one)
    ends = [roles[name] for name in outputs if name in roles]
    found.update(one.of for one in ends if one.role is not Role.WHOLE)
    return found


def _result(node: onnx.NodeProto, read: list[Origins | None]) -> Origins | bool:
    """What a result is; True if a real value, False if it is unknown."""
    first, rest = read[0], read[1:]
    padded = [*read, None, None, None, None, None]
    if node.op_type in MOVES or (node.op_type == "Cast" and _stays(node, first)):
        alike = all(one == first for one in rest) if node.op_type == "Concat" else not any(rest)
        return first if first and alike else False
    if node.op_type in PRODUCTS and first and not (padded[1] or padded[3]):
        zero = replace(first, role=Role.ZERO)
        met = first.role is Role.INTEGERS and padded[2] == zero
        return replace(first, role=Role.PRODUCT) if met else False
    whole = first and [replace(first, role=r) for r in (Role.INTEGERS, Role.SCALE, Role.ZERO)]
    if node.op_type == "DequantizeLinear":
        return padded[:3] == whole
    if node.op_type == "MatMulIntegerToFloat":
        return [padded[k] for k in (0, 2, 4)] == whole and not any(padded[k] for k in (1, 3, 5))
    if node.op_type == "Mul":
        known = [one for one in read if one]
        if len(known) == 1 and known[0].role in (Role.SCALE, Role.PRODUCT):
            return known[0]
        return {one.role for one in known} == {Role.SCALE, Role.PRODUCT} and (
            known[0].of == known[1].of
        )
    return False


def _stays(node: onnx.NodeProto, first: Origins | None) -> bool:
    """Whether a conversion keeps a value."""
    keeps = first is not None and first.role in (Role.SCALE, Role.PRODUCT)
    return keeps and _to(node) in FLOATS


def _to(node: onnx.NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "to"), 0)


def _captured(node: onnx.NodeProto) -> list[str]:
    """Names that the graphs of an operator of control flow read."""
    graphs = [a.g for a in node.attribute if a.HasField("g")]
    return [n for g in graphs for one in g.node for n in (*one.input, *_captured(one))]
