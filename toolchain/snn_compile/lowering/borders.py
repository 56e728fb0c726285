"""The borders of a converted network: encodings of its inputs, decodings of its outputs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from snn_compile.codings import Coding
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.linear import Float
from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.encoding import Encoding, InputEncoding, OutputDecoding, join_encodings
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.quantize.quantize import Quantization


def encoding_of(folded: ANNGraph, statistics: Calibration, options: CompileOptions) -> Encoding:
    """How the inputs are encoded."""
    bits, ranges = options.input_bits, statistics.inputs
    return join_encodings(
        _input_encoding(node, folded.graph.consumers(node.id), *ranges[node.id], bits)
        for node in folded.inputs
    )


def _input_encoding(
    source: ops.Input, readers: Iterable[AnnNode], low: Float, high: Float, bits: int
) -> InputEncoding:
    """Of an input with its own grid, that grid where it has no more than ``2**bits`` levels."""
    shape, maps = source.shape, maps_shape(source.shape)
    if source.step is not None and source.ends is not None:
        least, most = source.ends
        if most - least < 1 << bits:
            return InputEncoding(source.step.astype(np.float64), least, most, shape, maps)
    if any(isinstance(r, ops.Conv | ops.Dense) and r.step is not None for r in readers):
        low, high = low.min(keepdims=True), high.max(keepdims=True)  # one unit keeps integers
    return InputEncoding.spanning(low, high, bits, shape, maps)


def decodings_of(
    folded: ANNGraph, quantization: Quantization, coding: Coding
) -> dict[NodeId, OutputDecoding]:
    """Decodings of the readouts, which sum a whole window: a step represents the mean over steps.

    Where activations are counts or payloads, the sum itself is the answer.
    """
    n_steps = 1 if coding.single_step else coding.window.n_steps
    return {
        output.id: OutputDecoding(quantization.numbers[output.id].unit / n_steps, output.shape)
        for output in folded.outputs
    }
