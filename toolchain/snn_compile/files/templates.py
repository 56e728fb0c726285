"""Compiled templates, kept as Python keeps compiled modules: in ``__pycache__`` beside them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
from importlib.resources import files
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from jinja2 import BytecodeCache

if TYPE_CHECKING:
    from jinja2.bccache import Bucket

OPTIONS = ("autoescape", "trim_blocks", "lstrip_blocks", "keep_trailing_newline", "undefined")
"""Of an environment: what the code of a template depends on besides its source."""


class Bytecode(BytecodeCache):
    """Compiled templates of one environment: to compile a report's takes longer than to fill it in.

    Jinja compares hashes of the sources and the version of its bytecode, so what is stale is
    compiled again. Nothing is written with ``PYTHONDONTWRITEBYTECODE``, nor where the folder is
    not ours to write.

    Args:
        package: whose folder ``templates`` keeps them.
    """

    def __init__(self, package: str) -> None:
        source = Path(str(files(package))) / "templates" / "template.py"
        self._folder = Path(cache_from_source(str(source))).parent

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill the bucket from its file, if that is there and whole."""
        damaged = (OSError, EOFError, pickle.UnpicklingError)
        with contextlib.suppress(*damaged), self._path(bucket).open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write the bucket's file, whole or not at all."""
        if sys.dont_write_bytecode:
            return
        path = self._path(bucket)
        new = path.with_suffix(f".{uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("xb") as file:
                bucket.write_bytecode(file)
            os.replace(new, path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)

    def _path(self, bucket: Bucket) -> Path:
        options = [getattr(bucket.environment, name) for name in OPTIONS]
        digest = hashlib.sha256(repr(options).encode()).hexdigest()[:8]
        return self._folder / f"{bucket.key}-{digest}.{sys.implementation.cache_tag}.jinja"
