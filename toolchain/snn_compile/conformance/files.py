"""A set of vectors on disk: written atomically, read only if every hash matches.

``docs/reference/conformance.md`` describes every file.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile import sealed
from snn_compile.conformance import network_file
from snn_compile.conformance.features import exercised_features
from snn_compile.conformance.net import Vector
from snn_compile.errors import (
    CompileError,
    ModelError,
    Origin,
    UsageError,
    VerificationError,
    raise_all,
)
from snn_compile.files.claims import exclusive_claim
from snn_compile.files.documents import (
    DamagedError,
    inside,
    most_json,
    parse_json,
    read_bytes,
    read_json,
    reading,
    sha256,
)
from snn_compile.files.folders import replacing, require_replaceable
from snn_compile.hil.trace import About, TraceWriter, series_of
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import reference
from snn_compile.version import __version__

FORMAT, VERSION = "snn-compile conformance", 1
INDEX = "index.json"
NETWORK, ARRAYS, STIMULUS, EXPECTED = "network.json", "network.npz", "stimulus.npz", "expected.npz"
FILES = (NETWORK, ARRAYS, STIMULUS, EXPECTED)
"""Of each vector."""
_HINT = "write the set again: snn-compile conformance DIR"


@dataclass(frozen=True, eq=False)
class Case:
    """A vector read from disk.

    Attributes:
        name: name of the vector.
        about: its purpose, in a sentence.
        exercises: the features that it exercises.
        folder: folder of its files.
        seal: SHA-256 of ``network.json``, also in its traces.
        program: the network.
        frames: encoded stimuli.
    """

    name: str
    about: str
    exercises: tuple[str, ...]
    folder: Path
    seal: str
    program: QuantizedGraph
    frames: Int

    @property
    def expected(self) -> Path:
        """The trace of the expected messages."""
        return self.folder / EXPECTED


def write(
    folder: Path, chosen: Sequence[Vector], advance: Callable[[int], None] = lambda n: None
) -> dict[str, Any]:
    """Write a set; an existing set is replaced.

    Equal vectors give equal bytes.

    Args:
        folder: destination.
        chosen: the vectors.
        advance: progress callback, in vectors written.

    Returns:
        The content of ``index.json``.

    Raises:
        UsageError: the folder is not a set, or another process is writing it.
        OSError: it cannot be written.
    """
    with exclusive_claim(folder, make_parents=True), replacing(folder) as beside:
        require_replaceable(folder, INDEX, _is_ours)
        listed = []
        for vector in chosen:
            listed.append(_write_vector(beside / vector.name, vector))
            advance(1)
        index = {
            "format": FORMAT,
            "version": VERSION,
            "tool": {"name": "snn-compile", "version": __version__},
            "vectors": listed,
        }
        (beside / INDEX).write_bytes(_json(index))
    return index


def _is_set(folder: Path) -> bool:
    try:
        document = read_json(inside(folder, INDEX))
    except (OSError, DamagedError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def _is_ours(entry: Path) -> bool:
    """Whether this program wrote an entry of an older set."""
    return _is_set(entry.parent) if entry.name == INDEX else (entry / NETWORK).is_file()


def _write_vector(folder: Path, vector: Vector) -> dict[str, Any]:
    """Write the files of one vector; return its index entry."""
    folder.mkdir()
    program, frames = vector.program, vector.frames
    description, arrays = network_file.encode(program)
    description["hashes"] = {key: _array_hash(value) for key, value in sorted(arrays.items())}
    content = _json(description)
    (folder / NETWORK).write_bytes(content)
    _write_arrays(folder / ARRAYS, arrays)
    messages = reference.input_messages(program, frames)
    _write_arrays(folder / STIMULUS, {"frames": frames, "messages": messages})
    run = reference.run(program, frames, record=True)
    seal = hashlib.sha256(content).hexdigest()
    window = program.window
    about = About(seal, window.coding, window.n_steps, "reference")
    with TraceWriter(folder / EXPECTED, about, series_of(program), frames) as writer:
        writer.add(run.messages)
        writer.close()
    return {
        "name": vector.name,
        "about": vector.about,
        "exercises": exercised_features(vector, run.messages),
        "coding": window.coding,
        "n_steps": window.n_steps,
        "stimuli": len(frames),
        "layers": len(program.populations),
        "neurons": sum(int(np.prod(node.shape)) for node in program.populations),
        "messages": sum(values.size for values in run.messages.values()),
        "events": sum(int(np.count_nonzero(values)) for values in run.messages.values()),
        "seal": seal,
        "files": {name: _file(folder / name) for name in FILES},
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _array_hash(array: npt.NDArray[np.generic]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, "<i4").tobytes()).hexdigest()


def _write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Arrays as int32, uncompressed and without a date: equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, values in sorted(arrays.items()):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(values, "<i4"), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue()
            )


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def read(folder: Path, names: Sequence[str] = ()) -> list[Case]:
    """The vectors of a set, or those named, each file checked against its hash.

    Raises:
        UsageError: the set is missing, has a later version, or lacks a named vector.
        VerificationError: files have changed; all of them are listed.
        ModelError: a network cannot be read.
    """
    index = _index(folder)
    listed = {entry["name"]: entry for entry in index["vectors"]}
    unknown = sorted(set(names) - set(listed))
    if unknown:
        raise UsageError(
            f"the set has no vector '{unknown[0]}'",
            code="unknown-vector",
            origin=Origin(str(folder / INDEX)),
            hint=f"its vectors are {', '.join(listed)}",
        )
    chosen = [entry for name, entry in listed.items() if not names or name in names]
    raise_all([error for entry in chosen for error in _changed(folder, entry)])
    return [_case(folder, entry) for entry in chosen]


def _index(folder: Path) -> dict[str, Any]:
    origin = Origin(str(folder))
    if not _is_set(folder):
        raise UsageError(
            "the folder is not a set of conformance vectors",
            code="not-a-set",
            origin=origin,
            hint="write them first: snn-compile conformance DIR",
        )
    with reading(folder, ModelError, "unreadable-set", "the index is damaged", _HINT):
        index: dict[str, Any] = read_json(inside(folder, INDEX))
    if index.get("version") != VERSION:
        raise UsageError(
            f"a set of version {index.get('version')}; this tool reads version {VERSION}",
            code="set-version",
            origin=origin,
            hint=_HINT,
        )
    if not _well_formed(index.get("vectors")):
        raise ModelError("the index is damaged", code="unreadable-set", origin=origin, hint=_HINT)
    return index


def _well_formed(listed: Any) -> bool:
    if not isinstance(listed, list) or not listed:
        return False
    for entry in listed:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            return False
        files = entry.get("files")
        if not isinstance(files, dict) or set(files) != set(FILES):
            return False
        if not isinstance(entry.get("exercises", []), list):
            return False
        if not all(isinstance(item, dict) and "sha256" in item for item in files.values()):
            return False
    return True


def _changed(folder: Path, entry: Mapping[str, Any]) -> list[CompileError]:
    errors: list[CompileError] = []
    for name, item in entry["files"].items():
        path = folder / entry["name"] / name
        if _hash(folder, path) != item["sha256"]:
            errors.append(
                VerificationError(
                    "its hash differs from the index",
                    code="set-changed",
                    origin=Origin(str(path)),
                    hint=_HINT,
                )
            )
    return errors


def _hash(folder: Path, path: Path) -> str | None:
    """Hash of a regular file in the folder; None for anything else."""
    try:
        return sha256(inside(folder, str(path.relative_to(folder))))
    except (OSError, DamagedError):
        return None


def _case(folder: Path, entry: Mapping[str, Any]) -> Case:
    place = folder / entry["name"]
    with reading(place, ModelError, "unreadable-set", "the network cannot be read", _HINT):
        content = read_bytes(place / NETWORK, most_json())
        description = parse_json(content, NETWORK)
        program = network_file.decode(description, sealed.integers(place / ARRAYS))
        sealed.check_network(program)
        frames = sealed.frames_in(sealed.integers(place / STIMULUS), program)
    return Case(
        entry["name"],
        str(entry.get("about", "")),
        tuple(str(word) for word in entry.get("exercises", ())),
        place,
        hashlib.sha256(content).hexdigest(),
        program,
        frames,
    )
