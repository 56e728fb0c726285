"""Files emitted by an older version (manifest of schema 1): only their arrays are compared.

Since schema 2 the code is the same for every network, so that any change shows. Before, it was
written for each network, with the layers' names as identifiers. It can be anything, so it
is never run; freshly emitted files are. Such files are accepted only in a compiled folder of the
same age: elsewhere an old manifest would bypass the comparison of the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from snn_backends.lava import emission
from snn_backends.lava.plan import Plan
from snn_compile import sealed
from snn_compile.files.documents import DAMAGE, inside, read_json
from snn_compile.hil.verification import Verification
from snn_compile.sealed.compatibility import OLDER

MANIFEST_SCHEMA = 1


def is_older(emitted: Path) -> bool:
    """Whether the files, and the compiled folder in which they lie, are of the older form."""
    compiled = emitted.parent
    if emitted.is_symlink() or not (compiled / sealed.MODEL).is_file():
        return False
    return _manifest(emitted).get("schema") == MANIFEST_SCHEMA and (
        sealed.read_schema(compiled) in OLDER
    )


def differences(plan: Plan, emitted: Path) -> list[str]:
    """The arrays that are not those of the network."""
    if (emitted / emission.ARRAYS).is_symlink():
        return [f"{emission.ARRAYS} is a link"]
    layers = _manifest(emitted).get("layers")
    entries = layers if isinstance(layers, list) else []
    called = {
        str(entry.get("id")): str(entry.get("name"))
        for entry in entries
        if isinstance(entry, Mapping)
    }
    return emission.array_differences(plan, emitted, called)


def not_compared(outcome: Verification) -> Verification:
    """The outcome for older files whose fresh emission was equal."""
    return replace(
        outcome,
        mode=f"its arrays are the network's, but its code is of an older form, neither compared nor"
        f" run; emitted anew, {outcome.compared:,} values are equal ({outcome.mode})",
        compared=0,
        equal=None,
    )


def _manifest(emitted: Path) -> dict[str, Any]:
    try:
        content = read_json(inside(emitted, emission.MANIFEST))
    except DAMAGE:
        return {}
    return content if isinstance(content, dict) else {}
