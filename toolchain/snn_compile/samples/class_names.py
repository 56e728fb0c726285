"""Names of the classes of a compiled network, as its report has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def class_names(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Names by class number: those of ``--labels``, or of the folders of images; else none."""
    stated = (report.get("options") or {}).get("labels") or {}
    return tuple(stated.get("value") or ())


def name_of(label: int, names: Sequence[str]) -> str:
    """The name of a class, or its number where it has none."""
    return names[label] if 0 <= label < len(names) else str(label)
