"""A model that was dropped on the page: written to a private folder, checked there, and removed."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePath

from snn_compile.memory import format_size
from snn_compile.ui.jobs import Limits, run

MOST_BYTES = 512 << 20
LIMITS = Limits(seconds=120.0, memory=4 << 30)
MEMORY = "1G"
"""That the content of the file may take."""


class UploadError(ValueError):
    """A file that is not taken.

    Attributes:
        status: of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Uploads:
    """Checks models, one at a time. Nothing of a file runs; the check is a process of its own."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)

    async def check(self, name: str, content: AsyncIterator[bytes]) -> tuple[str, int, str, str]:
        """Check a model.

        Args:
            name: that the user's file has.
            content: of the file.

        Returns:
            The name, the exit code of ``snn-compile check --json``, and what that wrote.

        Raises:
            UploadError: another one is being checked, or the file is too large.
        """
        if self._turn.locked():
            raise UploadError("Another model is being checked: try again when that has ended.", 409)
        async with self._turn:
            with tempfile.TemporaryDirectory(prefix="snn-compile-check-") as folder:
                path = Path(folder, plain(name))
                await _write(path, content)
                words = ("check", str(path), "--json", "--max-memory", MEMORY)
                code, out, err = await run(words, LIMITS)
        return path.name, code, out.replace(f"{folder}/", ""), err.replace(f"{folder}/", "")


def plain(name: str) -> str:
    """The name of a file without folders and without characters that mean something."""
    last = re.sub(r"[^\w.-]+", "_", PurePath(name.replace("\\", "/")).name, flags=re.ASCII)
    return last.lstrip(".-")[-100:] or "model.onnx"


async def _write(path: Path, content: AsyncIterator[bytes]) -> None:
    written = 0
    with path.open("xb") as stream:
        async for part in content:
            written += len(part)
            if written > MOST_BYTES:
                most = format_size(MOST_BYTES)
                text = f"It is larger than {most}: check it with snn-compile check."
                raise UploadError(text, 413)
            await asyncio.to_thread(stream.write, part)
