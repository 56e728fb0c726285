"""What a diagnosis makes of messages that somebody made up."""

from __future__ import annotations

from pathlib import Path

from snn_compile.hil.comparison import Comparison
from snn_compile.hil.diagnosis import Diagnosis, diagnose
from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import About, TraceWriter, series_of
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import reference


def diagnosed(
    folder: Path, program, frames, messages, layers=None, at_hand=None
) -> list[Diagnosis]:
    """Record messages in a folder, of all layers or some of them, and diagnose them."""
    expected = reference.run(program, frames, record=True).messages
    series = series_of(program, layers)
    about = About("seal", program.window.coding, program.window.n_steps, "fake")
    with TraceWriter(folder / "t.npz", about, series, frames) as writer:
        writer.add(messages)
        path = writer.close()
    comparison = Comparison(s.name for s in series)
    comparison.add(0, expected, messages)
    differing = {k: c.divergence for k, c in comparison.layers.items() if c.divergence is not None}
    with Recording.open(path) as recording:
        return diagnose(program, frames, recording, differing, at_hand)


def changed(program: QuantizedGraph, part) -> QuantizedGraph:
    """The network with another node in the place of one."""
    nodes = [part if node.id == part.id else node for node in program.graph]
    return QuantizedGraph(Graph(nodes), program.window)
