"""The features that a vector exercises, derived from its network and its traces."""

from __future__ import annotations

from typing import Any

import numpy as np

from snn_compile.conformance.net import Vector
from snn_compile.ir.fixedpoint import Int, Overflow
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    STATE,
    ConvSynapses,
    DenseSynapses,
    Population,
    Readout,
    Synapses,
)

_WIDEST = 16
"""Least bits of a wide payload."""


def exercised_features(vector: Vector, messages: dict[NodeId, Int]) -> list[str]:
    """Feature names of a vector, sorted.

    Args:
        vector: the network and its stimuli.
        messages: recorded messages of every population.
    """
    program = vector.program
    inputs = {node.id for node in program.inputs}
    words = {
        f"coding:{program.window.coding}",
        f"input:{program.input_coding.value}",
        *(["inputs:several"] if len(program.inputs) > 1 else []),
        *(["input:negative"] if (vector.frames < 0).any() else []),
        *(["readouts:several"] if len(program.readouts) > 1 else []),
        *(["steps:one"] if program.window.n_steps == 1 else []),
    }
    for node in program.populations:
        words |= _of_population(node)
        groups = program.synapses_into(node)
        words |= {"join"} if len(groups) > 1 else set()
        reads_input = inputs.intersection(group.inputs[0] for group in groups)
        late = bool(reads_input) and program.depth[node.id] > 1
        words |= {"input:late"} if late else set()
        sent = messages[node.id]
        signed = not isinstance(node, Readout) and bool((sent < 0).any())
        words |= {"messages:negative"} if signed else set()
        limit = min(node.state.max, STATE.max)
        if isinstance(node, Readout) and bool((np.abs(sent) >= limit).any()):
            words.add("output:at its end")
        for group in groups:
            words |= _of_synapses(program.graph[group.inputs[0]], group)
    return sorted(words)


def _of_population(node: Population) -> set[str]:
    words = {f"neurons:{node.conformance}", *node.features()}
    if node.bias.values.any():
        words.add("bias")
        words |= {"bias:each neuron"} if node.bias.values.size > node.shape[0] else set()
    start: Any = getattr(node, "initial_potential", None)
    if start is not None and start.values.any():
        words.add("initial potential")
        words |= {"initial potential:negative"} if (start.values < 0).any() else set()
    if node.relay:
        words.add("relay")
    if node.state != STATE:
        words.add(f"state:{node.state.bits} bits")
    if node.overflow is Overflow.WRAP:
        words.add("overflow:wrap")
    payload: Any = getattr(node, "payload", None)
    if payload is not None and (payload.bits == 1 or payload.bits >= _WIDEST):
        words.add(f"payload:{payload.bits} bits")
    return words


def _of_synapses(source: Any, group: Synapses) -> set[str]:
    weight = group.weight
    words = {"exponent:positive"} if group.exponent > 0 else set()
    words |= {"exponent:negative"} if group.exponent < 0 else set()
    words |= {f"weights:{weight.format.bits} bits"} if weight.format.bits in (2, 8) else set()
    if isinstance(group, DenseSynapses):
        return words | {"synapses:dense"}
    if not isinstance(group, ConvSynapses):
        return words | {"synapses:sparse", *([] if weight.values.size else ["synapses:none"])}
    form = group.geometry
    top, left, bottom, right = form.padding
    depthwise = form.groups == source.shape[0] > 1
    says = {
        "stride": form.stride != (1, 1),
        "padding": any(p > 0 for p in form.padding),
        "padding:uneven": (top, left) != (bottom, right),
        "padding:negative": min(form.padding) < 0,
        "dilation": form.dilation != (1, 1),
        "groups": form.groups > 1,
        "depthwise": depthwise,
    }
    return words | {"synapses:conv", *(f"conv:{word}" for word, true in says.items() if true)}
