"""Functions as sums of rectifiers, for neurons that are rectifiers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from snn_compile.convert.curve_samples import NoValueError
from snn_compile.convert.linear import Float
from snn_compile.convert.piecewise import fit_curve
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.curve import Curve
from snn_compile.ir.expression import Expression, Number, evaluate, is_uniform, steps
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import APPROXIMATION, Finding, PassResult

MOST = 8
"""Maximal number of rectifiers for a function; each is a population."""
SHARE = 100
"""Reciprocal tolerance, relative to the values between the outer bends."""
FAR = 64.0
"""Point from which a function must be linear, as a multiple of its outermost bend."""
EXACT = 2.0**-16


@dataclass(frozen=True, eq=False)
class Polygon:
    """``value[0]`` at the first corner, straight lines from corner to corner and beyond the ends.

    Attributes:
        corner: ascending, (K,), at least one.
        value: value at each, (K,).
        left: slope before the first corner.
        right: slope behind the last.
        error: largest distance from the function.
    """

    corner: Float
    value: Float
    left: float
    right: float
    error: float

    @property
    def bends(self) -> Float:
        """Slope behind the first corner, and its change at each further one."""
        slopes = np.diff(self.value) / np.diff(self.corner)
        changes: Float = np.diff(np.append(slopes, self.right), prepend=0.0)
        return changes


@dataclass(frozen=True)
class SumOfRectifiers:
    """``f(x) = f(b_0) - s * relu(b_0 - x) + sum_k c_k * relu(x - b_k)`` where few terms suffice.

    Piecewise linear functions are exact; others are approximated if they are linear outside some
    range, within a share of their values there. The rest are unchanged; the coding refuses them.
    """

    name: ClassVar[str] = "sum-of-rectifiers"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Replace the functions that are such sums."""
        nodes: list[AnnNode] = []
        findings: list[Finding] = []
        for node in network.graph:
            if not isinstance(node, ann.Function) or (found := polygon(node.expression)) is None:
                nodes.append(node)
                continue
            added = _rectified(node, found)
            nodes.extend(added)
            count = sum(isinstance(part, ann.Relu) for part in added)
            message, code = f"becomes a sum of {count} rectifiers", self.name
            if found.error > 0:
                message, code = f"{message}, within {found.error:.2g}", APPROXIMATION
            findings.append(Finding(message, node.origin, code))
        return PassResult(network.with_graph(Graph(nodes)), tuple(findings))


def polygon(expression: Expression) -> Polygon | None:
    """The corners of a function, or None if too many are needed."""
    if not is_uniform(expression):
        return None
    reach = _reach(expression)
    ends = [_tail(expression, side * reach) for side in (-1.0, 1.0)]
    if ends[0] is None or ends[1] is None:
        return None
    corners = _corners(expression, reach)
    if corners is None:
        return None
    value = evaluate(expression, corners[None])[0]
    x = np.linspace(-2.0 * reach, 2.0 * reach, 1 << 14)
    found = Polygon(corners, value, ends[0], ends[1], 0.0)
    off = float(np.abs(_at(found, x) - evaluate(expression, x[None])[0]).max())
    most = float(np.ptp(value)) / SHARE
    if not off <= max(most, EXACT * reach):
        return None
    return Polygon(corners, value, ends[0], ends[1], off if off > EXACT * reach else 0.0)


def _reach(expression: Expression) -> float:
    """Distance from 0 within which a function with such constants can bend."""
    numbers = [
        abs(float(operand.values))
        for step in steps(expression)
        for operand in step.operands
        if isinstance(operand, Number) and float(operand.values) != 0
    ]
    return 2.0 * max([1.0, *numbers]) / min([1.0, *numbers])


def _tail(expression: Expression, far: float) -> float | None:
    """The slope far from 0, if the function is linear there."""
    x = far * np.array([1.0, 2.0, FAR])
    y = evaluate(expression, x[None])[0]
    if not np.isfinite(y).all():
        return None
    slope = float(y[1] - y[0]) / float(x[1] - x[0])
    off = abs(float(y[2] - y[0]) - slope * float(x[2] - x[0]))
    return slope if off <= EXACT * abs(far) else None


def _corners(expression: Expression, reach: float) -> Float | None:
    """Bends of the function, or else sufficiently dense points between the outer bends."""
    ends, step = np.array([reach]), np.array([reach / 64])
    try:
        curve = fit_curve(expression, -ends, ends, step, MOST, np.inf)
    except NoValueError:
        return None
    if float(curve.error[0]) <= 2.0**-12 * step[0]:
        return _crossings(curve)
    x = np.linspace(-reach, reach, 1 << 12)
    y = evaluate(expression, x[None])[0]
    off_left = np.abs(y - (y[0] + _slope(x, y, 0, 1) * (x - x[0]))) > EXACT * reach
    off_right = np.abs(y - (y[-1] + _slope(x, y, -2, -1) * (x - x[-1]))) > EXACT * reach
    first, last = x[off_left.argmax() - 1], x[len(x) - off_right[::-1].argmax()]
    for n in range(2, MOST + 1):
        corners = np.linspace(first, last, n)
        value = evaluate(expression, corners[None])[0]
        between = (x >= first) & (x <= last)
        off = np.abs(np.interp(x[between], corners, value) - y[between]).max()
        if off <= np.ptp(value) / SHARE:
            return corners
    return None


def _crossings(curve: Curve) -> Float | None:
    """Intersections of the lines of a single channel, or None if some do not meet."""
    slope, start = curve.slope[0], curve.value[0] - curve.slope[0] * curve.anchor[0]
    if len(slope) < 2 or (np.diff(slope) == 0).any():
        return None
    corners: Float = -np.diff(start) / np.diff(slope)
    scale = np.abs(curve.breakpoints[0]).max() + 1.0
    return corners if np.abs(corners - curve.breakpoints[0]).max() <= scale / 256 else None


def _slope(x: Float, y: Float, a: int, b: int) -> float:
    return float(y[b] - y[a]) / float(x[b] - x[a])


def _at(found: Polygon, x: Float) -> Float:
    """The polygon's values."""
    first = float(found.corner[0])
    total: Float = found.value[0] - found.left * np.maximum(first - x, 0.0)
    for corner, bend in zip(found.corner, found.bends, strict=True):
        total = total + bend * np.maximum(x - corner, 0.0)
    return total


def _rectified(node: ann.Function, found: Polygon) -> list[AnnNode]:
    """Rectifiers of the shifted value, and their sum under the name of the function."""
    added: list[AnnNode] = []
    terms: list[NodeId] = []

    def affine(part: str, source: NodeId, scale: float, shift: float) -> NodeId:
        axes = (1,) * len(node.shape)
        factor, offset = np.full(axes, scale, np.float32), np.full(axes, shift, np.float32)
        head = _head(node, part, (source,))
        added.append(ann.Affine(**head, scale=factor, shift=offset))
        return added[-1].id

    def term(part: str, sign: float, corner: float, weight: float) -> None:
        shifted = affine(f"shifted{part}", node.inputs[0], sign, -sign * corner)
        added.append(ann.Relu(**_head(node, f"rectifier{part}", (shifted,))))
        terms.append(affine(f"weighed{part}", added[-1].id, weight, 0.0))

    if found.left:
        term("", -1.0, float(found.corner[0]), -found.left)
    for k, (corner, bend) in enumerate(zip(found.corner, found.bends, strict=True)):
        if abs(bend) > EXACT:
            term(str(k), 1.0, float(corner), float(bend))
    total = terms[0]
    if len(terms) > 1:
        added.append(ann.Add(**_head(node, "sum", tuple(terms))))
        total = added[-1].id
    affine("", total, 1.0, float(found.value[0]))
    return added


def _head(node: ann.Function, part: str, inputs: tuple[NodeId, ...]) -> dict[str, Any]:
    name = NodeId(f"{node.id}.{part}") if part else node.id
    return {**node.common_fields, "id": name, "inputs": inputs}
