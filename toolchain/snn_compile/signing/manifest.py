"""The signed content: a list of every file of a folder with its hash, in the form of ``sha256sum``.

The list begins with lines that ``sha256sum --check`` ignores: the version of the list, the
tool, the network's seal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from snn_compile.errors import UsageError
from snn_compile.files.claims import claimed_by
from snn_compile.files.documents import DamagedError, sha256
from snn_compile.version import __version__

MANIFEST, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
VERIFICATION = "verification.json"
"""Outcomes of ``verify`` and ``hil`` in a signed folder, added after the signature."""
UNSIGNED = frozenset({MANIFEST, SIGNATURE, VERIFICATION})
VERSION = 1
SHOWN = 20
"""Names of each kind of difference in a message."""
_FIRST = "# snn-compile manifest"
_LINE = re.compile(r"([0-9a-f]{64})  (\S(?:.*\S)?)")


@dataclass(frozen=True)
class Difference:
    """Differences between the files of a folder and its list.

    Attributes:
        altered: files with other content.
        missing: listed files that do not exist.
        added: files, links and empty folders that are not listed.
    """

    altered: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.altered or self.missing or self.added)

    def __str__(self) -> str:
        kinds = {"altered": self.altered, "missing": self.missing, "added": self.added}
        return "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names)


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def manifest(folder: Path, seal: str) -> bytes:
    """The list of all files of a folder, which must be plain files.

    Args:
        folder: that is complete.
        seal: of the network in it.

    Raises:
        UsageError: a backend has written a file that cannot be listed.
    """
    said = (f"{_FIRST} {VERSION}", f"# tool snn-compile {__version__}", f"# seal {seal}")
    found = dict(entries(folder))
    if odd := [name for name, plain in found.items() if not (plain and _is_plain(name))]:
        raise UsageError(
            f"'{odd[0]}' cannot be signed: it is not a plain file, or its name is not plain",
            code="bad-file",
            hint="sign without the backend that wrote it: --emit",
        )
    hashes = (f"{sha256(folder / name)}  {name}" for name in sorted(found))
    return "".join(f"{line}\n" for line in (*said, *hashes)).encode()


def parse_hashes(content: bytes) -> Mapping[str, str]:
    """The hash of each file that a list names.

    Raises:
        DamagedError: it is not such a list, or has an unknown version.
    """
    first, *lines = content.decode().splitlines()
    if first != f"{_FIRST} {VERSION}":
        raise DamagedError(f"{MANIFEST} begins with {first[:60]!r}, not {_FIRST} {VERSION}")
    hashes: dict[str, str] = {}
    for line in lines:
        if line.startswith("# "):
            continue
        found = _LINE.fullmatch(line)
        if found is None or found[2] in hashes or not _is_plain(found[2]):
            raise DamagedError(f"{MANIFEST} has the line {line[:80]!r}")
        hashes[found[2]] = found[1]
    return hashes


def difference(folder: Path, hashes: Mapping[str, str]) -> Difference:
    """Compare the files of a folder with a list. Links are never followed."""
    found = dict(entries(folder))
    plain = {name for name, is_plain in found.items() if is_plain}
    there = sorted(plain & set(hashes))
    return Difference(
        tuple(name for name in there if sha256(folder / name) != hashes[name]),
        tuple(sorted(set(hashes) - plain)),
        tuple(sorted(set(found) - (plain & set(hashes)))),
    )


def _is_unsigned(name: str) -> bool:
    """Whether a file at the top comes with the signature or after it, finished or not."""
    return name in UNSIGNED or claimed_by(name) == VERIFICATION


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file inside the folder, and says so plainly."""
    parts = name.split("/")
    return not set(parts) & {"", ".", ".."} and name.isprintable() and "\\" not in name


def entries(folder: Path, under: str = "") -> Iterator[tuple[str, bool]]:
    """Everything in a folder that a signature covers, by its path, with whether it is a plain file.

    Folders are listed only where they are empty: elsewhere, their files say that they are there.
    """
    empty = True
    with os.scandir(folder / under) as inside:
        for entry in inside:
            name = f"{under}{entry.name}"
            empty = False
            if entry.is_dir(follow_symlinks=False):
                yield from entries(folder, f"{name}/")
            elif not (_is_unsigned(name) and entry.is_file(follow_symlinks=False)):
                yield name, entry.is_file(follow_symlinks=False)
    if empty and under:
        yield under, False
