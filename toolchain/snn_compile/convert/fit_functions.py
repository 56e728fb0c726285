"""Functions of a network as lines, at the scales of their payloads."""

from __future__ import annotations

from collections.abc import Mapping

from snn_compile.convert.curve_samples import NoValueError
from snn_compile.convert.linear import Float
from snn_compile.convert.piecewise import fit_curve
from snn_compile.errors import CompileError, UnsupportedError, raise_all
from snn_compile.ir import ann
from snn_compile.ir.curve import Curve
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph


def fit_functions(
    network: ANNGraph,
    ranges: Mapping[NodeId, tuple[Float, Float]],
    scales: Mapping[NodeId, Float],
    levels: int,
    segments: int,
    *,
    measured: bool = True,
) -> dict[NodeId, Curve]:
    """Lines for every function of a network.

    Args:
        network: the float network.
        ranges: smallest and largest argument of each function, (C,) each.
        scales: magnitude represented by the largest payload of each, (C,).
        levels: largest payload.
        segments: maximal number of lines per channel.
        measured: whether the ranges are measured on samples; else they are bounds that arguments
            may never reach.

    Raises:
        UnsupportedError: a function has no value somewhere in its range; all of them at once.
    """
    found: dict[NodeId, Curve] = {}
    wrong: list[CompileError] = []
    for node in network.graph:
        if not isinstance(node, ann.Function):
            continue
        most = node.finest(levels)
        try:
            found[node.id] = fit_curve(
                node.expression,
                *ranges[node.id],
                scales[node.id] / most,
                segments,
                most,
                relative=most > node.usual(levels),
                everywhere=measured,
            )
        except NoValueError as error:
            wrong.append(
                UnsupportedError(
                    f"the function {node.expression} has {error}, the range of its argument",
                    code="undefined-function",
                    origin=node.origin,
                    hint="calibrate with samples in its domain, or bound its argument",
                )
            )
    raise_all(wrong)
    return found
