"""The host tail in a compiled folder: its description, and its operators as a model file.

The seal of the network covers the description of a tail that was cut, and that covers its model. A
final Softmax or ArgMax that was left off leaves the seal of the network as it is without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, TypedDict

from snn_compile import memory
from snn_compile.errors import Origin, VerificationError
from snn_compile.files.documents import DamagedError, inside, parse_json, read_bytes
from snn_compile.files.typed import complaint
from snn_compile.ir.encoding import OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.host_tail import Feed, HostTail
from snn_compile.plugins.host import TAIL
from snn_compile.printable import printable

DESCRIPTION = "tail.json"
KEY = "tail"
"""Key of the description's hash among the hashes of what a network was made of."""
SCHEMA = 1
FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})
MAX_DESCRIPTION = 16 << 20
MAX_BATCH = 1 << 16


class _Feed(TypedDict):
    tensor: str
    output: str | None
    shape: list[int]
    dtype: str
    axis: int | None
    mean: list[float]
    scale: list[float]


class _Content(TypedDict):
    """Content of ``tail.json``."""

    schema: int
    model: str
    feeds: list[_Feed]
    outputs: list[str]
    operators: list[list[str]]
    entries: list[_Feed]
    batch: int
    cut: bool


def description(tail: HostTail) -> bytes:
    """The content of ``tail.json``, the same for the same tail."""
    document = {
        "schema": SCHEMA,
        "model": hashlib.sha256(tail.model).hexdigest(),
        "feeds": [asdict(feed) for feed in tail.feeds],
        "outputs": tail.outputs,
        "operators": tail.operators,
        "entries": [asdict(entry) for entry in tail.entries],
        "batch": tail.batch,
        "cut": tail.cut,
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def seal_of(tail: HostTail | None) -> dict[str, str]:
    """What the seal of a network says about its tail."""
    if tail is None or not tail.cut:
        return {}
    return {KEY: hashlib.sha256(description(tail)).hexdigest()}


def write(tail: HostTail, folder: Path) -> None:
    """Write a tail into the folder of its network."""
    (folder / DESCRIPTION).write_bytes(description(tail))
    (folder / TAIL).write_bytes(tail.model)


def read(
    folder: Path, provenance: Mapping[str, str], decodings: Mapping[NodeId, OutputDecoding]
) -> HostTail | None:
    """The tail in an untrusted folder; None if there is none.

    Raises:
        DamagedError: it is not what this tool writes, or not of this network.
        VerificationError: it is not what the seal of the network covers.
    """
    sealed = provenance.get(KEY)
    if not (folder / DESCRIPTION).exists():
        if sealed is not None:
            raise _broken(folder, f"{DESCRIPTION} is missing")
        return None
    content = read_bytes(inside(folder, DESCRIPTION), MAX_DESCRIPTION)
    if sealed is not None and hashlib.sha256(content).hexdigest() != sealed:
        raise _broken(folder, f"{DESCRIPTION} changed after compilation")
    document: _Content = parse_json(content, DESCRIPTION)
    if wrong := complaint(document, _Content, DESCRIPTION):
        raise DamagedError(wrong)
    model = read_bytes(inside(folder, TAIL), memory.budget())
    if hashlib.sha256(model).hexdigest() != document["model"]:
        raise _broken(folder, f"{TAIL} changed after compilation")
    if document["schema"] != SCHEMA or document["cut"] != (sealed is not None):
        raise DamagedError(f"{DESCRIPTION} is not of this network, or of another version")
    if not 1 <= document["batch"] <= MAX_BATCH:
        raise DamagedError(f"a batch of {document['batch']}")
    if any(len(operator) != 2 for operator in document["operators"]):
        raise DamagedError("operators without a name and a type")
    batch, own = document["batch"], {entry["tensor"] for entry in document["entries"]}
    if any(feed["output"] is None and feed["tensor"] not in own for feed in document["feeds"]):
        raise DamagedError("the tail reads an input that the network does not have")
    return HostTail(
        model,
        tuple(_feed(feed, batch, decodings) for feed in document["feeds"]),
        tuple(printable(name) for name in document["outputs"]),
        tuple((printable(name), printable(op)) for name, op in document["operators"]),
        tuple(_feed(entry, batch, decodings) for entry in document["entries"]),
        batch,
        document["cut"],
    )


def _feed(document: _Feed, batch: int, decodings: Mapping[NodeId, OutputDecoding]) -> Feed:
    output, shape = document["output"], tuple(document["shape"])
    if document["dtype"] not in FLOATS or not all(size >= 1 for size in shape):
        raise DamagedError(f"the tail reads {printable(document['tensor'])!r} in no known form")
    if output is not None:
        decoding = decodings.get(NodeId(output))
        if decoding is None or batch * prod(decoding.shape) != prod(shape):
            raise DamagedError(f"the tail reads {printable(output)!r}, which fits no output")
    axis, mean, scale = (document["axis"], tuple(document["mean"]), tuple(document["scale"]))
    channels = next((n for at, n in enumerate(shape) if at != axis), 1)
    fitting = all(len(values) in (0, 1, channels) for values in (mean, scale))
    if not fitting or 0 in scale or (axis is not None and not 0 <= axis < len(shape)):
        raise DamagedError(f"the tail reads {printable(document['tensor'])!r} by other rules")
    name = None if output is None else NodeId(output)
    return Feed(printable(document["tensor"]), name, shape, document["dtype"], axis, mean, scale)


def _broken(folder: Path, what: str) -> VerificationError:
    return VerificationError(
        f"the seal is broken: {what}",
        code="seal-broken",
        origin=Origin(str(folder)),
        hint="compile the model again",
    )


def report_entry(tail: HostTail) -> dict[str, Any]:
    """The entry ``tail`` of ``report.json``."""
    return {
        "cut": [
            {"tensor": f.tensor, "output": f.output, "shape": list(f.shape)} for f in tail.feeds
        ],
        "operators": [{"name": name, "op": op} for name, op in tail.operators],
        "outputs": list(tail.outputs),
        "values": tail.n_values,
        "bytes": tail.n_bytes,
    }
