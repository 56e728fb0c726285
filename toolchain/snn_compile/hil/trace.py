"""Recorded runs: the file format, and its writer, which streams while a device runs.

A trace holds the messages of every layer as events: sparse, compressed, a few stimuli at a time, so
that neither writer nor reader holds all of it. A laboratory records on its board once, and others
compare with the recording. ``docs/reference/traces.md`` describes the file; ``recording.py``
reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from snn_compile.files.writing import NewFile
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.version import __version__

FORMAT, VERSION = "snn-compile trace", 1
HEADER, SEAL, STIMULUS = "header.json", "seal", "stimulus.npy"
MESSAGE, POTENTIAL = "message", "potential"
COLUMNS = ("stimulus", "step", "neuron", "value")
EVENT_TYPE = np.dtype("<i4")
LEVEL = 1
"""Compression level: a higher one makes column-wise events no smaller, only slower to write."""

Messages = Mapping[Any, npt.NDArray[Any]]
"""By layer, (n, T, *shape) integers."""


@dataclass(frozen=True)
class Series:
    """One quantity of one layer.

    Attributes:
        name: name of the population.
        shape: shape of the population.
        depth: number of synapses between it and the input.
        quantity: ``message``, its output (a readout: its potential); or ``potential``, the state
            after a step, which the reference does not record: only two traces compare in it.
    """

    name: str
    shape: tuple[int, ...]
    depth: int
    quantity: str = MESSAGE


@dataclass(frozen=True)
class About:
    """Metadata of a trace.

    Attributes:
        network: seal of the compiled network.
        coding: of the network.
        n_steps: length of a window.
        device: name of the device.
        exact: whether the device claims bit accuracy.
        facts: the device's own description.
    """

    network: str
    coding: str
    n_steps: int
    device: str
    exact: bool = True
    facts: Mapping[str, str] = field(default_factory=dict)


def series_of(program: QuantizedGraph, layers: Sequence[str] | None = None) -> tuple[Series, ...]:
    """Message series of a network's populations (or the named ones), in topological order."""
    return tuple(
        Series(node.id, node.shape, program.depth[node.id])
        for node in program.populations
        if layers is None or node.id in layers
    )


def events_of(messages: npt.NDArray[np.generic], first: int) -> npt.NDArray[np.int32]:
    """Nonzero messages as rows of stimulus, step, neuron and value, in that order.

    Args:
        messages: (n, T, *shape) integers.
        first: number of the first stimulus.

    Returns:
        (events, 4) int32; the neuron is counted channel first, in row-major order.

    Raises:
        OverflowError: a value needs more than 32 bits.
    """
    flat = messages.reshape(*messages.shape[:2], -1)
    stimulus, step, neuron = np.nonzero(flat)
    values = flat[stimulus, step, neuron].astype(np.int64)
    if values.size and max(-int(values.min()), int(values.max()) + 1) > 1 << 31:
        raise OverflowError("a message needs more than 32 bits")
    columns = [part.astype(EVENT_TYPE) for part in (stimulus + first, step, neuron, values)]
    return np.stack(columns, axis=1)


def stimulus_digests(frames: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """SHA-256 of each encoded stimulus as little-endian int32, (N, 32)."""
    digests = [hashlib.sha256(np.asarray(f, EVENT_TYPE).tobytes()).digest() for f in frames]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(frames), 32)


def stimulus_digest(frames: npt.NDArray[np.integer]) -> str:
    """SHA-256 of all encoded stimuli as little-endian int32, in their order."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(np.asarray(frame, EVENT_TYPE).tobytes())
    return digest.hexdigest()


def event_file(piece: int, series: int) -> str:
    """Name of the array with one piece of one series."""
    return f"events/{piece:05d}/{series:04d}.npy"


class TraceWriter:
    """Writes a trace piece by piece: beside the file first, then renamed.

    A trace that ends early is kept as ``NAME.partial.npz``: the messages before a board was lost
    are worth examining, and must not replace a complete recording.

    Args:
        path: of the finished file.
        about: metadata of the recording.
        series: quantities present in every piece.
        frames: encoded stimuli of the device, (N, *input shape).

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(
        self, path: Path, about: About, series: Sequence[Series], frames: npt.NDArray[np.integer]
    ) -> None:
        self.path = path
        self.about = about
        self.series = tuple(series)
        self._stimulus = {"count": len(frames), "sha256": stimulus_digest(frames)}
        self._hashes = [hashlib.sha256() for _ in self.series]
        self._pieces: list[dict[str, Any]] = []
        self.recorded = 0
        self._file = NewFile(path)
        self._archive: zipfile.ZipFile | None = zipfile.ZipFile(
            self._file.stream, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL
        )
        try:
            self._write_array(STIMULUS, stimulus_digests(frames))
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()

    def add(self, messages: Messages, potentials: Messages | None = None) -> None:
        """Write the next piece.

        Args:
            messages: of each layer that is recorded, (n, T, *shape), for the next n stimuli.
            potentials: likewise the states, if those are recorded.
        """
        given = {MESSAGE: messages, POTENTIAL: potentials or {}}
        counts, n_stimuli = [], 0
        for index, series in enumerate(self.series):
            values = given[series.quantity][series.name]
            n_stimuli = len(values)
            events = events_of(values, self.recorded)
            self._hashes[index].update(events.tobytes())
            counts.append(len(events))
            self._write_array(event_file(len(self._pieces), index), np.asfortranarray(events))
        self._pieces.append({"first": self.recorded, "count": n_stimuli, "events": counts})
        self.recorded += n_stimuli

    def close(self, why: str = "") -> Path:
        """Finish the file.

        Args:
            why: reason for an incomplete recording; empty if complete.

        Returns:
            The file: the one requested, or the partial one beside it.
        """
        complete = not why and self.recorded == self._stimulus["count"]
        text = json.dumps(self._header(complete, why), indent=1, ensure_ascii=False)
        self._write(HEADER, text.encode())
        self._write(SEAL, hashlib.sha256(text.encode()).hexdigest().encode())
        if self._archive is not None:
            self._archive.close()
        self._archive = None
        name = self.path.name if complete else f"{self.path.stem}.partial.npz"
        self._file.keep(name)
        return self.path.with_name(name)

    def discard(self) -> None:
        """Remove the file, unless it is finished."""
        if self._archive is not None:
            with contextlib.suppress(OSError):  # a full disk fails once more when closing
                self._archive.close()
            self._archive = None
        self._file.discard()

    def _header(self, complete: bool, why: str) -> dict[str, Any]:
        about = asdict(self.about)
        totals = [
            sum(piece["events"][k] for piece in self._pieces) for k in range(len(self.series))
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "tool": {"name": "snn-compile", "version": __version__},
            "network": {"seal": about["network"], "coding": about["coding"]},
            "n_steps": about["n_steps"],
            "stimulus": self._stimulus,
            "device": {"name": about["device"], "exact": about["exact"], "facts": about["facts"]},
            "layers": [
                {
                    "name": series.name,
                    "quantity": series.quantity,
                    "shape": list(series.shape),
                    "depth": series.depth,
                    "events": total,
                    "sha256": digest.hexdigest(),
                }
                for series, total, digest in zip(self.series, totals, self._hashes, strict=True)
            ],
            "pieces": self._pieces,
            "recorded": self.recorded,
            "complete": complete,
            "why": why,
        }

    def _write_array(self, name: str, array: npt.NDArray[np.generic]) -> None:
        with self._member(name) as stream:
            np.lib.format.write_array(stream, array, allow_pickle=False)

    def _write(self, name: str, content: bytes) -> None:
        with self._member(name) as stream:
            stream.write(content)

    def _member(self, name: str) -> IO[bytes]:
        if self._archive is None:
            raise ValueError("the trace is closed")
        # A member named by a string gets no date, so that equal runs give equal files.
        return self._archive.open(name, "w", force_zip64=True)
