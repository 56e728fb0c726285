"""The header of a trace: what ``header.json`` may say, and that it does not contradict itself."""

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
    """What ``header.json`` says, as it stands there."""

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
    """Stimuli that were written together.

    Attributes:
        first: number of the first stimulus.
        count: how many.
        events: number of events of each series.
    """

    first: int
    count: int
    events: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What ``header.json`` says.

    Attributes:
        about: network, device and time.
        series: what was recorded, in topological order.
        digests: SHA-256 over the events of each series.
        pieces: in the order of the stimuli.
        n_stimuli: how many the device got.
        stimulus: SHA-256 of them.
        recorded: how many are in the file, from the first one on.
        complete: whether all are.
        why: what ended the recording early.
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


def parsed(document: Any) -> Header:
    """The header that a JSON value states.

    Raises:
        DamagedError: it has other types.
        ValueError: what it says cannot be.
        TooLargeError: what one layer sends for one stimulus takes too much memory.
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
        raise ValueError(f"{value!r} is not a number of anything")
    return value


def _plausible(header: Header) -> None:
    names = [(s.name, s.quantity) for s in header.series]
    if len(set(names)) < len(names) or {q for _, q in names} - {MESSAGE, POTENTIAL}:
        raise ValueError("layers that are listed twice, or of unknown quantity")
    sizes = [prod(s.shape) * header.about.n_steps for s in header.series]
    if any(not 1 <= size < 1 << 31 for size in sizes):
        raise ValueError("layers without neurons or steps, or with too many")
    check_size("what one layer sends for one stimulus", 4 * max(sizes, default=0))
    following = 0
    for piece in header.pieces:
        if piece.first != following or len(piece.events) != len(header.series):
            raise ValueError("pieces that do not follow each other")
        following += piece.count
        for series, count in zip(header.series, piece.events, strict=True):
            if count > piece.count * header.about.n_steps * prod(series.shape):
                raise ValueError("more events than there can be")
    if following != header.recorded or header.recorded > header.n_stimuli:
        raise ValueError("pieces that do not add up")
    if header.complete != (header.recorded == header.n_stimuli and not header.why):
        raise ValueError("neither complete nor partial")
