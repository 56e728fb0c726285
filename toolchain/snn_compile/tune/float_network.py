"""The float network with quantized activations in torch, as trained by QCFS."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph
from snn_compile.tune.grid import floor_ste

MIN_SCALE = 1e-3
"""Lower bound of an activation's full scale, relative to its initial value."""


class FloatNetwork:
    """A folded float network whose rectifiers are clip-floor-shift functions.

    ``y = scale / L * clip(floor(x * L / scale + 1/2), 0, L)`` with a scale for each channel that is
    trained, and L the levels of the coding (Bu et al. 2022, who have one scale a layer). Rounding
    is straight-through. Layers that only move and subtract values (those of max pools) stay as
    they are.

    Args:
        folded: the network.
        scales: full scale of each rectifier, (C,).
        levels: L.
        device: as torch names it.
    """

    def __init__(
        self,
        folded: ANNGraph,
        scales: Mapping[NodeId, Float],
        levels: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        self.folded, self.levels, self.dtype = folded, levels, dtype
        self.device = torch.device(device)
        self._start = scales
        self.trained: dict[str, Tensor] = {}
        for node in folded.graph:
            if isinstance(node, ops.Conv | ops.Dense) and not _is_wiring(node):
                self.trained[f"{node.id}:weight"] = self._tensor(node.weight)
                self.trained[f"{node.id}:bias"] = self._tensor(node.bias)
            if isinstance(node, ops.Relu) and node.like is None:
                # A share of what it was: rates of learning then suit all layers.
                self.trained[f"{node.id}:scale"] = self._tensor(np.ones_like(scales[node.id]))

    def _tensor(self, values: npt.NDArray[Any]) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=self.dtype, device=self.device)

    def parameters(self) -> dict[str, Tensor]:
        """All trained parameters: leaves that require a gradient."""
        return {name: tensor.requires_grad_() for name, tensor in self.trained.items()}

    def state(self) -> dict[str, Tensor]:
        """A copy of all parameters."""
        return {name: tensor.detach().clone() for name, tensor in self.trained.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore parameters from ``state``."""
        with torch.no_grad():
            for name, tensor in self.trained.items():
                tensor.copy_(state[name])

    def messages(self, frames: npt.NDArray[Any], first: int = 0) -> Tensor:
        """Samples (N, *input shape) as they are."""
        del first
        return self._tensor(frames)

    def confine(self) -> None:
        """Keep scales above 0 and below the clip value of the trained rectifier."""
        with torch.no_grad():
            for node in self.folded.graph:
                if f"{node.id}:scale" in self.trained and isinstance(node, ops.Relu):
                    share = self.trained[f"{node.id}:scale"]
                    share.clamp_(min=MIN_SCALE)
                    if node.cap is not None:
                        start = torch.tensor(self._start[node.id]).to(share)
                        share.copy_(torch.minimum(share, node.cap / start))

    def identity(self) -> str:
        """A hash of the initial network."""
        digest = hashlib.sha256(str(self.levels).encode())
        for name, tensor in sorted(self.trained.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
        for name, scale in sorted(self._start.items()):
            digest.update(name.encode() + np.ascontiguousarray(scale).tobytes())
        return digest.hexdigest()

    def __call__(self, x: Tensor) -> Tensor:
        """The first output for samples (B, *sample shape)."""
        arriving = self.folded.inputs.split(x)
        values: dict[NodeId, Tensor] = {}
        for node in self.folded.graph:
            sources = [values[s] for s in node.inputs]
            is_input = isinstance(node, ops.Input)
            values[node.id] = arriving[node.id] if is_input else self._apply(node, sources)
        return values[self.folded.outputs[0].id]

    def _apply(self, node: AnnNode, sources: list[Tensor]) -> Tensor:
        match node:
            case ops.Conv() | ops.Dense():
                weight, bias = (
                    self.trained[key] if key in self.trained else self._tensor(values)
                    for key, values in (
                        (f"{node.id}:weight", node.weight),
                        (f"{node.id}:bias", node.bias),
                    )
                )
                return _linear(node, sources[0], weight, bias)
            case ops.Relu():
                return self._rectified(node, sources[0])
            case _:
                return apply(node, *sources)

    def _rectified(self, node: ops.Relu, x: Tensor) -> Tensor:
        scale = self._scale(node).reshape(-1, *[1] * (x.ndim - 2))
        levels = node.usual(self.levels)
        counts = floor_ste(x * (levels / scale) + 0.5)
        return torch.clamp(counts, 0, levels) * (scale / levels)

    def _scale(self, node: ops.Relu) -> Tensor:
        root = node
        while root.like is not None:
            root = self._rectifier(root.like)
        share = self.trained[f"{root.id}:scale"]
        start: Tensor = self._tensor(self._start[root.id])
        return share * start

    def _rectifier(self, node_id: NodeId) -> ops.Relu:
        node = self.folded.graph[node_id]
        if not isinstance(node, ops.Relu):
            raise TypeError(f"'{node_id}' is not a rectifier")
        return node

    def tuned(self) -> tuple[ANNGraph, dict[NodeId, Float]]:
        """The network with the current parameters, and the full scales of its rectifiers.

        Rounding stays in place, so that corrections of the conversion aim at the trained function.
        """
        nodes: list[AnnNode] = []
        scales: dict[NodeId, Float] = {}
        for node in self.folded.graph:
            if isinstance(node, ops.Conv | ops.Dense) and f"{node.id}:weight" in self.trained:
                weight, bias = (
                    self.trained[f"{node.id}:{name}"].detach().cpu().double().numpy()
                    for name in ("weight", "bias")
                )
                dtype = node.weight.dtype
                node = replace(node, weight=weight.astype(dtype), bias=bias.astype(dtype))
            if isinstance(node, ops.Relu):
                scales[node.id] = self._scale(node).detach().cpu().double().numpy()
                if node.like is None:
                    levels = node.usual(self.levels)
                    node = replace(node, levels=levels, full_scale=scales[node.id])
            nodes.append(node)
        return self.folded.with_graph(Graph(nodes)), scales


def _is_wiring(node: ops.Conv | ops.Dense) -> bool:
    return bool(np.isin(node.weight, (-1, 0, 1)).all())


def _linear(node: ops.Conv | ops.Dense, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if isinstance(node, ops.Dense):
        return functional.linear(x, weight, bias)
    geometry = node.geometry
    top, left, bottom, right = geometry.padding
    return functional.conv2d(
        functional.pad(x, (left, right, top, bottom)),
        weight,
        bias,
        stride=geometry.stride,
        dilation=geometry.dilation,
        groups=geometry.groups,
    )


@singledispatch
def apply(node: AnnNode, *sources: Tensor) -> Tensor:
    """The value of an operator without weights; sources and result are (B, *shape)."""
    raise TypeError(f"no training for {type(node).__name__}")


@apply.register
def _(node: ops.Output, x: Tensor) -> Tensor:
    del node
    return x


@apply.register
def _(node: ops.BatchNorm, x: Tensor) -> Tensor:
    scale = node.gamma / np.sqrt(node.var + node.epsilon)
    shift = node.beta - node.mean * scale
    return x * _like(scale, x) + _like(shift, x)


@apply.register
def _(node: ops.Affine, x: Tensor) -> Tensor:
    return x * torch.tensor(node.scale).to(x) + torch.tensor(node.shift).to(x)


@apply.register
def _(node: ops.AveragePool, x: Tensor) -> Tensor:
    top, left, bottom, right = node.geometry.padding
    below, beside = node.overhang
    padding = (left, right + beside, top, bottom + below)
    window = torch.ones((x.shape[1], 1, *node.kernel)).to(x)
    options = {"stride": node.geometry.stride, "dilation": node.geometry.dilation}
    total = functional.conv2d(functional.pad(x, padding), window, groups=x.shape[1], **options)
    inside = torch.ones((1, 1, *x.shape[2:])).to(x)
    if node.count_padding:
        inside = functional.pad(inside, (left, right, top, bottom), value=1.0)
        padding = (0, beside, 0, below)
    count = functional.conv2d(functional.pad(inside, padding), window[:1], **options)
    return total / count


@apply.register
def _(node: ops.Add, *xs: Tensor) -> Tensor:
    del node
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


@apply.register
def _(node: ops.Concat, *xs: Tensor) -> Tensor:
    return torch.cat(xs, dim=node.axis + 1)


@apply.register
def _(node: ops.Pad, x: Tensor) -> Tensor:
    widths = [side for pair in zip(node.before, node.after, strict=True) for side in pair]
    last_first = [w for i in reversed(range(0, len(widths), 2)) for w in widths[i : i + 2]]
    return functional.pad(x, last_first)


@apply.register
def _(node: ops.Reshape, x: Tensor) -> Tensor:
    return x.reshape(len(x), *node.shape)


@apply.register
def _(node: ops.Transpose, x: Tensor) -> Tensor:
    return x.permute(0, *(axis + 1 for axis in node.permutation))


@apply.register
def _(node: ops.Slice, x: Tensor) -> Tensor:
    for axis, part in enumerate(node.slices, start=1):
        rows = list(range(x.shape[axis]))[part]
        x = x.index_select(axis, torch.tensor(rows, device=x.device))
    return x


@apply.register
def _(node: ops.Gather, x: Tensor) -> Tensor:
    flat = functional.pad(x.reshape(len(x), -1), (0, 1))  # index -1 reads the 0 behind the last
    return flat[:, torch.tensor(node.index, device=x.device)].reshape(len(x), *node.shape)


@apply.register
def _(node: ops.AxisMatrix, x: Tensor) -> Tensor:
    matrix = torch.tensor(node.matrix).to(x)
    return torch.movedim(torch.movedim(x, node.axis + 1, -1) @ matrix.T, -1, node.axis + 1)


def _like(values: npt.NDArray[Any], x: Tensor) -> Tensor:
    return torch.tensor(values).to(x).reshape(-1, *[1] * (x.ndim - 2))
