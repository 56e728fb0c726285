"""Whether what reads the integers of a file leaves them the real numbers that they stand for.

The expansion computes with real values instead of integers: those of a ``DynamicQuantizeLinear``
have a scale of 1, and sums and products of integers do not wrap around. That is right if the
integers, the zero point and the scale meet again in the end, if nothing rounds in between, and if
the type holds every sum. The last is for the import to prove, which knows the weights (``Within``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import onnx
from onnx import TensorProto

from snn_frontends.onnx.wired import WIRED

MOVES = WIRED | {"Concat", "Split"}
"""Operators that leave values as they are."""
PRODUCTS = frozenset({"ConvInteger", "MatMulInteger", "MatMulInteger16"})
"""Products of integers: the operands, then their zero points."""
SHAPES = frozenset({"Shape", "Size"})
SUMS = frozenset({"Add", "Neg", "Sub"})
"""Operators whose integers may leave their type."""
WHOLE = MOVES | SUMS | {"MaxPool", "ReduceMax", "ReduceMin", "Relu"}
"""Operators that make integers of integers."""
REAL = frozenset({"ArgMax", "DequantizeLinear", "QuantizeLinear"})
BITS: dict[int, int] = {TensorProto.INT32: 32, TensorProto.INT64: 64}
NARROW = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16})
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})


class Role(Enum):
    """What a value is."""

    INTEGERS = "integers"
    ZERO = "zero point"
    SCALE = "scale"
    PRODUCT = "product, which its scale must still multiply"
    WHOLE = "sum or product of integers that stand for themselves"
    GRID = "integers on a fixed grid"


OF_A_BATCH = frozenset({Role.INTEGERS, Role.ZERO, Role.SCALE, Role.PRODUCT})
"""What is never computed, since no chip measures the scale of each batch."""


@dataclass(frozen=True)
class Origins:
    """What a value is of a quantization or a product, by its position in the graph.

    Attributes:
        role: what it is.
        of: the position.
        bits: of its type; 0 for one of at most 16.
    """

    role: Role
    of: int
    bits: int = 0


@dataclass(frozen=True)
class Found:
    """What has been found about the integers of a graph, by positions of operators.

    Attributes:
        misread: dynamic quantizations that their readers do not undo, and operators that compute
            with integers otherwise than real numbers would.
        mixing: sums of what is on a scale of each batch and what is not, and these quantizations.
        whole: operators whose results, as real numbers, are the integers themselves if their type
            has room for them, and the bits of that type.
    """

    misread: set[int] = field(default_factory=set)
    mixing: dict[int, set[int]] = field(default_factory=dict)
    whole: dict[int, int] = field(default_factory=dict)


def follow(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], integers: Sequence[str] = ()
) -> Found:
    """Follow the integers through a graph.

    Args:
        nodes: of the graph, in order.
        outputs: names of its outputs.
        integers: names of inputs of at most 16 bits.
    """
    found = Found()
    roles = dict.fromkeys(integers, Origins(Role.GRID, -1))
    for k, node in enumerate(nodes):
        if node.domain in ("", "ai.onnx"):
            if node.op_type == "DynamicQuantizeLinear":
                parts = (Role.INTEGERS, Role.SCALE, Role.ZERO)
                roles |= {n: Origins(p, k) for n, p in zip(node.output, parts, strict=False) if n}
                continue
            if node.op_type == "QuantizeLinear":
                roles[node.output[0]] = Origins(Role.GRID, k)
                continue
        read = [roles.get(name) for name in (*node.input, *_captured(node))]
        if node.op_type in SHAPES:
            continue
        if of_a_batch := [one for one in read if one and one.role in OF_A_BATCH]:
            of = _of_a_batch(node, read)
            if isinstance(of, Origins):
                roles.update(dict.fromkeys(node.output, of))
            elif not of and node.op_type in SUMS:
                found.mixing[k] = {one.of for one in of_a_batch}
            elif not of:
                found.misread.update(one.of for one in of_a_batch)
        elif (result := _integers(node, read, k)) is not None:
            roles.update(dict.fromkeys(node.output, result))
            if result.role is Role.WHOLE and node.op_type in SUMS | PRODUCTS | {"Cast"}:
                found.whole[k] = result.bits
        elif any(one and one.role is Role.WHOLE for one in read) and not _is_real(node):
            found.misread.add(k)
    ends = [roles[name] for name in outputs if name in roles]
    found.misread.update(one.of for one in ends if one.role in OF_A_BATCH)
    found.misread.difference_update(*found.mixing.values())
    return found


def _integers(node: onnx.NodeProto, read: list[Origins | None], k: int) -> Origins | None:
    """What a result of integers is, none of which depend on a scale of each batch; or None."""
    if node.op_type in PRODUCTS:
        return Origins(Role.WHOLE, k, 32)
    known = [one for one in read if one]
    if not known:
        return None
    whole = any(one.role is Role.WHOLE for one in known)
    bits = BITS.get(_to(node), 0) if node.op_type == "Cast" else _bits(read)
    if node.op_type == "Cast" or node.op_type in MOVES:
        if not bits and (whole or _to(node) in FLOATS):
            return None
        return Origins(Role.WHOLE if whole else Role.GRID, k, bits)
    if node.op_type in WHOLE and bits and (whole or node.op_type in SUMS):
        return Origins(Role.WHOLE, k, bits)
    return None


def _bits(read: list[Origins | None]) -> int:
    return max((one.bits for one in read if one), default=0)


def _is_real(node: onnx.NodeProto) -> bool:
    """Whether an operator reads integers as the numbers that they are."""
    return node.op_type in REAL or (node.op_type == "Cast" and _to(node) in FLOATS)


def _of_a_batch(node: onnx.NodeProto, read: list[Origins | None]) -> Origins | bool:
    """What a result on a scale of each batch is; True if a real value, False if it is unknown."""
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
    if node.op_type in SUMS:  # of products on one scale, which multiplies their sum as well
        return first if first and first.role is Role.PRODUCT and {*rest} <= {first} else False
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
