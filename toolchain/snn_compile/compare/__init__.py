"""Compiled networks side by side: accuracy, layers, options, cost, and answers to the same samples.

>>> from snn_compile import compare_folders  # doctest: +SKIP
>>> compare_folders(["a.snn", "b.snn"], data="evaluate.npz")["answers"]  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snn_compile.compare.schema import Comparison

__all__ = ["compare_folders"]


def compare_folders(folders: Sequence[str | Path], *, data: str | Path | None = None) -> Comparison:
    """Compare compiled folders.

    Args:
        folders: two or more.
        data: samples that every network answers, labelled or not.

    Raises:
        UsageError: a folder holds no network, or they cannot answer the same samples.
        CompileError: a folder is damaged.
    """
    from snn_compile.bundle import CompiledModel
    from snn_compile.compare.comparison import compare, named

    networks = named([Path(folder) for folder in folders], CompiledModel.load)
    return compare(networks, None if data is None else Path(data))
