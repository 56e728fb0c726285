"""What the points of a sweep depend on: files, targets, options and the program."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from snn_compile.options import CompileOptions
from snn_compile.options.declared import Option
from snn_compile.pipeline.inputs import files_of
from snn_compile.samples.readers.digest import content_hash as data_hash
from snn_compile.samples.readers.digest import files_of as files_of_data
from snn_compile.sealed.provenance import DATA, FILES
from snn_compile.targets import available, content_hash
from snn_compile.workers import File
from snn_compile.workers.program import program_hash


class Inputs:
    """The inputs of points; every file, every target and the program are read once.

    Args:
        model: the file.

    Attributes:
        model: it with the files that it refers to.
    """

    def __init__(self, model: Path) -> None:
        self.model = files_of(model)
        self._program = program_hash()
        self._file = cache(File.of)
        self._data = cache(_data)
        self._target = cache(content_hash)

    def files(self, options: CompileOptions) -> dict[str, File]:
        """The files that options name, by option."""
        paths = {name: getattr(options, name) for name in FILES}
        if options.target not in available():
            paths["target"] = Path(options.target)
        return {
            name: self._data(path) if name in DATA else self._file(path)
            for name, path in paths.items()
            if path is not None
        }

    def key(self, options: CompileOptions) -> str:
        """A hash of everything that a point with these options depends on."""
        given = {name: Option.plain(getattr(options, name)) for name in sorted(options.origins)}
        shared = {"model": self.model, **self.files(options)}
        document = {
            "program": self._program,
            "files": {role: [file.path.name, file.group] for role, file in shared.items()},
            "target": self._target(options.target),
            "options": {n: value for n, value in given.items() if n not in (*FILES, "target")},
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _data(path: Path) -> File:
    """A set of samples: a file, a table with the files that it names, or a folder of files."""
    files = files_of_data(path)
    if path.is_dir():
        return File.of_folder(path, data_hash(path), files)
    return File.of(path, *dict.fromkeys(files))
