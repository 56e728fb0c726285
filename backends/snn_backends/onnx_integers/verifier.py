"""Emitted files against the network: their bytes, and every integer in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from snn_backends.onnx_integers.assembly import Array
from snn_backends.onnx_integers.file import REALS, Borders, content, model, models
from snn_compile.errors import DeviceError
from snn_compile.files.documents import first_line
from snn_compile.hil.divergence import Divergence, divergence_in
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
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
    if found is not None:
        faults.append(str(found))
    if borders is not None:
        more, wrong = compare_reals(program, borders, frames)
        compared += more
        faults += wrong
    return Verification(
        AGAINST,
        f"onnxruntime {onnxruntime.__version__}, written anew: what every neuron sends in a pass",
        len(frames),
        len(frames),
        compared,
        not faults,
        found,
        tuple(faults),
    )


def differences(program: QuantizedGraph, borders: Borders | None, folder: Path) -> list[str]:
    """The files that are not what the network gives."""
    found = []
    for name, made in models(program, borders).items():
        path, expected = folder / name, content(made)
        if path.is_symlink() or not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != len(expected) or path.read_bytes() != expected:
            found.append(f"{name} is not what the network gives")
    return found


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
    """The same of the file between real values: encoded by it, and decoded."""
    at_once, encoding = integer_network(program), borders.encoding
    units = np.reshape(encoding.unit, (-1, *[1] * (len(encoding.shape) - 1)))
    x = (frames.reshape(len(frames), *encoding.shape) * units).astype(np.float32)
    expected = reference.run(at_once, encoding(x)).outputs
    runtime = session(content(model(program, borders)))
    parts = at_once.inputs.split(x.reshape(len(x), *at_once.inputs.shape), 1)
    shapes = {
        node.id: part.shape for node, part in zip(at_once.inputs, encoding.parts, strict=True)
    }
    given = {name: value.reshape(len(x), *shapes[name]) for name, value in parts.items()}
    compared, wrong = 0, []
    for node, actual in zip(at_once.readouts, runtime.run(None, given), strict=True):
        decoded = borders.decodings[node.id](expected[node.id])
        compared += decoded.size
        if decoded.shape != actual.shape or (decoded != actual).any():
            wrong.append(f"{REALS} gives other values of '{node.id}'")
    return compared, wrong


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
