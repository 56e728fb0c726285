"""An emitted folder beside what emitting the network again would write."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from snn_compile.files.documents import DAMAGE, describe_error, read_bytes


def superfluous(folder: Path, files: Collection[str]) -> list[str]:
    """A line for each file and folder that is not written, and each link, whatever it leads to.

    Args:
        folder: the emitted folder.
        files: names of the files that are written, with slashes.
    """
    folders = {name.rpartition("/")[0] for name in files} - {""}
    found = ["."] if folder.is_symlink() else []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or name not in (folders if path.is_dir() else files):
            found.append(name)
    return [f"{name} is not an emitted file" for name in sorted(found)]


def difference(folder: Path, name: str, expected: bytes) -> str:
    """How a file differs from the bytes that are written; empty if it does not."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return f"{name} is missing"
    try:
        actual = read_bytes(path, len(expected))
    except DAMAGE as error:
        return f"{name} cannot be read: {describe_error(error)}"
    if actual == expected:
        return ""
    if b"\0" in expected:  # no text
        return f"{name} differs"
    pairs = zip(expected.split(b"\n"), actual.split(b"\n"), strict=False)
    line = next((i for i, (a, b) in enumerate(pairs, 1) if a != b), None)
    return f"{name} differs" + (f", line {line}" if line else " in length")
