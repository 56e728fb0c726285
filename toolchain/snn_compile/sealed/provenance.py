"""Provenance of a compiled network, covered by its seal: files by hash and name, and options.

Paths are not part of it, so that equal files give equal seals everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError
from snn_compile.files.documents import DamagedError, parse_json, sha256
from snn_compile.options import CompileOptions
from snn_compile.samples.arrays import as_rows
from snn_compile.samples.readers.digest import content_hash as data_hash
from snn_compile.samples.rows import blocks
from snn_compile.targets import available, content_hash
from snn_compile.version import __version__

TOOL = f"snn-compile {__version__}"
DATA = ("calibrate", "evaluate")
FILES = (*DATA, "placement")
"""Options that name a file of their own."""
INPUTS = ("model", *FILES, "target")
"""Sources of a network, apart from the options."""
TUNED = "tuned"
"""Key of the training method of a tuned network."""
_NAME = "{}.name"
ADDED: dict[str, Any] = {
    "activation_segments": 32,
    "chips": None,
    "allow_approximate": False,
    "outputs": [],
    "cut_at": [],
    "input_shape": [],
    "output_kind": [],
    "labels": [],
    "preprocess": None,
    "samples": None,
    "budget": None,
}
"""Options added later, with their neutral values: a network that does not depend on them keeps its
seal."""
LIMITS = ("max_energy", "max_latency", "max_cores")
"""Options that judge a network and are no part of it."""
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Source:
    """A source file of a network, or a built-in target.

    Attributes:
        name: name of the file, without its folder; empty for arrays without a file.
        sha256: SHA-256 of its content.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Everything needed to recompile a network.

    Attributes:
        tool: name and version of the compiler.
        sources: by role: ``INPUTS``.
        options: as stated by the user, without files.
        tuned: training method; empty if not tuned.
    """

    tool: str
    sources: Mapping[str, Source]
    options: Mapping[str, Any]
    tuned: str

    @staticmethod
    def of(document: Mapping[str, str]) -> Provenance:
        """Parse the provenance in a sealed network.

        Raises:
            DamagedError: it is incomplete or invalid.
        """
        lacking = [key for key in ("tool", "model", "target", "options") if not document.get(key)]
        if lacking:
            raise DamagedError(f"the provenance lacks {', '.join(lacking)}")
        options = parse_json(document["options"].encode(), "the provenance's options")
        if not isinstance(options, dict):
            raise DamagedError("the provenance's options are not an object")
        sources = {
            kind: Source(_plain(document.get(_NAME.format(kind), "")), document[kind])
            for kind in INPUTS
            if kind in document
        }
        return Provenance(document["tool"], sources, options, document.get(TUNED, ""))

    def stated(self, origins: Mapping[str, str]) -> CompileOptions:
        """The options, still without files.

        Raises:
            DamagedError: they are invalid.
        """
        try:
            return CompileOptions.stated(self.options, origins)
        except CompileError as error:
            raise DamagedError(f"the provenance's options: {error.message}") from error


def provenance(
    model: Path, options: CompileOptions, given: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Provenance entries of a seal.

    Args:
        model: the file.
        options: as stated by the user, ``auto`` included.
        given: arrays passed instead of files, by the option's name.
    """
    document = {"tool": TOOL, **_file("model", model)}
    arrays = {kind: values for kind, values in (given or {}).items() if values is not None}
    for kind in DATA:
        if kind in arrays:
            document[kind] = _hash_of(arrays[kind])
        elif (path := getattr(options, kind)) is not None:
            name = path.name or path.resolve().name
            document |= {kind: data_hash(path), _NAME.format(kind): name}
    if options.placement is not None:
        document |= _file("placement", options.placement)
    own = options.target in available()
    name = options.target if own else Path(options.target).name
    document |= {"target": content_hash(options.target), _NAME.format("target"): name}
    values = {key: option["value"] for key, option in options.effective().items()}
    for key, default in ADDED.items():
        if values[key] == default:
            del values[key]
    for key in LIMITS:
        del values[key]
    stated = {key: value for key, value in values.items() if key not in FILES} | {"target": name}
    return {**document, "options": json.dumps(stated, sort_keys=True)}


def _file(kind: str, path: Path) -> dict[str, str]:
    return {kind: sha256(path), _NAME.format(kind): path.name}


def _hash_of(given: Any) -> str:
    """The hash of an array, or of several; those by name are of several inputs, or labels."""
    digest = hashlib.sha256()
    arrays = list[Any]()
    for part in given if isinstance(given, tuple) else (given,):
        if isinstance(part, Mapping):
            digest.update(json.dumps(list(part)).encode())
        arrays.extend(part.values() if isinstance(part, Mapping) else [part])
    for array in arrays:
        if array is None:
            continue
        rows = as_rows(array)
        if not rows.shape:
            rows = np.ascontiguousarray(rows)
        digest.update(f"{rows.dtype.str}{rows.shape}".encode())
        for block in blocks(rows):
            digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _plain(name: str) -> str:
    """A bare file name.

    Raises:
        DamagedError: it has a folder part.
    """
    if name in (".", "..") or set(name) & set("/\\\0"):
        raise DamagedError(f"the provenance names {name!r}, which is not a file name")
    return name
