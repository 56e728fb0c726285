"""The ONNX frontend: the only place that imports ``onnx``."""

from snn_frontends.onnx.frontend import OnnxFrontend

__all__ = ["OnnxFrontend"]
