"""Compiled folders of schema 1, read as those of schema 2.

Schema 2 added two entries to ``program.json``: the names of the emitted backends, and the options
and file names for recompiling the network (schema 1 had a hash of the options). It also numbers the
outputs in ``expected.npz``, where schema 1 used their names. Everything else is unchanged, the seal
included, so that traces of an old folder remain valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.passes import Finding

SCHEMA = 2
"""Schema of ``program.json``; raised by a change that older versions cannot read."""
SEVERAL_INPUTS = 3
"""Schema of networks with several inputs: ``encoding`` is a list. Others are written as before."""
OLDER = (1,)
"""Schemas that are still read."""


def upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """The content of ``program.json`` in the present schema, without missing entries."""
    if content["schema"] not in OLDER:
        return content
    known = content.get("provenance")
    if isinstance(known, Mapping):
        known = {key: value for key, value in known.items() if key != "options"}
    return {**content, "provenance": known, "emitted": []}


def output_key(schema: int, number: int, name: str) -> str:
    """Name of an output in ``expected.npz``."""
    return name if schema in OLDER else str(number)


def notice(schema: int) -> tuple[Finding, ...]:
    """A warning about a folder of an older schema."""
    if schema not in OLDER:
        return ()
    return (
        Finding(
            f"the folder is of schema {schema}, older than this version's {SCHEMA}: its seal covers"
            " the network, but neither the list of backends, so that a missing one is not detected,"
            " nor the options, so that it cannot be reproduced",
            code="older-folder",
            hint="compile the model again",
            warning=True,
        ),
    )
