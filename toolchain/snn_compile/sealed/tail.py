"""The host tail in a compiled folder: its description, and its operators as a model file.

The seal of the network covers the description of a tail that was cut, and that covers its model. A
final Softmax or ArgMax that was left off leaves the seal of the network as it is without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, TypedDict

from snn_compile import memory
from snn_compile.errors import Origin, VerificationError
from snn_compile.files.documents import DamagedError, TooLargeError, inside, parse_json, read_bytes
from snn_compile.files.typed import complaint
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.host_tail import Feed, HostTail
from snn_compile.plugins.host import TAIL
from snn_compile.printable import printable

DESCRIPTION = "tail.json"
KEY = "tail"
"""Key of the description's hash among the hashes of what a network was made of."""
SCHEMA = 1
FLOATS = {"float16": 2, "float32": 4, "float64": 8, "bfloat16": 2}
"""Bytes of a value of each type that a tail may read."""
MAX_NAME = 1 << 12
"""Bytes of the name of an output, which is a file's in an archive."""
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
    folder: Path,
    provenance: Mapping[str, str],
    encoding: Encoding,
    decodings: Mapping[NodeId, OutputDecoding],
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
    batch, sizes = document["batch"], [prod(part.shape) for part in encoding.parts]
    tail = HostTail(
        model,
        tuple(_feed(feed, batch, decodings) for feed in document["feeds"]),
        tuple(printable(name) for name in document["outputs"]),
        tuple((printable(name), printable(op)) for name, op in document["operators"]),
        tuple(_feed(entry, batch, decodings) for entry in document["entries"]),
        batch,
        document["cut"],
    )
    _check_inputs(tail, sizes)
    _check_names(tail)
    return tail


def _check_inputs(tail: HostTail, sizes: Sequence[int]) -> None:
    """Check the network's own inputs, and what is made for the tail out of one sample.

    Args:
        tail: the tail.
        sizes: values of a sample of each of the network's inputs.
    """
    held = [1 if entry.axis is None else tail.batch for entry in tail.entries]
    wanted = [n * size for n, size in zip(held, sizes, strict=False)]
    if len(tail.entries) != len(sizes) or [prod(e.shape) for e in tail.entries] != wanted:
        raise DamagedError("the tail is of a network with other inputs")
    if any(e.output is not None for e in tail.entries):
        raise DamagedError("an input of the network is said to be an output")
    if any(feed.output is None and feed not in tail.entries for feed in tail.feeds):
        raise DamagedError("the tail reads an input that the network does not have")
    made = {*tail.feeds, *tail.entries}
    needed = sum(prod(feed.shape) * FLOATS[feed.dtype] for feed in made)
    if needed > memory.budget():
        raise TooLargeError(f"the tail reads {needed:,} bytes, more than {memory.budget():,}")


def _check_names(tail: HostTail) -> None:
    """Check that names are unique, and that each output has somewhere to come from."""
    feeds = [feed.tensor for feed in tail.feeds]
    for names in (feeds, [entry.tensor for entry in tail.entries], tail.outputs):
        if len(set(names)) != len(names):
            raise DamagedError("two tensors of the tail have one name")
    if not tail.outputs or any(len(name.encode()) > MAX_NAME for name in tail.outputs):
        raise DamagedError("the tail has no outputs, or one with too long a name")
    if not tail.operators and not set(tail.outputs) <= set(feeds):
        raise DamagedError("a tail without operators computes outputs")


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
    if (output is None and axis is not None) or (output is not None and batch > 1):
        if axis is None or not shape or shape[axis] != batch:
            raise DamagedError(f"the tail reads {printable(document['tensor'])!r} in other batches")
    name = None if output is None else NodeId(output)
    return Feed(printable(document["tensor"]), name, shape, document["dtype"], axis, mean, scale)


def _broken(folder: Path, what: str) -> VerificationError:
    return VerificationError(
        f"the seal is broken: {what}",
        code="seal-broken",
        origin=Origin(str(folder)),
        hint="compile the model again",
    )


NOTHING: dict[str, Any] = {"cut": [], "operators": [], "outputs": [], "values": 0, "bytes": 0}
"""The same of a network whose readouts are the outputs of its file."""


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
