"""Emitted files against the network: their bytes, and every integer in onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from snn_backends.emitted import difference, superfluous
from snn_backends.onnx_integers import qdq
from snn_backends.onnx_integers.assembly import Array
from snn_backends.onnx_integers.file import QUANTIZED, REALS, Borders, content, model
from snn_backends.onnx_integers.files import models
from snn_compile.errors import DeviceError
from snn_compile.files.documents import first_line
from snn_compile.hil.divergence import Divergence, divergence_in
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.schedule import integer_network
from snn_compile.sim import reference
from snn_compile.sim.batches import Advance

AGAINST = "onnx"
PROVIDERS = ["CPUExecutionProvider"]
TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
"""Of encoded inputs."""


def verify(
    program: QuantizedGraph, borders: Borders | None, folder: Path, frames: Int, advance: Advance
) -> Verification:
    """Compare the bytes of the files, and what each population sends for every stimulus.

    What runs is written anew and never read from the folder.
    """
    faults = differences(program, borders, folder)
    compared, found = compare_integers(program, frames, advance)
    notes: list[str] = []
    if found is not None:
        faults.append(str(found))
    if borders is not None:
        more, wrong = compare_reals(program, borders, frames)
        compared += more
        faults += wrong
        if len(frames) and not qdq.obstacle(program):
            notes.append(str(deviation(program, borders, frames)))
    return Verification(
        AGAINST,
        f"onnxruntime {onnxruntime.__version__}, written anew: what every neuron sends in a pass",
        len(frames),
        len(frames),
        compared,
        not faults,
        found,
        (*faults, *notes),
    )


def differences(program: QuantizedGraph, borders: Borders | None, folder: Path) -> list[str]:
    """The files that are not what the network gives."""
    made = models(program, borders)
    said = (difference(folder, name, content(file)) for name, file in made.items())
    return [*filter(None, said), *superfluous(folder, made)]


def compare_integers(
    program: QuantizedGraph, frames: Int, advance: Advance
) -> tuple[int, Divergence | None]:
    """Number of integers compared, and the first that differs."""
    at_once = integer_network(program)
    runtime = session(content(model(program, every_message=True)))
    compared, found = 0, None
    for first, expected in reference.record_runs(at_once, frames):
        piece = frames[first : first + expected.n_stimuli]
        sent = runtime.run(None, fed(runtime, at_once, piece))
        for node, actual in zip(at_once.populations, sent, strict=True):
            messages = expected.messages[node.id]
            compared += messages.size
            found = found or divergence_in(node.id, messages, actual[:, None])
        advance(len(piece))
    return compared, found


def compare_reals(program: QuantizedGraph, borders: Borders, frames: Int) -> tuple[int, list[str]]:
    """Number of real outputs compared, and the outputs of which one differs."""
    at_once = integer_network(program)
    runtime = session(content(model(program, borders)))
    compared, wrong = 0, dict[str, None]()
    for x, expected in pieces(at_once, borders, frames):
        given = runtime.run(None, by_input(at_once, borders, x))
        for node, actual in zip(at_once.readouts, given, strict=True):
            decoded = borders.decodings[node.id](expected[node.id])
            compared += decoded.size
            if decoded.shape != actual.shape or (decoded != actual).any():
                wrong[f"{REALS} gives other values of '{node.id}'"] = None
    return compared, list(wrong)


def deviation(program: QuantizedGraph, borders: Borders, frames: Int) -> Deviation:
    """How far the file for accelerators is off."""
    at_once, found = integer_network(program), Deviation()
    runtime = session(content(qdq.model(program, borders)))
    for x, expected in pieces(at_once, borders, frames):
        given = runtime.run(None, by_input(at_once, borders, x))
        for node, values in zip(at_once.readouts, given, strict=True):
            found.add(expected[node.id], values, borders.decodings[node.id].unit)
    return found


def pieces(
    at_once: QuantizedGraph, borders: Borders, frames: Int
) -> Iterator[tuple[Array, Mapping[NodeId, Int]]]:
    """Real samples, a few at a time, and the potentials that are right for them."""
    at_a_time = reference.recording_batch_size(at_once)
    for start in range(0, len(frames), at_a_time):
        x = reals(borders, frames[start : start + at_a_time])
        yield x, reference.run(at_once, borders.encoding(x)).outputs


@dataclass
class Deviation:
    """How far the file for accelerators is from the network, over all its outputs.

    Attributes:
        off: largest difference, in steps of the potential.
        reach: largest potential.
        n_outputs: number of outputs of all samples.
        n_same: those whose largest value is at the same place.
    """

    off: float = 0.0
    reach: int = 0
    n_outputs: int = 0
    n_same: int = 0

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest potential."""
        return self.off / max(self.reach, 1)

    def add(self, potential: Int, values: Array, unit: Array) -> None:
        """Add an output of some samples, (N, C, ...)."""
        n, channels = potential.shape[:2]
        right = potential.reshape(n, channels, -1)
        steps = values.astype(np.float64).reshape(right.shape) / unit[:, None]
        self.off = max(self.off, float(np.abs(steps - right).max(initial=0)))
        self.reach = max(self.reach, int(np.abs(right).max(initial=0)))
        self.n_outputs += n
        self.n_same += int((steps.argmax(axis=1) == right.argmax(axis=1)).all(axis=1).sum())

    def __str__(self) -> str:
        return (
            f"{QUANTIZED}, in float: {self.n_same:,} of {self.n_outputs:,} outputs with the same"
            f" largest value; off by {100 * self.relative:.2g} % of the largest at most"
        )


def reals(borders: Borders, frames: Int) -> Array:
    """Real values around the steps of the input, float32: some are encoded as their neighbours."""
    encoding = borders.encoding
    unit = np.reshape(encoding.unit, (-1, *[1] * (len(encoding.shape) - 1)))
    apart = np.random.default_rng(0).uniform(-0.6, 0.6, (len(frames), *encoding.shape))
    x: Array = (frames.reshape(len(frames), *encoding.shape) + apart) * unit
    return x.astype(np.float32)


def by_input(at_once: QuantizedGraph, borders: Borders, x: Array) -> dict[str, Array]:
    """Real samples (N, *shape) for each input by its name."""
    parts = at_once.inputs.split(x.reshape(len(x), *at_once.inputs.shape), 1)
    encodings = zip(parts.items(), borders.encoding.parts, strict=True)
    return {name: part.reshape(len(x), *one.shape) for (name, part), one in encodings}


def fed(runtime: Any, at_once: QuantizedGraph, frames: Int) -> dict[str, Array]:
    """Encoded samples for the inputs of a session, in their types."""
    values = at_once.inputs.split(frames, 1).values()
    entries = zip(runtime.get_inputs(), values, strict=True)
    return {entry.name: part.astype(TYPES[entry.type]) for entry, part in entries}


def session(model_bytes: bytes) -> Any:
    """A model in onnxruntime, on the processor.

    Raises:
        DeviceError: it refuses the model.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model_bytes, options, providers=PROVIDERS)
    except Exception as error:
        raise DeviceError(
            f"onnxruntime {onnxruntime.__version__} refuses the file: {first_line(error)}",
            code="onnxruntime-refuses",
            hint="install a newer onnxruntime",
        ) from error
