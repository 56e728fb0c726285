"""Execution of an exported file by NIR's own equations."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import nir
import numpy as np
import numpy.typing as npt

from snn_backends.emitted import superfluous
from snn_compile.files import hdf5
from snn_compile.files.documents import DAMAGE, describe_error
from snn_compile.hil.divergence import Divergence, divergence_in
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import QuantizedGraph, Readout
from snn_compile.sim import kernels, reference
from snn_compile.sim.batches import Advance
from snn_compile.sim.reference import input_messages

AGAINST = "nir"
Single = npt.NDArray[np.float32]


def verify(program: QuantizedGraph, path: Path, frames: Int, advance: Advance) -> Verification:
    """Compare every spike, and the input of each output, with the reference."""
    n_steps = program.window.n_steps
    found: Divergence | None = None
    faults = superfluous(path.parent, (path.name,))
    compared = 0
    try:
        hdf5.read(path)  # nir would follow its links and allocate whatever it claims
        graph = nir.read(str(path))
        layers = {layer_of(name, node): name for name, node in graph.nodes.items()}
        for first, expected in reference.record_runs(program, frames):
            piece = frames[first : first + expected.n_stimuli]
            sent = run(graph, input_messages(program, piece, first=first))
            for node in program.populations:
                messages = expected.messages[node.id]
                actual = sent[layers[node.id]]
                if isinstance(node, Readout):
                    actual = actual.cumsum(axis=1)
                actual = actual.reshape(messages.shape)
                compared += messages.size
                if found is None and (actual != messages).any():
                    as_integers = np.rint(actual).astype(np.int64)
                    found = divergence_in(node.id, messages, as_integers)
                    faults.append(str(found or f"'{node.id}' sends a value that is not an integer"))
            advance(len(piece))
    except (*DAMAGE, AttributeError, AssertionError) as error:
        faults.append(f"the file cannot be run: {describe_error(error)}")
    return Verification(
        AGAINST,
        f"nir {nir.version}, read back and run in float32: all spikes",
        len(frames),
        len(frames) * n_steps,
        compared,
        not faults,
        found,
        tuple(faults),
    )


def layer_of(name: str, node: Any) -> str:
    """The layer of a node."""
    said = (node.metadata or {}).get("layer", name)
    return said.decode() if isinstance(said, bytes) else str(said)


def run(graph: nir.NIRGraph, messages: Int) -> dict[str, Single]:
    """Output of each node at each step, (N, T, ...), for messages (N, T, *input shape).

    Euler's rule with the time step of 1; from the metadata only the reset and the initial
    potentials.
    """
    said = graph.metadata
    subtract = _text(said["reset"]) == "subtract"
    order = _order(graph)
    n, n_steps = messages.shape[:2]
    states: dict[str, Single] = {}
    given: dict[str, list[Single]] = {name: [] for name in order}
    for t in range(n_steps):
        now: dict[str, Single] = {}
        for name in order:
            node = graph.nodes[name]
            if isinstance(node, nir.Input):
                shape = tuple(int(k) for k in node.input_type["input"])
                now[name] = messages[:, t].reshape(n, *shape).astype(np.float32)
            else:
                arriving = [now[a] for a, b in graph.edges if b == name]
                now[name] = _step(name, node, sum(arriving[1:], arriving[0]), states, subtract)
            given[name].append(now[name])
    return {name: np.stack(values, axis=1) for name, values in given.items()}


def _step(name: str, node: Any, x: Single, states: dict[str, Single], subtract: bool) -> Any:
    match node:
        case nir.Affine():
            return x @ node.weight.T + node.bias
        case nir.Linear():
            return x @ node.weight.T
        case nir.Flatten():
            return x.reshape(len(x), prod(x.shape[1:]))
        case nir.Conv2d():
            (py, px), stride = node.padding, tuple(int(s) for s in node.stride)
            dilation = tuple(int(d) for d in node.dilation)
            y, w = int(py), int(px)
            geometry = Geometry((stride[0], stride[1]), (y, w, y, w), (dilation[0], dilation[1]))
            last = np.moveaxis(x, 0, -1)
            maps = np.moveaxis(kernels.conv2d(last, node.weight, geometry), -1, 0)
            return maps + node.bias[:, None, None]
        case nir.IF():
            start = (node.metadata or {}).get("initial_potential", 0.0)
            v = states.get(name, np.broadcast_to(np.float32(start), x.shape)) + node.r * x
            fired = v > node.v_threshold
            states[name] = np.where(fired, v - node.v_threshold if subtract else 0, v)
            return fired.astype(np.float32)
        case nir.Output():
            return x
    raise TypeError(f"{type(node).__name__} is not a type of exported nodes")


def _order(graph: nir.NIRGraph) -> list[str]:
    """Nodes in topological order."""
    waiting = {name: {a for a, b in graph.edges if b == name} for name in graph.nodes}
    order: list[str] = []
    while waiting:
        ready = sorted(name for name, sources in waiting.items() if not sources - set(order))
        if not ready:
            raise ValueError("the graph has a cycle")
        order += ready
        for name in ready:
            del waiting[name]
    return order


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
