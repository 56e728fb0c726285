"""Schedules: an integer network spread over time, and back.

Networks of some codings compute what a network of clip-floor or graded neurons computes in one
step, frame by frame, exactly. Calibration and the fast simulator use that one step; ``schedule``
converts it to the network that a chip runs, ``integer_network`` reverses that. Each coding has its
own :class:`~snn_compile.ir.timing.Schedule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    Input,
    Population,
    QuantizedGraph,
    QuantizedNode,
)
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.ir.stages import StageError


def schedule(program: QuantizedGraph, window: Window) -> QuantizedGraph:
    """The network that runs in the given window; unchanged for codings without a schedule.

    Args:
        program: an integer network, of one step.
        window: coding and steps. Counts are limited to those that its schedule can send.

    Raises:
        StageError: a population has no form in the coding.
    """
    spread = window.schedule
    if spread is None:
        return program
    for node in program.populations:
        if type(node) not in spread.forms:
            raise StageError(f"'{node.id}' is a {type(node).__name__}: not for '{window.coding}'")
        if isinstance(node, ClipFloorNeurons) and node.levels != window.levels:
            raise StageError(f"'{node.id}' counts to {node.levels} in {window.n_steps} steps")
    given = spread.parameters(window.n_steps)
    nodes = [_in_form(node, spread.forms, spread.input, given) for node in program.graph]
    return QuantizedGraph(Graph(nodes), window)


def integer_network(program: QuantizedGraph) -> QuantizedGraph:
    """The network of one step that computes the same sums; the program itself if it is one."""
    spread = program.window.schedule
    if spread is None or not is_scheduled(program):
        return program
    forms = {in_time: at_once for at_once, in_time in spread.forms.items()}
    given = {"levels": program.window.levels}
    nodes = [_in_form(node, forms, InputCoding.GRADED, given) for node in program.graph]
    return QuantizedGraph(Graph(nodes), replace(program.window, n_steps=1))


def is_scheduled(program: QuantizedGraph) -> bool:
    """Whether a program is the result of ``schedule``."""
    spread = program.window.schedule
    return spread is not None and type(program.readouts[0]) in spread.forms.values()


def _in_form(
    node: QuantizedNode,
    forms: Mapping[type[Any], type[Any]],
    arrives: InputCoding,
    given: Mapping[str, Any],
) -> QuantizedNode:
    """A node in another form: common fields are copied, the others are arguments."""
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
