"""How an integer network is spread over time, and back.

``sync``, ``radix`` and ``sigma-delta`` networks compute what a network of clip-floor or graded
neurons computes in one step, frame by frame, exactly. Calibration and the fast simulator use that
one step; ``schedule`` makes the network that a chip runs of it, ``integer_network`` undoes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    GradedNeurons,
    Input,
    Population,
    QuantizedGraph,
    QuantizedNode,
    RadixIFNeurons,
    Readout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
    SyncIFNeurons,
    SyncReadout,
)
from snn_compile.ir.spiking import RADIX, SIGMA_DELTA, SYNC, InputCoding, Window
from snn_compile.ir.stages import StageError


@dataclass(frozen=True)
class _Schedule:
    """The forms that nodes of the integer network take in a coding."""

    input: InputCoding
    forms: Mapping[type[Population], type[Population]]


_SCHEDULES = {
    SYNC: _Schedule(InputCoding.FRAME, {ClipFloorNeurons: SyncIFNeurons, Readout: SyncReadout}),
    RADIX: _Schedule(InputCoding.FRAME, {ClipFloorNeurons: RadixIFNeurons, Readout: SyncReadout}),
    SIGMA_DELTA: _Schedule(
        InputCoding.CHANGES, {GradedNeurons: SigmaDeltaNeurons, Readout: SigmaDeltaReadout}
    ),
}
_AT_ONCE: Mapping[type[Population], type[Population]] = {
    spread: at_once for s in _SCHEDULES.values() for at_once, spread in s.forms.items()
}


def schedule(program: QuantizedGraph, window: Window) -> QuantizedGraph:
    """The network that runs in the given window; unchanged for codings other than the two.

    Args:
        program: an integer network, of one step.
        window: coding and steps. The counts go up to what ``levels`` says of it.

    Raises:
        StageError: a population has no form in the coding.
    """
    if window.coding not in _SCHEDULES:
        return program
    spread = _SCHEDULES[window.coding]
    for node in program.populations:
        if type(node) not in spread.forms:
            raise StageError(f"'{node.id}' is a {type(node).__name__}: not for '{window.coding}'")
        if isinstance(node, ClipFloorNeurons) and node.levels != levels(window):
            raise StageError(f"'{node.id}' counts to {node.levels} in {window.n_steps} steps")
    given = {"payload": QFormat(window.n_steps, signed=False)} if window.coding == RADIX else {}
    nodes = [_in_form(node, spread.forms, spread.input, **given) for node in program.graph]
    return QuantizedGraph(Graph(nodes), window)


def integer_network(program: QuantizedGraph) -> QuantizedGraph:
    """The network of one step that computes the same sums; the program itself if it is one."""
    if not is_scheduled(program):
        return program
    nodes = [
        _in_form(node, _AT_ONCE, InputCoding.GRADED, levels=levels(program.window))
        for node in program.graph
    ]
    return QuantizedGraph(Graph(nodes), replace(program.window, n_steps=1))


def levels(window: Window) -> int:
    """Largest sum of what a neuron sends in a window of ``sync`` or ``radix``."""
    return (1 << window.n_steps) - 1 if window.coding == RADIX else window.n_steps


def is_scheduled(program: QuantizedGraph) -> bool:
    """Whether a program is spread over time, as ``schedule`` does it."""
    return isinstance(program.readouts[0], SyncReadout | SigmaDeltaReadout)


def _in_form(
    node: QuantizedNode,
    forms: Mapping[type[Population], type[Population]],
    arrives: InputCoding,
    **given: Any,
) -> QuantizedNode:
    """A node in another form: what the two forms share is taken over, the rest is given."""
    if isinstance(node, Input):
        return replace(node, coding=arrives)
    if not isinstance(node, Population):
        return node
    form: Any = forms.get(type(node))
    if form is None:
        raise StageError(f"'{node.id}' is a {type(node).__name__}, which is no schedule of another")
    names = [item.name for item in fields(form)]
    shared = {name: getattr(node, name) for name in names if hasattr(node, name)}
    spread: QuantizedNode = form(**(shared | {k: v for k, v in given.items() if k in names}))
    return spread
