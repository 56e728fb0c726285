"""All files of a network."""

from __future__ import annotations

from onnx import ModelProto

from snn_backends.onnx_integers import qdq
from snn_backends.onnx_integers.file import INTEGERS, QUANTIZED, REALS, Borders, model
from snn_compile.ir.quantized import QuantizedGraph


def models(program: QuantizedGraph, borders: Borders | None) -> dict[str, ModelProto]:
    """The files of a network by name.

    Those between real values are written where the units are known, the one for accelerators where
    the network has such a form.
    """
    found = {INTEGERS: model(program)}
    if borders is not None:
        found[REALS] = model(program, borders)
        if not qdq.obstacle(program):
            found[QUANTIZED] = qdq.model(program, borders)
    return found
