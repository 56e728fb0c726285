"""A network with stimuli, its size, and its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snn_compile import sealed
from snn_compile.errors import ModelError, Origin, UsageError
from snn_compile.files.archives import Archive
from snn_compile.files.archives import Arrays as Stored
from snn_compile.files.documents import read_bytes, reading
from snn_compile.files.presence import no_such_file
from snn_compile.files.writing import replace_text, replacing_file, require_file
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Node, NodeId
from snn_compile.ir.quantized import QuantizedGraph, Synapses
from snn_compile.ir.reading import Stage, load_text, most_text
from snn_compile.ir.serialize import Arrays
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.ir.text import STRUCTURE, dump_text
from snn_compile.pluralize import pluralize

MADE_UP = 8
"""Number of default stimuli."""
FRAMES = "frames"
_HINT = "docs/reference/text.md describes texts and their arrays"


class Size(NamedTuple):
    """Size of a case, compared lexicographically.

    Attributes:
        nodes: of the graph.
        neurons: of the input and of all populations.
        weights: number of stored weights.
        steps: length of a window.
        stimuli: number of stimuli.
        bits: total bits of all magnitudes.
    """

    nodes: int
    neurons: int
    weights: int
    steps: int
    stimuli: int
    bits: int

    def __str__(self) -> str:
        parts = (
            pluralize(self.nodes, "node"),
            pluralize(self.neurons, "neuron"),
            pluralize(self.weights, "weight"),
            pluralize(self.steps, "step"),
            pluralize(self.stimuli, "stimulus"),
        )
        return " · ".join(parts)


@dataclass(frozen=True, eq=False)
class Case:
    """A network and the stimuli that show its fault.

    Attributes:
        program: the network.
        frames: encoded stimuli, (N, *sample shape), of events (N, T, *sample shape).
    """

    program: QuantizedGraph
    frames: Int

    @property
    def axes(self) -> int:
        """Axes of the stimuli before those of a sample."""
        return 2 if self.program.input_coding is InputCoding.EVENTS else 1

    @property
    def values(self) -> dict[NodeId, Int]:
        """The stimuli of each input."""
        return self.program.inputs.split(self.frames, self.axes)

    def on(self, program: QuantizedGraph) -> Case:
        """Another network with these stimuli, as far as it still has the inputs."""
        return Case(program, program.inputs.join(self.values, self.axes))

    def clipped(self, frames: Int) -> Case:
        """The network with other stimuli, within the range of each input."""
        values = self.program.inputs.split(frames, self.axes)
        for node in self.program.inputs:
            values[node.id] = np.clip(values[node.id], node.low, node.high)
        return Case(self.program, self.program.inputs.join(values, self.axes))

    @property
    def size(self) -> Size:
        """Its size."""
        graph = self.program.graph
        synapses = [node for node in graph if isinstance(node, Synapses)]
        return Size(
            len(graph),
            sum(prod(node.shape) for node in graph if not isinstance(node, Synapses)),
            sum(node.weight.values.size for node in synapses),
            self.program.window.n_steps,
            len(self.frames),
            _bits(self.frames) + sum(_bits_of(node) for node in graph),
        )

    @property
    def digest(self) -> str:
        """A hash of network and stimuli."""
        text = dump_text(self.program, {})
        return hashlib.sha256(text.encode() + self.frames.tobytes()).hexdigest()

    def check(self) -> None:
        """Check that it can be simulated.

        Raises:
            ValueError, ArithmeticError: it cannot.
        """
        sealed.check_network(self.program)


def _bits_of(node: Node) -> int:
    total = 0
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, QTensor):
            total += value.values.size + _bits(value.values)
        elif field.name in (*STRUCTURE, "origin") or isinstance(value, np.ndarray):
            continue
        elif isinstance(value, Geometry):
            usual = Geometry()
            total += sum(getattr(value, f.name) != getattr(usual, f.name) for f in fields(value))
        elif value != field.default:
            total += 1 + (int(value).bit_length() if isinstance(value, int) else 0)
    return total


def _bits(values: Int) -> int:
    """Bits of all magnitudes."""
    return int(np.frexp(np.abs(values).astype(np.float64))[1].sum())


def read(path: Path, data: Path | None = None) -> Case | ANNGraph | SpikingGraph:
    """A compiled folder, the sealed file in one, or a text; a program comes with its stimuli.

    Args:
        path: of the network.
        data: an npz file with encoded ``frames``, instead of those of the network.

    Raises:
        CompileError: it is none of them, or invalid.
    """
    if path.name == sealed.MODEL and path.is_file():
        path = path.parent
    if path.is_dir():
        found = sealed.read(path)
        program, frames = found.program, found.stimulus
    else:
        stage, frames = read_text(path), None
        if not isinstance(stage, QuantizedGraph):
            return stage
        program = stage
        if data is None and _beside(path, "stimulus.npz").is_file():
            data = _beside(path, "stimulus.npz")
        with reading(path, ModelError, "bad-text", "the network cannot be simulated", _HINT):
            sealed.check_network(program)
    if data is not None:
        with reading(data, UsageError, "unreadable-data", "the stimuli cannot be read", _HINT):
            frames = sealed.frames_in(sealed.integers(data), program)
    return Case(program, _made_up(program) if frames is None else frames)


def read_text(path: Path) -> Stage:
    """The network of a text file, of any stage.

    Raises:
        CompileError: it is missing or invalid.
    """
    if not path.is_file():
        raise no_such_file(path)
    with reading(path, ModelError, "bad-text", "the text cannot be read", _HINT):
        text = read_bytes(path, most_text()).decode("utf-8")
        arrays = path.with_suffix(".npz")
        if not arrays.is_file():
            return load_text(text, str(path))
        with Archive(arrays) as archive:
            return load_text(text, str(path), Stored(archive, kinds="iuf"))


def require_text(path: Path) -> None:
    """Check that a text can be written without overwriting another file beside it.

    Raises:
        UsageError: the file belongs to no text.
        OSError: its status cannot be read.
    """
    require_file(path)
    for beside in (path.with_suffix(".npz"), _beside(path, "stimulus.npz")):
        require_file(beside)
        if beside.exists() and not path.exists():
            raise UsageError(
                f"it exists without a '{path.name}' whose arrays it could hold",
                code="output-exists",
                origin=Origin(str(beside)),
                hint="name another text",
            )


def write_text(path: Path, stage: Stage) -> None:
    """Write the text of a stage, its large arrays in an npz file beside it.

    Raises:
        OSError: it cannot be written.
    """
    arrays: Arrays = {}
    text = dump_text(stage, arrays)
    if arrays:
        with replacing_file(path.with_suffix(".npz")) as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
    replace_text(path, text)


def write(path: Path, case: Case) -> None:
    """Write a case in the form of ``read``: the text and, beside it, the stimuli.

    Raises:
        OSError: it cannot be written.
    """
    with replacing_file(_beside(path, "stimulus.npz")) as stream:
        np.savez_compressed(stream, allow_pickle=False, **{FRAMES: case.frames})
    write_text(path, case.program)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.stem}.{ending}")


def _made_up(program: QuantizedGraph) -> Int:
    """Deterministic random stimuli; half of their values are 0, the first is the largest."""
    random = np.random.default_rng(0)
    steps = (program.window.n_steps,) if program.input_coding is InputCoding.EVENTS else ()
    made: dict[NodeId, Int] = {}
    for given in program.inputs:
        shape = (MADE_UP, *steps, *given.shape)
        values = random.integers(given.low, given.high, shape, endpoint=True)
        silent = np.clip(0, given.low, given.high)
        made[given.id] = np.where(random.random(shape) < 1 / 2, values, silent)
        made[given.id][0] = given.high
    frames: Int = program.inputs.join(made, 1 + len(steps))
    return frames
