"""A recorded trace as a device: record on a board once, compare anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from snn_compile.errors import DeviceError, Origin, UsageError
from snn_compile.hil.device import Capabilities, Measured, refuse_unknown_options
from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import MESSAGE, series_of
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.pluralize import pluralize


class ReplayDevice:
    """``--device replay:FILE``, or ``--replay FILE``."""

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        refuse_unknown_options("replay", options or {})
        if not argument:
            raise UsageError(
                "no trace to replay is named", code="bad-device", hint="--device replay:FILE"
            )
        self._path = argument
        self._recording: Recording | None = None

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Open the trace; its hashes are checked."""
        del folder
        self._recording = Recording.open(self._path)
        fits(self._recording, program)
        about = self._recording.header.about
        return Capabilities(about.exact, self._recording.layers, about.facts)

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """The recorded messages of these stimuli."""
        del time_limit
        if self._recording is None:
            raise RuntimeError("load a network first")
        recording = self._recording
        recording.check_stimuli(frames)
        for first, stop in recording.ranges(len(frames)):
            messages = {name: recording.messages(name, first, stop) for name in recording.layers}
            yield Measured(first, messages)
        if recording.header.recorded < len(frames):
            raise incomplete(recording)

    def close(self) -> None:
        """Close the file."""
        if self._recording is not None:
            self._recording.close()


def incomplete(recording: Recording, where: str = "") -> DeviceError:
    """A trace that ends before the last stimulus: a file, or the reply of ``where``."""
    header = recording.header
    why = f" ({header.why})" if header.why else ""
    stimuli = pluralize(header.n_stimuli, "stimulus")
    return DeviceError(
        f"the recording stopped after {header.recorded} of {stimuli}{why}",
        code="trace-incomplete",
        origin=Origin(where or str(recording.path)),
        hint="record it again",
    )


def fits(recording: Recording, program: QuantizedGraph) -> None:
    """Check that a trace has the layers of a network, with equal shapes.

    Raises:
        UsageError: it does not.
    """
    about = recording.header.about
    there = {series.name: series for series in series_of(program)}
    recorded = [series for series in recording.header.series if series.quantity == MESSAGE]
    window = (about.coding, about.n_steps) == (program.window.coding, program.window.n_steps)
    if not window or any(there.get(series.name) != series for series in recorded):
        raise UsageError(
            "the trace was recorded from another network",
            code="other-network",
            origin=Origin(str(recording.path)),
            hint="record one from this network: snn-compile hil DIR --device NAME --record FILE",
        )
