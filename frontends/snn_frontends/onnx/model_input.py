"""The inputs of a model, and what the network and runtimes are given for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from snn_compile.errors import Origin
from snn_compile.ir import ann
from snn_compile.ir.graph import Shape
from snn_compile.ir.host_tail import Feed as HostFeed
from snn_compile.passes import Finding
from snn_frontends.onnx.builder import Builder
from snn_frontends.onnx.layer_values import Feed
from snn_frontends.onnx.values import Batch, Grid, Tensor


@dataclass(frozen=True)
class ModelInput:
    """An input of a model that is no initializer.

    Attributes:
        name: its name.
        shape: its shape in the file.
        batch: the axis of the samples.
        whole: whether it is a single sample, without such an axis.
        axis: position of that axis.
        elem_type: ONNX's number of its type.
        ends: smallest and largest value, if it takes whole numbers.
    """

    name: str
    shape: Shape
    batch: Batch
    whole: bool = False
    axis: int = 0
    elem_type: int = onnx.TensorProto.FLOAT
    ends: tuple[int, int] | None = None

    def feed(self) -> Feed:
        """What onnxruntime is given for a sample."""
        axis = None if self.whole else self.axis
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.elem_type)
        return Feed(self.name, self.shape, axis, self.batch.size, dtype)

    def host_feed(self) -> HostFeed:
        """The same for the host's part of the file."""
        feed = self.feed()
        return HostFeed(self.name, None, self.shape, feed.dtype.name, feed.axis)

    def value(self, builder: Builder, origin: Origin) -> Tensor:
        """The network's node for it."""
        sample = self.shape
        if not self.whole:
            sample = (*self.shape[: self.axis], *self.shape[self.axis + 1 :])
        shape, axis = (self.batch.size, *sample), None if self.whole else self.axis
        if self.ends is None:
            x = builder.add(ann.Input, self.name, (), shape, origin)
            return Tensor(x.node, self.shape, axis)
        step = np.ones(1, np.float32)
        x = builder.add(ann.Input, self.name, (), shape, origin, step=step, ends=self.ends)
        return Tensor(x.node, self.shape, axis, grid=Grid((1.0,), (0,), *self.ends))


def whole_input(file: str, entry: ModelInput) -> Finding:
    """The finding that the first axis of an input is none of samples."""
    size = entry.batch.size
    message = f"axis 0 (of size {size}) is not a batch: the whole input is one sample"
    return Finding(message, Origin(file, entry.name), code="whole-input")


def unused_input(file: str, name: str) -> Finding:
    """The finding that an input has been removed."""
    message = "removed: no output of the network depends on this input; data need not have it"
    return Finding(message, Origin(file, name), "unused-input")
