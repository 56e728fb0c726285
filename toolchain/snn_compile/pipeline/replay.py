"""Replay files of internal errors: the failed pass and its input.

Files contain data only: JSON and npy in a zip. They may be untrusted; of the classes that they
name, only those of stages, passes and their parts are instantiated, with type-checked fields.
"""

from __future__ import annotations

import io
import platform
import tempfile
import traceback
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from snn_compile.codings import Coding
from snn_compile.convert.footprint import check_footprint, check_values
from snn_compile.errors import CompileError, ModelError, Origin, UsageError
from snn_compile.files.documents import DamagedError, check_size, reading
from snn_compile.files.typed import complaint
from snn_compile.files.writing import replacing_file
from snn_compile.ir import serialize
from snn_compile.ir.stages import ANNGraph
from snn_compile.options.network import MAX_STEPS
from snn_compile.passes import Pass, PassFailure, spec
from snn_compile.pipeline import values
from snn_compile.pipeline.values import PASSES, STAGES, ValueCodec
from snn_compile.version import __version__

SCHEMA = 1
_CODEC = ValueCodec()


class _Content(TypedDict):
    """Content of ``replay.json``; ``step`` and ``graph`` are null if not serializable."""

    tool: str
    spec: str
    error: str
    versions: dict[str, str]
    step: dict[str, Any] | None
    graph: dict[str, Any] | None
    arrays: list[str]


@dataclass(frozen=True, eq=False)
class Replay:
    """A pass and its input.

    Attributes:
        step: the pass.
        graph: the network.
        spec: the pass as text.
        tool: version of the compiler that failed.
        error: the exception raised.
    """

    step: Pass[Any, Any]
    graph: Any
    spec: str
    tool: str
    error: str


def save(failure: PassFailure) -> Path:
    """Write a replay file into the working folder, or into the folder for temporary files.

    Raises:
        OSError: it can be written to neither.
        UsageError: another process is writing it.
    """
    name = f"snn-compile-crash-{failure.step.name}.zip"
    content = _content(failure)
    try:
        return _written(Path(name), content)
    except (OSError, CompileError):
        return _written(Path(tempfile.gettempdir()) / name, content)


def load(path: Path) -> Replay:
    """Read a file that ``save`` wrote.

    Raises:
        ModelError: it is damaged, or not a replay file of this tool.
        UsageError: it holds no network, because the input was not serializable.
    """
    hint = "use a replay file written by snn-compile"
    message = "the file replays no pass"
    with reading(path, ModelError, "unreadable-replay", message, hint):
        content, arrays = values.read(path, "replay.json", _require_this_version)
        step, graph = (_CODEC.decode(content.get(part), arrays) for part in ("step", "graph"))
        known = isinstance(step, PASSES) and isinstance(graph, STAGES)
        if not (known or step is graph is None):
            raise DamagedError("it names no pass, or no network")
        if known:
            _check_sizes(step, graph)
    if not known:
        raise UsageError(
            f"the input of the failed pass '{content['spec']}' is not serializable",
            code="not-replayable",
            origin=Origin(str(path)),
            hint="see traceback.txt in it",
        )
    return Replay(step, graph, content["spec"], content["tool"], content["error"])


def _check_sizes(step: Any, stage: Any) -> None:
    """Check the memory for the result of the pass and for the messages of its neurons."""
    coding = getattr(step, "coding", None)
    if isinstance(coding, Coding) and not 0 < coding.size <= MAX_STEPS:
        raise DamagedError(f"a window of {coding.size} steps")
    if isinstance(stage, ANNGraph):
        check_values(stage)
        check_footprint(stage)
    network = getattr(stage, "program", stage)
    n_steps = network.window.n_steps if hasattr(network, "window") else 1
    for node in network.graph:
        check_size(f"the value of '{node.id}'", 8 * n_steps * prod(node.shape))


def _content(failure: PassFailure) -> bytes:
    arrays: serialize.Arrays = {}
    try:
        step = _CODEC.encode(failure.step, arrays, "step")
        graph = _CODEC.encode(failure.graph, arrays, "graph")
    except KeyError:  # a plug-in's own
        step = graph = None
        arrays = {}
    cause = failure.__cause__ or failure
    content = {
        "schema": SCHEMA,
        "tool": __version__,
        "spec": spec(failure.step),
        "error": f"{type(cause).__name__}: {cause}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "step": step,
        "graph": graph,
    }
    stream = io.BytesIO()
    values.write(stream, "replay.json", content, arrays)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("traceback.txt", "".join(traceback.format_exception(cause)))
    return stream.getvalue()


def _written(path: Path, content: bytes) -> Path:
    with replacing_file(path) as stream:
        stream.write(content)
    return path


def _require_this_version(content: Any) -> None:
    version = content.get("schema") if isinstance(content, dict) else None
    if version != SCHEMA or isinstance(version, bool):
        raise DamagedError(f"its schema is {version!r}, and this version reads {SCHEMA}")
    if wrong := complaint(content, _Content, "replay.json"):
        raise DamagedError(wrong)
