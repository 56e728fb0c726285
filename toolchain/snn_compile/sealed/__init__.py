"""Reading and validation of a compiled folder, which is untrusted.

The seal has no key: it detects damage, not malice. So every entry must have the type and the range
that the rest of the compiler relies on, or the folder is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from snn_compile.errors import CompileError, ModelError, Origin, VerificationError
from snn_compile.files.archives import Archive, Arrays
from snn_compile.files.documents import (
    MAX_JSON_SIZE,
    DamagedError,
    check_size,
    inside,
    read_json,
    reading,
)
from snn_compile.files.typed import complaint
from snn_compile.ir.encoding import Encoding, InputEncoding, OutputDecoding, join_encodings
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.quantized import ConvSynapses, Input, QuantizedGraph, Synapses
from snn_compile.ir.serialize import array_hashes, dump_program, load_program
from snn_compile.ir.spiking import InputCoding
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.plugins import BACKEND_NAME
from snn_compile.report import schema
from snn_compile.report.schema import REPORT
from snn_compile.sealed import compatibility, tail
from snn_compile.sealed.compatibility import OLDER, SCHEMA, SEVERAL_INPUTS
from snn_compile.signing import VERIFICATION
from snn_compile.sim.bounds import message_range, synapse_sums
from snn_compile.sim.kernels import exact_dtype

MODEL = "model.snn"
GOLDEN = "golden"
STIMULUS, EXPECTED, MESSAGES = "stimulus.npz", "expected.npz", "messages.json"
_HINT = "compile the model again"
_SEAL_BYTES = 64


class _Encoding(TypedDict):
    low: int
    high: int
    shape: list[int]
    maps: list[int]


class _Network(TypedDict):
    """A network without its arrays."""

    program: dict[str, Any]
    encoding: _Encoding | list[_Encoding]
    decodings: dict[str, list[int]]


class _Content(_Network):
    """Content of ``program.json``."""

    provenance: dict[str, str]
    emitted: list[str]
    hashes: dict[str, str]


@dataclass(frozen=True, eq=False)
class SealedFolder:
    """The content of a compiled folder; names as in :class:`snn_compile.bundle.CompiledModel`."""

    program: QuantizedGraph
    encoding: Encoding
    decodings: Mapping[NodeId, OutputDecoding]
    report: dict[str, Any]
    stimulus: Int
    provenance: Mapping[str, str]
    golden: Mapping[str, list[str]]
    expected: Mapping[str, Int]
    backends: tuple[str, ...]
    findings: tuple[Finding, ...]
    tail: HostTail | None = None


def read(folder: Path) -> SealedFolder:
    """Read a compiled folder's network.

    Raises:
        ModelError: it is damaged, or not in this tool's format.
        VerificationError: its content does not match its seal.
        UsageError: it exceeds the memory budget.
    """
    with _reading(folder / MODEL):
        written, content, arrays = _unsealed(inside(folder, MODEL))
        program, encoding, decodings = _network(content, arrays)
    with _reading(folder / tail.DESCRIPTION):
        host_tail = tail.read(folder, content["provenance"], encoding, decodings)
    with _reading(folder / REPORT):
        report = _report(folder)
    golden = folder / GOLDEN
    with _reading(golden):
        stimulus = frames_in(_arrays(golden, STIMULUS), program)
        expected = _expected(_arrays(golden, EXPECTED), program, written)
        messages = read_json(inside(golden, MESSAGES))
        _require(complaint(messages, dict[str, list[str]], MESSAGES))
    return SealedFolder(
        program,
        encoding,
        decodings,
        report,
        stimulus,
        content["provenance"],
        messages,
        expected,
        tuple(content["emitted"]),
        compatibility.notice(written),
        host_tail,
    )


def network_in(
    document: Any, arrays: Mapping[str, Any], name: str
) -> tuple[QuantizedGraph, Encoding, dict[NodeId, OutputDecoding]]:
    """A network from what ``describe`` gives and the arrays that it names.

    Raises:
        ValueError: it is no network, or too large a one; or another exception of ``DAMAGE``.
    """
    _require(complaint(document, _Network, name))
    return _network(document, arrays)


def _network(
    content: _Network, arrays: Mapping[str, Any]
) -> tuple[QuantizedGraph, Encoding, dict[NodeId, OutputDecoding]]:
    program = load_program(content["program"], arrays)
    check_network(program)
    encoding = _encodings(content["encoding"], arrays, program)
    decodings = {
        NodeId(node): _decoding(node, shape, arrays, program)
        for node, shape in content["decodings"].items()
    }
    return program, encoding, decodings


def describe(
    program: QuantizedGraph, encoding: Encoding, decodings: Mapping[NodeId, OutputDecoding]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network as JSON values, and the arrays that they name."""
    description, arrays = dump_program(program)
    parts = encoding.parts
    for number, part in enumerate(parts):
        arrays[encoding_key(number, len(parts))] = part.unit
    for name, decoding in decodings.items():
        arrays[f"{name}:decoding"] = decoding.unit
    encodings = [
        {"low": e.low, "high": e.high, "shape": list(e.shape), "maps": list(e.maps)} for e in parts
    ]
    content = {
        "program": description,
        "encoding": encodings if len(parts) > 1 else encodings[0],
        "decodings": {name: list(d.shape) for name, d in decodings.items()},
    }
    return content, arrays


def read_seal(folder: Path) -> str:
    """The seal of a compiled network, also recorded in its traces; ``read`` checks it."""
    with _reading(folder / MODEL), Archive(inside(folder, MODEL)) as archive:
        return archive.content("seal", _SEAL_BYTES).decode("ascii")


def read_report(folder: Path) -> dict[str, Any]:
    """The content of ``report.json`` alone, without the network; empty without one.

    Raises:
        ModelError: it is damaged, or not in this tool's format.
    """
    with _reading(folder / REPORT):
        return _report(folder)


def read_schema(folder: Path) -> int:
    """The schema of a compiled network; ``read`` checks the rest."""
    with _reading(folder / MODEL), Archive(inside(folder, MODEL)) as archive:
        return _schema(archive.json("program.json", MAX_JSON_SIZE))


def check_network(program: QuantizedGraph) -> None:
    """Check that a network can be simulated: one stimulus fits the memory, and sums are exact.

    Raises:
        TooLargeError: a stimulus exceeds the memory budget.
        OverflowError: sums exceed the exact range.
    """
    nodes = (*program.populations, *program.inputs)
    largest = max(nodes, key=lambda node: prod(node.shape))
    n_neurons, n_steps = sum(prod(node.shape) for node in nodes), program.window.n_steps
    what = f"a network of {n_neurons:,} neurons ({prod(largest.shape):,} in '{largest.id}')"
    check_size(f"{what} and {n_steps:,} steps", 8 * n_neurons * n_steps)
    for node in program.graph:
        if isinstance(node, ConvSynapses):
            channels, height, width = program.graph[node.inputs[0]].shape
            top, left, bottom, right = (max(side, 0) for side in node.geometry.padding)
            size = channels * (height + top + bottom) * (width + left + right)
            check_size(f"the padded input of '{node.id}'", 8 * size * n_steps)
        if isinstance(node, Synapses):
            _, partial = synapse_sums(node, message_range(program.graph, node))
            exact_dtype(partial)


def frames_in(arrays: Mapping[str, Int], program: QuantizedGraph) -> Int:
    """The encoded stimuli among the arrays of a file: of the network's shape, in its range.

    Raises:
        DamagedError: they are missing, or do not fit.
    """
    if "frames" not in arrays:
        raise DamagedError(f"{STIMULUS} holds no 'frames'")
    frames, shape = arrays["frames"], program.inputs.shape
    events = program.input_coding is InputCoding.EVENTS
    if events:
        shape = (program.window.n_steps, *shape)
    if frames.shape[1:] != shape or not len(frames):
        raise DamagedError(f"the stimuli have the shape {frames.shape}, not (N, {shape})")
    values = program.inputs.split(frames, 2 if events else 1)
    for given in program.inputs:
        low, high = values[given.id].min(), values[given.id].max()
        if low < given.low or high > given.high:
            raise DamagedError(
                f"stimuli from {low} to {high}, and the input takes {given.low} to {given.high}"
            )
    return frames


def integers(path: Path) -> dict[str, Int]:
    """All arrays of an npz file, which are integers."""
    with Archive(path) as archive:
        arrays = Arrays(archive, itemsize=np.dtype(np.int64).itemsize, kinds="iu")
        return {name: values.astype(np.int64) for name, values in arrays.items()}


def _reading(path: Path) -> Any:
    return reading(path, ModelError, "unreadable-bundle", "the compiled network is damaged", _HINT)


def _unsealed(path: Path) -> tuple[int, _Content, dict[str, Any]]:
    """The original schema, the content in the present schema, and the arrays."""
    with Archive(path) as archive:
        text = archive.content("program.json", MAX_JSON_SIZE)
        seal = archive.content("seal", _SEAL_BYTES).decode("ascii")
        document = archive.json("program.json", MAX_JSON_SIZE)
        written = _schema(document)
        content = _checked(compatibility.upgrade(document))
        names = sorted(content["hashes"])
        stored = Arrays(archive, itemsize=8)
        arrays = {name: stored[str(k)] for k, name in enumerate(names)}
    changed = [n for n, h in array_hashes(arrays).items() if h != content["hashes"][n]]
    if hashlib.sha256(text).hexdigest() != seal:
        changed.insert(0, "program.json")
    if changed:
        raise VerificationError(
            f"the seal is broken: {', '.join(changed[:5])} changed after compilation",
            code="seal-broken",
            origin=Origin(str(path)),
            hint=_HINT,
        )
    return written, content, arrays


def _schema(document: Any) -> int:
    version = document.get("schema") if isinstance(document, dict) else None
    readable = (*OLDER, SCHEMA, SEVERAL_INPUTS)
    if not isinstance(version, int) or isinstance(version, bool) or version not in readable:
        either = " and ".join(map(str, readable))
        raise DamagedError(f"its schema is {version!r}, and this version reads {either}")
    return version


def _checked(content: Any) -> _Content:
    _require(complaint(content, _Content, "program.json"))
    if odd := [name for name in content["emitted"] if not BACKEND_NAME.fullmatch(name)]:
        raise DamagedError(f"a backend called {odd[0]!r}")
    checked: _Content = content
    return checked


def _report(folder: Path) -> dict[str, Any]:
    """The content of ``report.json``, if present."""
    if not (folder / REPORT).exists():
        return {}
    document = read_json(inside(folder, REPORT))
    _require(schema.complaint(document))
    if (folder / VERIFICATION).exists():  # a signed report is never changed
        later = read_json(inside(folder, VERIFICATION))
        _require(schema.complaint(later))
        document = schema.verified(document, later.get("verification", []))
        _require(schema.complaint(document))
    stated = {name: option["value"] for name, option in document.get("options", {}).items()}
    try:
        CompileOptions.stated(stated)
    except CompileError as error:
        raise DamagedError(f"the report's options: {error.message}") from error
    report: dict[str, Any] = schema.plain(document)
    return report


def _arrays(folder: Path, name: str) -> dict[str, Int]:
    return integers(inside(folder, name))


def encoding_key(number: int, n_inputs: int) -> str:
    """Name of the array with the units of an input."""
    return "encoding:unit" if n_inputs == 1 else f"encoding:{number}:unit"


def _encodings(
    stated: _Encoding | list[_Encoding], arrays: Mapping[str, Any], program: QuantizedGraph
) -> Encoding:
    documents = stated if isinstance(stated, list) else [stated]
    n = len(program.inputs)
    if len(documents) != n:
        raise DamagedError(f"it has {len(documents)} encodings for {n} inputs")
    units = [_units(arrays, encoding_key(k, n)) for k in range(n)]
    steps = program.window.n_steps if program.input_coding is InputCoding.EVENTS else 1
    made = zip(documents, units, program.inputs, strict=True)
    return join_encodings(_encoding(*each, steps) for each in made)


def _encoding(document: _Encoding, unit: Any, given: Input, steps: int) -> InputEncoding:
    shape, maps = _shape(document["shape"], "shape"), _shape(document["maps"], "maps")
    if not given.low <= document["low"] <= document["high"] <= given.high:
        raise DamagedError("the encoding has levels outside the input's range")
    if not prod(shape) == prod(maps) == steps * prod(given.shape):
        raise DamagedError(f"the encoding makes {maps} of {shape}, and the input is {given.shape}")
    if len(unit) not in (1, shape[0]) or not (unit > 0).all():
        raise DamagedError("the encoding has invalid units")
    return InputEncoding(unit, document["low"], document["high"], shape, maps)


def _decoding(
    name: str, document: list[int], arrays: Mapping[str, Any], program: QuantizedGraph
) -> OutputDecoding:
    found = next((node.shape for node in program.readouts if node.id == name), ())
    shape, unit = _shape(document, "decodings"), _units(arrays, f"{name}:decoding")
    if len(found) != 3 or prod(found) != prod(shape) or len(unit) not in (1, found[0]):
        raise DamagedError(f"the decoding of {name!r} matches no output")
    return OutputDecoding(unit, shape)


def _shape(document: list[int], name: str) -> tuple[int, ...]:
    if not document or min(document) < 1:
        raise DamagedError(f"'{name}' is {document}")
    return tuple(document)


def _units(arrays: Mapping[str, Any], name: str) -> Any:
    unit = arrays[name]
    if unit.dtype != np.float64 or unit.ndim != 1 or not np.isfinite(unit).all():
        raise DamagedError(f"'{name}' holds no units")
    return unit


def _expected(stored: Mapping[str, Int], program: QuantizedGraph, written: int) -> dict[str, Int]:
    """Potentials of each output."""
    expected = {}
    for number, node in enumerate(program.readouts):
        values = stored.get(compatibility.output_key(written, number, str(node.id)))
        if values is None or values.shape[1:] != node.shape:
            found = "nothing" if values is None else f"the shape {values.shape}"
            raise DamagedError(f"{EXPECTED} has {found} for output '{node.id}'")
        expected[str(node.id)] = values
    return expected


def _require(wrong: str) -> None:
    if wrong:
        raise DamagedError(wrong)
