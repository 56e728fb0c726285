"""The passes that need no data and leave the function of a trained network unchanged."""

from __future__ import annotations

from snn_compile.codings import Coding
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.footprint import check_footprint
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.isolate_operands import IsolateOperands
from snn_compile.convert.join_rectifiers import JoinRectifiers, sums_of_rectifiers
from snn_compile.convert.lay_out import LayOut
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.magnitudes import check_magnitudes
from snn_compile.convert.refine_statistics import RefineStatistics
from snn_compile.convert.sink_wiring import SinkWiring
from snn_compile.convert.sum_of_rectifiers import SumOfRectifiers
from snn_compile.ir import ann as ops
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassObserver, PassResult, Pipeline, no_observer


def folding(*, signed: bool = False) -> Pipeline[ANNGraph, ANNGraph]:
    """The passes that leave the function of the trained network unchanged.

    Args:
        signed: whether one population carries values of either sign.
    """
    return (
        Pipeline.of(SinkWiring())
        .then(FoldBatchNorm())
        .then(FoldPadding())
        .then(LowerMaxPool())
        .then(RefineStatistics())
        .then(LayOut())
        .then(InsertRectifiers(signed))
        .then(IsolateOperands())
    )


FOLDING = folding()


def folding_of(network: ANNGraph, coding: Coding) -> Pipeline[ANNGraph, ANNGraph]:
    """Those of a network and a coding.

    Functions become rectifiers first where there are no other neurons. Where a network needs
    neurons with tables of lines anyway, they carry values of either sign, too.
    """
    if coding.payloads:
        joins = any(sums_of_rectifiers(network))
        signed = joins or any(
            isinstance(node, ops.Function | ops.Product) for node in network.graph
        )
        return Pipeline((*((JoinRectifiers(),) if joins else ()), *folding(signed=signed).steps))
    if not any(isinstance(node, ops.Function) for node in network.graph):
        return FOLDING
    return Pipeline((SumOfRectifiers(), *FOLDING.steps))


def fold(
    network: ANNGraph,
    coding: Coding,
    observe: PassObserver = no_observer,
    *,
    measured: bool = False,
) -> PassResult[ANNGraph]:
    """What the passes that need no data make of a network, if it can be worked with."""
    folding = folding_of(network, coding)(network, observe)
    check_footprint(folding.graph, measured=measured)
    check_magnitudes(folding.graph)
    return folding
