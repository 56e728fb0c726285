"""Paths below the folder that is shown; nothing else is ever opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


class OutsideError(LookupError):
    """A name leads nowhere, or out of the folder."""


@dataclass(frozen=True)
class Places:
    """Names of files and folders, relative to one folder.

    Attributes:
        root: the folder, with all links resolved.
    """

    root: Path

    def find(self, name: str) -> Path:
        """The existing file or folder of a name, with all links resolved.

        Args:
            name: relative, with slashes; ``.`` for the folder itself.

        Raises:
            OutsideError: there is none, or it is not below the folder.
        """
        parts = PurePosixPath(name).parts
        if not name or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts:
            raise OutsideError(name)
        try:
            path = Path(os.path.realpath(self.root.joinpath(*parts), strict=True))
        except (OSError, ValueError) as error:
            raise OutsideError(name) from error
        if not path.is_relative_to(self.root):
            raise OutsideError(name)
        return path

    def name(self, path: Path) -> str:
        """The name of a path below the folder, as ``find`` takes it."""
        return path.relative_to(self.root).as_posix()
