"""Compiled folders of schema 1, read as those of schema 2.

Schema 2 added two things to ``program.json``: the names of the backends that were written, and the
options and file names from which the network can be compiled again (schema 1 had a hash of the
options). It also numbers the outputs in ``expected.npz``, where schema 1 used their names. All else
is the same, the seal included, so that traces of an old folder still belong to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.passes import Finding

SCHEMA = 2
"""Of ``program.json`` as it is written; a change that older versions cannot read raises it."""
OLDER = (1,)
"""Those that are still read."""


def upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """What ``program.json`` says, in the present schema; what it does not say is left out."""
    if content["schema"] == SCHEMA:
        return content
    known = content.get("provenance")
    if isinstance(known, Mapping):
        known = {key: value for key, value in known.items() if key != "options"}
    return {**content, "provenance": known, "emitted": []}


def output_key(schema: int, number: int, name: str) -> str:
    """What an output is called in ``expected.npz``."""
    return name if schema in OLDER else str(number)


def notice(schema: int) -> tuple[Finding, ...]:
    """What the user of an older folder should know."""
    if schema == SCHEMA:
        return ()
    return (
        Finding(
            f"the folder is of schema {schema}, older than this version's {SCHEMA}: its seal covers"
            " the network, but neither which backends were written, so that a missing one is not"
            " noticed, nor the options, so that it cannot be reproduced",
            code="older-folder",
            hint="compile the model again",
            warning=True,
        ),
    )
