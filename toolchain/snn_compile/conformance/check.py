"""Check of a device, a backend or a folder of traces against a set of vectors: one row a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile.bundle import CompiledModel
from snn_compile.conformance.files import Case
from snn_compile.errors import CompileError, DeviceError, Origin, UsageError, VerificationError
from snn_compile.files.archives import Archive, Arrays
from snn_compile.files.documents import DAMAGE, describe_error, read_json
from snn_compile.hil import difference
from snn_compile.hil.comparison import Comparison
from snn_compile.hil.device import CANNOT_RUN, Capabilities, Device, layers_of, validate_pieces
from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import HEADER, About, TraceWriter, series_of
from snn_compile.ir.encoding import InputEncoding, join_encodings
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import Input
from snn_compile.ir.spiking import InputCoding
from snn_compile.plugins import BACKENDS, Verifiable
from snn_compile.sim.batches import no_progress

EQUAL, DIFFERS, EXCLUDED, FAILED, MISSING = "equal", "differs", "excluded", "failed", "missing"
VERDICTS = (EQUAL, DIFFERS, EXCLUDED, FAILED, MISSING)
EXCLUSIONS = "excluded.json"
"""File in a folder of traces: the reason for each vector without a trace, by name."""


@dataclass(frozen=True)
class Row:
    """One vector's outcome.

    Attributes:
        vector: its name.
        verdict: one of ``VERDICTS``.
        compared: messages and potentials compared.
        why: the first difference, the reason for an exclusion, or the error.
        note: further remarks.
    """

    vector: str
    verdict: str
    compared: int = 0
    why: str = ""
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for scripts."""
        return asdict(self)

    def complaint(self, origin: Path) -> CompileError | None:
        """The error of this row, for the exit code; None without one."""
        where = Origin(str(origin / self.vector))
        if self.verdict == DIFFERS:
            return VerificationError(f"not equal: {self.why}", origin=where)
        if self.verdict in (FAILED, MISSING):
            hint = f"give a reason in {EXCLUSIONS}" if self.verdict == MISSING else ""
            return DeviceError(self.why, code="vector-failed", origin=where, hint=hint)
        return None


# Devices -----------------------------------------------------------------------------------------


def run_on(
    case: Case,
    device: Device,
    capabilities: Capabilities,
    name: str,
    record: Path,
    time_limit: float,
) -> Row:
    """Run a vector on a device that has loaded it, and compare with the expected messages.

    Args:
        case: the vector.
        device: ready to run.
        capabilities: as returned by ``load``.
        name: name of the device.
        record: where to write the trace.
        time_limit: seconds.
    """
    program, frames = case.program, case.frames
    layers = layers_of(program, capabilities)
    window, facts = program.window, capabilities.facts
    header = About(case.seal, window.coding, window.n_steps, name, capabilities.exact, facts)
    try:
        with TraceWriter(record, header, series_of(program, layers), frames) as writer:
            for piece in validate_pieces(
                device.run(frames, time_limit), program, layers, len(frames)
            ):
                writer.add(piece.messages)
            writer.close()
    except DeviceError as error:
        return Row(case.name, FAILED, why=error.message.splitlines()[0])
    return of_trace(case, record)


def cannot_run(error: CompileError) -> bool:
    """Whether a device does not support the network, as opposed to being missing or broken."""
    return isinstance(error, DeviceError) and error.code == CANNOT_RUN


def compiled_folder(case: Case, folder: Path) -> None:
    """Write a vector as a compiled folder, with the files of every backend that supports it."""
    events = case.program.input_coding is InputCoding.EVENTS
    steps = (case.program.window.n_steps,) if events else ()
    encoding = join_encodings(_identity(source, steps) for source in case.program.inputs)
    folder.mkdir(parents=True)
    compiled = CompiledModel(case.program, encoding, {}, {}, case.frames)
    compiled.write_network(folder)
    for name in BACKENDS.names():
        if not BACKENDS.load(name).check(case.program):
            compiled.emit(name, folder / name)


def _identity(source: Input, steps: Shape) -> InputEncoding:
    maps = (*source.shape, 1, 1)[:3] if len(source.shape) < 3 else source.shape
    shapes = (*steps, *source.shape), (*steps, *maps)
    return InputEncoding(np.ones(1), source.low, source.high, *shapes)


def refusal(case: Case, backend: str) -> str:
    """Why a backend cannot express a vector; empty if it can."""
    errors = BACKENDS.load(backend).check(case.program)
    missing = [error for error in errors if isinstance(error, UsageError)]
    if missing:
        raise missing[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{errors[0].message}{more}" if errors else ""


def verified_by(case: Case, backend: str, scratch: Path, time_limit: float) -> Row:
    """Emit a vector for a backend, and verify the result with the backend."""
    if why := refusal(case, backend):
        return Row(case.name, EXCLUDED, why=why)
    folder = scratch / case.name
    folder.mkdir(parents=True)
    loaded = BACKENDS.load(backend)
    loaded.emit(case.program, folder, options={})
    if not isinstance(loaded, Verifiable):
        return Row(case.name, EXCLUDED, why="the backend cannot run its output")
    found = loaded.verify(
        case.program, folder, case.frames, time_limit=time_limit, progress=no_progress
    )
    if found.equal is None:
        return Row(case.name, EXCLUDED, why=found.mode)
    if found.equal:
        return Row(case.name, EQUAL, found.compared, note=found.mode)
    why = str(found.first_divergence or (found.details or (found.mode,))[0])
    return Row(case.name, DIFFERS, found.compared, why, found.mode)


# Traces ------------------------------------------------------------------------------------------


def of_folder(case: Case, folder: Path, exclusions: Mapping[str, str]) -> Row:
    """Compare ``NAME.npz`` of a folder, a trace or plain arrays, with the expected messages."""
    path = folder / f"{case.name}.npz"
    if path.is_file():
        if case.name in exclusions:
            return Row(case.name, FAILED, why=f"both a trace and a reason in {EXCLUSIONS} exist")
        return of_trace(case, path)
    if case.name in exclusions:
        return Row(case.name, EXCLUDED, why=exclusions[case.name])
    return Row(case.name, MISSING, why=f"{path.name} is missing")


def exclusions_of(folder: Path, known: Mapping[str, object]) -> dict[str, str]:
    """The exclusions in a folder of traces.

    Raises:
        UsageError: the file is not an object of names and reasons, or names no vector.
    """
    path = folder / EXCLUSIONS
    if not path.is_file():
        return {}
    try:
        document = read_json(path)
        valid = isinstance(document, dict) and all(
            isinstance(why, str) and why.strip() for why in document.values()
        )
    except (OSError, ValueError):
        valid = False
    unknown = sorted(set(document) - set(known)) if valid else []
    if not valid or unknown:
        what = f"names '{unknown[0]}', not a vector" if unknown else "is not an object of reasons"
        raise UsageError(
            f"{EXCLUSIONS} {what}",
            code="bad-exclusions",
            origin=Origin(str(path)),
            hint='{"vector": "reason for the exclusion", ...}',
        )
    return dict(document)


def of_trace(case: Case, path: Path) -> Row:
    """Compare a recorded trace, or an npz file with an array for each layer."""
    try:
        if not _is_trace(path):
            return _of_arrays(case, path)
        with Recording.open(case.expected) as expected, Recording.open(path) as actual:
            comparison, notes = difference.between(expected, actual)
            if not actual.header.complete and comparison.divergence is None:
                return Row(case.name, FAILED, comparison.compared, "the trace ends early")
            left_out = [name for name in expected.layers if name not in actual.layers]
    except CompileError as error:
        return Row(case.name, FAILED, why=f"{error.code}: {error.message.splitlines()[0]}")
    potentials = [note for note in notes if note.startswith("potentials")]
    return _row(case, comparison, left_out, "; ".join(potentials))


def _is_trace(path: Path) -> bool:
    try:
        with Archive(path) as archive:
            return HEADER in archive.names
    except DAMAGE:
        return True  # reading it as a trace reports the error


def _of_arrays(case: Case, path: Path) -> Row:
    """Dense messages (N, T, *shape) for each layer, under the layer's name."""
    shapes = {
        str(node.id): (len(case.frames), case.program.window.n_steps, *node.shape)
        for node in case.program.populations
    }
    try:
        with Archive(path) as archive:
            arrays = Arrays(archive, itemsize=8)
            if wrong := sorted(set(arrays) - set(shapes)):
                return Row(case.name, FAILED, why=f"{wrong[0]!r} is not a layer")
            trace = dict(arrays.items())
    except DAMAGE as error:
        return Row(case.name, FAILED, why=f"the file cannot be read ({describe_error(error)})")
    sent: dict[str, Int] = {}
    for name, values in trace.items():
        shape = shapes[name]
        flat = (*shape[:2], int(np.prod(shape[2:])))
        if values.dtype.kind not in "iub" or values.shape not in (shape, flat):
            found = f"{values.dtype} {values.shape}"
            return Row(case.name, FAILED, why=f"'{name}' is {found}, not integers {shape}")
        sent[name] = values.astype(np.int64).reshape(shape)
    if not sent:
        return Row(case.name, FAILED, why="the file has no layer")
    comparison = Comparison([name for name in shapes if name in sent])
    with Recording.open(case.expected) as expected:
        right = {name: expected.messages(name) for name in sent}
    comparison.add(0, right, sent)
    return _row(case, comparison, [name for name in shapes if name not in sent], "")


def _row(case: Case, comparison: Comparison, left_out: list[Any], note: str) -> Row:
    notes = [note] if note else []
    if left_out:
        notes.append(f"not recorded: {', '.join(left_out)}")
    outputs = {node.id for node in case.program.readouts}
    found, compared = comparison.divergence, comparison.compared
    if found is not None:
        return Row(case.name, DIFFERS, compared, str(found), "; ".join(notes))
    if outputs & set(left_out):
        return Row(case.name, FAILED, compared, "an output was not recorded", "; ".join(notes))
    return Row(case.name, EQUAL, compared, note="; ".join(notes))
