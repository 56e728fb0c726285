"""Biases and thresholds of a layer, spread over its neurons."""

from __future__ import annotations

from math import prod

import numpy as np

from snn_compile.errors import ModelError, UnsupportedError
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_frontends.lava_dl.layers import Layer


def biases(layer: Layer, shape: Shape) -> Int:
    """One bias for each channel, or for each neuron: (C, 1, 1) or (C, H, W)."""
    if layer.bias is None:
        return np.zeros((shape[0], 1, 1), np.int64)
    return _spread(layer, "biases", layer.bias, shape)


def thresholds(layer: Layer, values: Int, shape: Shape) -> Int:
    """One threshold for each channel, (C,).

    Raises:
        UnsupportedError: they differ inside a channel.
    """
    spread = _spread(layer, "thresholds", values, shape).reshape(shape[0], -1)
    if (spread != spread[:, :1]).any():
        raise UnsupportedError(
            "thresholds that differ inside a channel",
            code="net-field",
            origin=layer.origin,
            hint="use one value for all neurons of a channel",
        )
    return spread[:, 0]


def _spread(layer: Layer, name: str, values: Int, shape: Shape) -> Int:
    """Values for one, for each channel or for each neuron as (C, 1, 1) or (C, H, W).

    Those of each neuron may be in lava-dl's order: columns, rows, channels.

    Raises:
        ModelError: they are for another number of neurons.
    """
    if values.size == shape[0]:
        return values.reshape(-1, 1, 1)
    if values.size == 1:
        return np.full((shape[0], 1, 1), int(values.ravel()[0]))
    if values.size == prod(shape) and values.ndim == len(shape):
        return values.T if values.shape == shape[::-1] else values.reshape(shape)
    raise misfit(layer, f"has {values.size} {name} for the shape {shape}")


def misfit(layer: Layer, what: str) -> ModelError:
    """The complaint that a layer does not fit the file's others."""
    return ModelError(
        f"it {what}",
        code="invalid-model",
        origin=layer.origin,
        hint="the layers of the file contradict each other: export it again",
    )
