"""The passes that need no data and leave the function of a trained network unchanged."""

from __future__ import annotations

from snn_compile.codings import Coding
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.footprint import check_footprint
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.isolate_operands import IsolateOperands
from snn_compile.convert.join_convolutions import JoinConvolutions, joins_convolutions
from snn_compile.convert.join_rectifiers import JoinRectifiers, sums_of_rectifiers
from snn_compile.convert.lay_out import LayOut
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.magnitudes import check_magnitudes
from snn_compile.convert.refine_statistics import RefineStatistics
from snn_compile.convert.set_payloads import SetPayloads
from snn_compile.convert.sink_wiring import SinkWiring
from snn_compile.convert.sum_of_rectifiers import SumOfRectifiers
from snn_compile.ir import ann as ops
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassObserver, PassResult, Pipeline, no_observer
from snn_compile.targets.target import Target


def folding(*, signed: bool = False, target: Target | None = None) -> Pipeline[ANNGraph, ANNGraph]:
    """The passes that leave the function of the trained network unchanged.

    Args:
        signed: whether payloads are signed.
        target: the chip, if it is known.
    """
    return (
        Pipeline.of(SinkWiring())
        .then(FoldBatchNorm())
        .then(FoldPadding())
        .then(LowerMaxPool())
        .then(RefineStatistics())
        .then(LayOut())
        .then(InsertRectifiers(signed, target))
        .then(IsolateOperands())
    )


FOLDING = folding()


def folding_of(
    network: ANNGraph,
    coding: Coding,
    target: Target | None = None,
    widths: tuple[tuple[str, int], ...] = (),
) -> Pipeline[ANNGraph, ANNGraph]:
    """The folding passes for a network, a coding, a target and payload widths of layers.

    Functions become rectifiers first if the coding has no other neurons. If a network needs
    piecewise linear neurons anyway, they also carry signed values.
    """
    if target is not None and not coding.payloads and target.payload_bits.value != 0:
        # Counts are too coarse for another rounding, and neurons with many sources can be split
        # exactly: pools stay composed.
        target = None
    first = (JoinConvolutions(),) if joins_convolutions(network) else ()
    if coding.payloads:
        joins = any(sums_of_rectifiers(network))
        signed = joins or any(
            isinstance(node, ops.Function | ops.Product) for node in network.graph
        )
        steps = folding(signed=signed, target=target).steps
        before = (JoinRectifiers(),) if joins else ()
        return Pipeline((*first, *before, *steps, *((SetPayloads(widths),) if widths else ())))
    if not any(isinstance(node, ops.Function) for node in network.graph):
        return Pipeline((*first, *folding(target=target).steps))
    return Pipeline((*first, SumOfRectifiers(), *folding(target=target).steps))


def fold(
    network: ANNGraph,
    coding: Coding,
    observe: PassObserver = no_observer,
    *,
    measured: bool = False,
    target: Target | None = None,
    widths: tuple[tuple[str, int], ...] = (),
) -> PassResult[ANNGraph]:
    """The folded network, after checks of its size and its parameters."""
    folding = folding_of(network, coding, target, widths)(network, observe)
    check_footprint(folding.graph, measured=measured)
    check_magnitudes(folding.graph)
    return folding
