"""The hash of a data set: of a file, of a folder, or of a table with the files that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from snn_compile.files.documents import sha256
from snn_compile.samples.readers import kinds
from snn_compile.samples.readers.content import Request
from snn_compile.samples.readers.folder import files_below


def content_hash(path: Path) -> str:
    """The SHA-256 of a file; of several, that of their hashes and of their names in the set.

    Raises:
        OSError: a file cannot be read.
        UsageError: a folder has links that leave it, or a table names files that are not there.
    """
    if path.is_dir():
        return _joined(path, files_below(path))
    if kinds.kind_of(path) == kinds.TEXT:
        from snn_compile.samples.readers import tables

        table = tables.Table.of(path)
        column = tables.file_column(table)
        if column is not None:
            files = tables.listed(table, column, Request({"": (1,)})).files
            return _joined(path.parent, [path, *files])
    return sha256(path)


def _joined(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{sha256(file)}  {_name(file, root)}\n".encode())
    return digest.hexdigest()


def _name(file: Path, root: Path) -> str:
    if not file.is_relative_to(root):  # a table may name a file by its absolute path
        file, root = file.resolve(), root.resolve()
    return file.relative_to(root).as_posix()
