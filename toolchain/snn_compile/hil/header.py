"""The header of a trace: the schema of ``header.json`` and its consistency checks."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, TypedDict

from snn_compile.files.documents import DamagedError, check_size
from snn_compile.files.typed import complaint
from snn_compile.hil.trace import HEADER, MESSAGE, POTENTIAL, About, Series


class _Network(TypedDict):
    seal: str
    coding: str


class _Device(TypedDict):
    name: str
    exact: bool
    facts: dict[str, Any]


class _Layer(TypedDict):
    name: str
    shape: list[int]
    depth: int
    quantity: str
    sha256: str


class _Piece(TypedDict):
    first: int
    count: int
    events: list[int]


class _Stimulus(TypedDict):
    count: int
    sha256: str


class _Document(TypedDict):
    """Content of ``header.json``, as written."""

    network: _Network
    n_steps: int
    device: _Device
    layers: list[_Layer]
    pieces: list[_Piece]
    stimulus: _Stimulus
    recorded: int
    complete: bool
    why: str


@dataclass(frozen=True)
class Piece:
    """Stimuli written together.

    Attributes:
        first: index of the first stimulus.
        count: number of stimuli.
        events: number of events of each series.
    """

    first: int
    count: int
    events: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """Content of ``header.json``, validated.

    Attributes:
        about: network, device and time.
        series: recorded quantities, in topological order.
        digests: SHA-256 over the events of each series.
        pieces: in the order of the stimuli.
        n_stimuli: number of stimuli sent to the device.
        stimulus: their SHA-256.
        recorded: number of stimuli in the file, from the first one on.
        complete: whether all are recorded.
        why: reason for an incomplete recording.
    """

    about: About
    series: tuple[Series, ...]
    digests: tuple[str, ...]
    pieces: tuple[Piece, ...]
    n_stimuli: int
    stimulus: str
    recorded: int
    complete: bool
    why: str


def parse_header(document: Any) -> Header:
    """Parse a header from a JSON value.

    Raises:
        DamagedError: a field has a wrong type.
        ValueError: the header is inconsistent.
        TooLargeError: one layer's messages for one stimulus exceed the memory.
    """
    if wrong := complaint(document, _Document, HEADER):
        raise DamagedError(wrong)
    header = _of(document)
    _plausible(header)
    return header


def _of(document: _Document) -> Header:
    network, device = document["network"], document["device"]
    facts = {key: str(value) for key, value in device["facts"].items()}
    return Header(
        About(
            network["seal"],
            network["coding"],
            _count(document["n_steps"]),
            device["name"],
            device["exact"],
            facts,
        ),
        tuple(
            Series(
                layer["name"],
                tuple(_count(size) for size in layer["shape"]),
                _count(layer["depth"]),
                layer["quantity"],
            )
            for layer in document["layers"]
        ),
        tuple(layer["sha256"] for layer in document["layers"]),
        tuple(
            Piece(_count(p["first"]), _count(p["count"]), tuple(_count(e) for e in p["events"]))
            for p in document["pieces"]
        ),
        _count(document["stimulus"]["count"]),
        document["stimulus"]["sha256"],
        _count(document["recorded"]),
        document["complete"],
        document["why"],
    )


def _count(value: int) -> int:
    if not 0 <= value < 1 << 31:
        raise ValueError(f"{value!r} is not a count")
    return value


def _plausible(header: Header) -> None:
    names = [(s.name, s.quantity) for s in header.series]
    if len(set(names)) < len(names) or {q for _, q in names} - {MESSAGE, POTENTIAL}:
        raise ValueError("duplicate layers, or layers of unknown quantity")
    sizes = [prod(s.shape) * header.about.n_steps for s in header.series]
    if any(not 1 <= size < 1 << 31 for size in sizes):
        raise ValueError("layers with no neurons or steps, or too many")
    check_size("the messages of one layer for one stimulus", 4 * max(sizes, default=0))
    following = 0
    for piece in header.pieces:
        if piece.first != following or len(piece.events) != len(header.series):
            raise ValueError("pieces that are not consecutive")
        following += piece.count
        for series, count in zip(header.series, piece.events, strict=True):
            if count > piece.count * header.about.n_steps * prod(series.shape):
                raise ValueError("more events than neurons and steps allow")
    if following != header.recorded or header.recorded > header.n_stimuli:
        raise ValueError("pieces that do not add up to the total")
    if header.complete != (header.recorded == header.n_stimuli and not header.why):
        raise ValueError("a header neither complete nor partial")
