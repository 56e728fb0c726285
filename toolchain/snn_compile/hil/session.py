"""One run of a device, recorded and compared with the reference piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snn_compile.errors import DeviceError
from snn_compile.hil.comparison import Comparison
from snn_compile.hil.device import Capabilities, Device, Measured, layers_of, validate_pieces
from snn_compile.hil.trace import About, TraceWriter, series_of
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.samples.rows import Rows
from snn_compile.samples.stored import Spool
from snn_compile.sim import reference
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.reference import Run


@dataclass(frozen=True, eq=False)
class Session:
    """The outcome of a run.

    Attributes:
        capabilities: of the device.
        comparison: with the reference.
        outputs: final potentials of each recorded readout, (n, *shape); none if nothing was done.
        expected: the same in the reference.
        done: stimuli that the device finished.
        trace: the recording; None if nothing was recorded. Its name marks a partial one.
        failure: the error that ended the run early.
    """

    capabilities: Capabilities
    comparison: Comparison
    outputs: dict[str, Rows]
    expected: dict[str, Rows]
    done: int
    trace: Path | None
    failure: DeviceError | None = None


def run(
    device: Device,
    capabilities: Capabilities,
    program: QuantizedGraph,
    frames: Int,
    *,
    record: Path,
    about: About,
    time_limit: float,
    advance: Advance = no_progress,
) -> Session:
    """Run stimuli on a device that has loaded the network.

    The results of a device that fails midway are kept: compared, and recorded in a partial trace.

    Args:
        device: ready to run.
        capabilities: as returned by ``load``.
        program: the network.
        frames: encoded stimuli.
        record: where to write the trace.
        about: metadata of the trace.
        time_limit: seconds for the device.
        advance: progress callback, in stimuli compared.

    Raises:
        UsageError, VerificationError: the device's own input is invalid.
        OSError: the trace cannot be written.
    """
    layers = layers_of(program, capabilities)
    comparison = Comparison(layers, () if capabilities.exact else layers)
    names = [str(readout.id) for readout in program.readouts if readout.id in layers]
    outputs, right = ({n: Spool(f"potentials of '{n}'") for n in names} for _ in range(2))
    failure = None
    with TraceWriter(record, about, series_of(program, layers), frames) as writer:
        try:
            for piece in validate_pieces(
                device.run(frames, time_limit), program, layers, len(frames)
            ):
                writer.add(piece.messages)
                for part in _parts(piece, reference.recording_batch_size(program)):
                    expected = _compare(program, frames, part, comparison)
                    for name, spool in right.items():
                        spool.append(expected.outputs[NodeId(name)])
                    advance(_count(part))
                for name, spool in outputs.items():
                    spool.append(np.asarray(piece.messages[name])[:, -1].astype(np.int64))
        except DeviceError as error:
            failure = error
        done = writer.recorded
        trace = writer.close(failure.message.splitlines()[0] if failure else "") if done else None
    found, known = (
        {name: spool.rows() for name, spool in spools.items()} if done else {}
        for spools in (outputs, right)
    )
    return Session(capabilities, comparison, found, known, done, trace, failure)


def _compare(program: QuantizedGraph, frames: Int, piece: Measured, comparison: Comparison) -> Run:
    first, count = piece.first, _count(piece)
    expected = reference.run(
        program,
        frames[first : first + count],
        first=first,
        before=reference.shown_before(frames, first),
        record=True,
    )
    comparison.add(first, expected.messages, piece.messages)
    return expected


def _count(piece: Measured) -> int:
    return len(next(iter(piece.messages.values())))


def _parts(piece: Measured, size: int) -> Iterator[Measured]:
    """Split a piece so that the reference can simulate each part within its memory."""
    for start in range(0, _count(piece), size):
        part = {name: values[start : start + size] for name, values in piece.messages.items()}
        yield Measured(piece.first + start, part)
