"""ONNX with integer operators: networks of one pass, for any runtime of ONNX."""

from snn_backends.onnx_integers.backend import OnnxBackend

__all__ = ["OnnxBackend"]
