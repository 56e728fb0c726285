"""The hash of a data set: of a file, of a folder, or of a table with the files that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
    files = files_of(path)
    if path.is_dir():
        return _joined(path, files)
    return _joined(path.parent, [path, *files]) if files else sha256(path)


def files_of(path: Path) -> Sequence[Path]:
    """All files of a folder, or those that a table names; errors as of ``content_hash``."""
    if path.is_dir():
        return files_below(path)
    if kinds.kind_of(path) != kinds.TEXT:
        return ()
    from snn_compile.samples.readers import tables

    table = tables.Table.of(path)
    column = tables.file_column(table)
    if column is None:
        return ()
    return tables.listed(table, column, Request({"": (1,)})).files


def _joined(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{sha256(file)}  {file.relative_to(root).as_posix()}\n".encode())
    return digest.hexdigest()
