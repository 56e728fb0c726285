"""A network as its C program has it: layers, constants and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from snn_backends.c.arrays import Constant
from snn_backends.c.integers import CType
from snn_backends.c.layers import Family, Kernel, Layer
from snn_backends.c.memory import Arena, Buffer, allocate
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding

GEOMETRY_NUMBERS = 12
"""Of ``struct convolution``, in 32 bits."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the templates need.

    Attributes:
        program: the network.
        family: of its populations.
        layers: in topological order.
        constants: arrays in flash.
        geometries: numbers of each convolution's structure, by its name.
        input: type of a value of the frame that is shown.
        given: type of an input message.
        output: type of an output.
    """

    program: QuantizedGraph
    family: Family
    layers: tuple[Layer, ...]
    constants: tuple[Constant, ...]
    geometries: dict[str, tuple[int, ...]]
    input: CType
    given: CType
    output: CType

    @property
    def n_steps(self) -> int:
        """Of a window."""
        return self.program.window.n_steps

    @property
    def n_inputs(self) -> int:
        """Values of a frame, or messages of a step."""
        return prod(self.program.inputs.shape)

    @property
    def n_outputs(self) -> int:
        """Values of all outputs."""
        return sum(layer.size for layer in self.layers if layer.is_readout)

    @property
    def coding(self) -> str:
        """Of the input."""
        return self.program.input_coding.value

    @property
    def has_changes(self) -> bool:
        """Whether the input sends what differs from the frame before."""
        return self.program.input_coding is InputCoding.CHANGES

    @property
    def has_messages(self) -> bool:
        """Whether the user gives the input's messages at every step."""
        return self.program.input_coding in (InputCoding.EVENTS, InputCoding.POISSON)

    @property
    def sends_once(self) -> bool:
        """Whether the input sends its frame at the first step only."""
        return self.program.input_coding is InputCoding.FRAME

    @property
    def is_windowed(self) -> bool:
        """Whether layers wait for a window."""
        return self.family is Family.WINDOWED

    @property
    def is_stream(self) -> bool:
        """Whether messages are changes."""
        return self.family is Family.STREAM

    @property
    def keeps_time(self) -> bool:
        """Whether anything depends on the step."""
        return self.n_steps > 1 and not self.is_windowed

    @property
    def needs_time(self) -> bool:
        """Whether a layer asks for the step, though there may be one only."""
        return self.family is Family.STEPPED and any(layer.form.states for layer in self.layers)

    @property
    def n_phases(self) -> int:
        """Windows from the input's to the last layer's, where layers wait for them."""
        return max(layer.depth + (not layer.is_readout) for layer in self.layers)

    @property
    def frame_values(self) -> int:
        """Values that ``run`` reads."""
        return self.n_inputs * (self.n_steps if self.has_messages else 1)

    @property
    def cleared(self) -> list[tuple[str, str, int]]:
        """Type, place and size of what begins at zero with a stream."""
        arena, found = self.arenas["step"], []
        if self.has_changes:
            found.append((self.input.name, arena.pointer("before"), self.n_inputs))
        for layer in self.layers if self.is_stream else ():
            for name, kept in layer.form.states.items():
                place = arena.pointer(f"{name}{layer.index}")
                found.append((kept.name, place, layer.size))
        return found

    @property
    def rows(self) -> int:
        """Calls of ``step`` for a stimulus."""
        return self.n_steps * (self.n_phases if self.is_windowed else 1)

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """All that are used, in order of their names."""
        found = {group.kernel for layer in self.layers for group in layer.groups}
        return tuple(sorted(found, key=lambda kernel: kernel.name))

    @property
    def data_bytes(self) -> int:
        """Constants in flash."""
        tables = 4 * GEOMETRY_NUMBERS * len(self.geometries)
        return tables + sum(array.bytes for array in self.constants)

    @cached_property
    def arenas(self) -> dict[str, Arena]:
        """Memory of ``run``, where it computes windows at once, and of ``step``."""
        whole = allocate(self._buffers(stepwise=False), [])
        counters = ["phase", "t"] if self.is_windowed else ["t"] * self.keeps_time
        return {"run": whole, "step": allocate(self._buffers(stepwise=True), counters)}

    @property
    def memories(self) -> tuple[tuple[str, Arena], ...]:
        """Condition and content of the structure in RAM."""
        run, step = self.arenas["run"], self.arenas["step"]
        if not self.is_windowed:
            return (("", step),)
        return (("#ifdef SNN_WITHOUT_STEP", run), ("#else", run.joined(step)))

    def place(self, arena: str, name: str, index: int) -> str:
        """A pointer to a buffer of a layer."""
        return self.arenas[arena].pointer(f"{name}{index}")

    def _buffers(self, *, stepwise: bool) -> Iterator[Buffer]:
        if self.has_changes:
            yield Buffer("before", self.input, self.n_inputs)
            yield Buffer("changes", self.given, self.n_inputs, (-1, len(self.layers)))
        last = {layer.index: layer.index for layer in self.layers}
        for layer in self.layers:
            for group in layer.groups:
                if group.source is not None:
                    last[group.source] = layer.index
        for layer in self.layers:
            if self.is_windowed and stepwise:
                yield from self._of_windows(layer)
                continue
            for name, state in layer.form.states.items():
                each = layer.form.numbers["delay"] if name == "waiting" else 1
                yield Buffer(f"{name}{layer.index}", state, layer.size * each)
            if not layer.is_readout:
                life = layer.index, last[layer.index]
                yield Buffer(f"out{layer.index}", layer.message, layer.size, life)

    def _of_windows(self, layer: Layer) -> Iterator[Buffer]:
        collecting, sending = layer.depth - 1, layer.depth
        life = collecting, collecting
        yield Buffer(f"sum{layer.index}", layer.form.sum, layer.size, life)
        if not layer.is_readout:
            yield Buffer(f"count{layer.index}", layer.message, layer.size, (collecting, sending))
            yield Buffer(f"out{layer.index}", layer.message, layer.size, (sending, sending))
