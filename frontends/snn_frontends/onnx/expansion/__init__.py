"""Operators that stand for several others, replaced by those before the import.

Quantized operators become a dequantization of each input, the operator on real numbers, and a
quantization of the result. What onnxruntime's optimizer has fused becomes its parts again.
"""

from snn_frontends.onnx.expansion.expand import expand, expanded

__all__ = ["expand", "expanded"]
