"""Forms of quantized and optimized files that cannot be read, by name."""

from __future__ import annotations

from snn_compile.errors import Origin, UnsupportedError

LAYOUTS = frozenset({"com.microsoft.nchwc", "com.ms.internal.nhwc"})
"""Domains of operators with values in a memory layout of one processor."""
BLOCKED = frozenset({"MatMulBnb4", "MatMulFpQ4", "MatMulNBits", "GatherBlockQuantized"})
NHWC = frozenset({"NhwcMaxPool", "NhwcConv", "NhwcFusedConv"})
RECURRENT = frozenset({"DynamicQuantizeLSTM", "QAttention", "QOrderedAttention"})


def refusal(domain: str, origin: Origin) -> UnsupportedError | None:
    """The error for an operator of which no form can be read."""
    if domain in LAYOUTS or (domain == "com.microsoft" and origin.op in NHWC):
        return UnsupportedError(
            f"belongs to the layout of one processor (domain '{domain}')",
            code="processor-layout",
            origin=origin,
            hint="save the optimized model with graph_optimization_level = ORT_ENABLE_EXTENDED, "
            "or compile the file that it was made from",
        )
    if domain != "com.microsoft":
        return None
    if origin.op in BLOCKED:
        return UnsupportedError(
            "packs weights in blocks with a scale each, which no row of synapses has",
            code="blocked-weights",
            origin=origin,
            hint="quantize the weights per tensor or per channel: "
            "onnxruntime.quantization.quantize_static(..., per_channel=True)",
        )
    if origin.op in RECURRENT:
        return UnsupportedError(
            "this layer has no spiking form",
            origin=origin,
            hint="use a network of convolutions and dense layers",
        )
    return None
