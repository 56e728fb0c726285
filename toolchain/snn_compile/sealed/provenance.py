"""What a compiled network was made from, as its seal says it: files by hash and name, and options.

Where the files lay is no part of it, so that the same files give the same seal everywhere.
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
from snn_compile.targets import available, content_hash
from snn_compile.version import __version__

TOOL = f"snn-compile {__version__}"
DATA = ("calibrate", "evaluate")
INPUTS = ("model", *DATA, "target")
"""What a network is made from, apart from the options."""
TUNED = "tuned"
"""Of networks that were trained: how."""
_NAME = "{}.name"
ADDED = {"activation_segments": 32}
"""Options that older versions did not have, with what then stands for them: a network that does not
depend on them keeps its seal."""
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Source:
    """A file that a network was made from, or a target that comes with the tool.

    Attributes:
        name: of the file, without its folder; empty for arrays, which are in no file.
        sha256: of its content.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """All that it takes to compile a network again.

    Attributes:
        tool: name and version of what compiled it.
        sources: by what they are: ``INPUTS``.
        options: as they were stated, without files.
        tuned: how it was trained; empty if it was not.
    """

    tool: str
    sources: Mapping[str, Source]
    options: Mapping[str, Any]
    tuned: str

    @staticmethod
    def of(said: Mapping[str, str]) -> Provenance:
        """What a sealed network says of itself.

        Raises:
            DamagedError: it says too little, or something else.
        """
        lacking = [key for key in ("tool", "model", "target", "options") if not said.get(key)]
        if lacking:
            raise DamagedError(f"the provenance lacks {', '.join(lacking)}")
        options = parse_json(said["options"].encode(), "the provenance's options")
        if not isinstance(options, dict):
            raise DamagedError("the provenance's options are none")
        sources = {
            kind: Source(_plain(said.get(_NAME.format(kind), "")), said[kind])
            for kind in INPUTS
            if kind in said
        }
        return Provenance(said["tool"], sources, options, said.get(TUNED, ""))

    def stated(self, origins: Mapping[str, str]) -> CompileOptions:
        """The options, still without files.

        Raises:
            DamagedError: they are no options.
        """
        try:
            return CompileOptions.stated(self.options, origins)
        except CompileError as error:
            raise DamagedError(f"the provenance's options: {error.message}") from error


def provenance(
    model: Path, options: CompileOptions, given: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """What a seal says of a network's origin.

    Args:
        model: the file.
        options: as they were stated: ``auto`` where that was said.
        given: arrays in the place of files, by the option's name.
    """
    said = {"tool": TOOL, **_file("model", model)}
    arrays = {kind: values for kind, values in (given or {}).items() if values is not None}
    for kind in DATA:
        if kind in arrays:
            said[kind] = _hash_of(arrays[kind])
        elif (path := getattr(options, kind)) is not None:
            said |= _file(kind, path)
    own = options.target in available()
    name = options.target if own else Path(options.target).name
    said |= {"target": content_hash(options.target), _NAME.format("target"): name}
    values = {key: option["value"] for key, option in options.effective().items()}
    for key, default in ADDED.items():
        if values[key] == default:
            del values[key]
    stated = {key: value for key, value in values.items() if key not in DATA} | {"target": name}
    return {**said, "options": json.dumps(stated, sort_keys=True)}


def _file(kind: str, path: Path) -> dict[str, str]:
    return {kind: sha256(path), _NAME.format(kind): path.name}


def _hash_of(given: Any) -> str:
    """The hash of an array, or of several."""
    digest = hashlib.sha256()
    arrays = given if isinstance(given, tuple) else (given,)
    for values in (np.ascontiguousarray(array) for array in arrays if array is not None):
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _plain(name: str) -> str:
    """The name of a file: of no folder, and of nothing above.

    Raises:
        DamagedError: it is more than that.
    """
    if name in (".", "..") or set(name) & set("/\\\0"):
        raise DamagedError(f"the provenance names {name!r}, which is no file's name")
    return name
