"""Replay files of internal errors: the failed pass and its input.

Files contain data only: JSON and npy in a zip. They may be untrusted; of the classes that they
name, only those of stages, passes and their parts are instantiated, with type-checked fields.
"""

from __future__ import annotations

import io
import json
import platform
import tempfile
import traceback
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from snn_compile.coding_registry import coding_class
from snn_compile.codings import Coding
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.footprint import check_footprint, check_values
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.isolate_operands import IsolateOperands
from snn_compile.convert.join_rectifiers import JoinRectifiers
from snn_compile.convert.lay_out import LayOut
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.refine_statistics import RefineStatistics
from snn_compile.convert.sink_wiring import SinkWiring
from snn_compile.convert.sum_of_rectifiers import SumOfRectifiers
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.errors import CompileError, ModelError, Origin, UsageError
from snn_compile.files.archives import Archive, Arrays
from snn_compile.files.documents import MAX_JSON_SIZE, DamagedError, check_size, reading
from snn_compile.files.typed import complaint
from snn_compile.files.writing import replacing_file
from snn_compile.fit.duplicate_sources import DuplicateSources
from snn_compile.fit.narrow_states import NarrowStates
from snn_compile.fit.prune_fan_in import PruneFanIn
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.fit.split_weights import SplitWeights
from snn_compile.ir import ann, serialize, spiking
from snn_compile.ir.curve import Curve
from snn_compile.ir.encoding import InputEncoding, JoinedEncoding
from snn_compile.ir.expression import Expression
from snn_compile.ir.graph import Node
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spelled import Scanner
from snn_compile.ir.spelling import spell
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.options.compiling import MAX_STEPS
from snn_compile.passes import Pass, PassFailure, spec
from snn_compile.quantize.calibrate_potentials import CalibratePotentials
from snn_compile.quantize.calibrate_resets import CalibrateResets
from snn_compile.quantize.correct_biases import CorrectBiases
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.quantize import LayerNumbers, Quantization
from snn_compile.quantize.states import States
from snn_compile.quantize.to_fixed_point import Prove, Quantize, Schedule
from snn_compile.targets.target import Confidence, Constant, Figure, Target, Times
from snn_compile.version import __version__

SCHEMA = 1
PASSES = (
    FoldPreprocessing,
    JoinRectifiers,
    SumOfRectifiers,
    SinkWiring,
    FoldBatchNorm,
    FoldPadding,
    LowerMaxPool,
    InsertRectifiers,
    IsolateOperands,
    JoinRectifiers,
    SumOfRectifiers,
    LayOut,
    RefineStatistics,
    Equalize,
    ToSpiking,
    AlignPaths,
    Quantize,
    FitLayers,
    CorrectBiases,
    CalibratePotentials,
    CalibrateResets,
    Prove,
    Schedule,
    SplitWeights,
    SplitFanIn,
    PruneFanIn,
    NarrowStates,
    DuplicateSources,
)
STAGES = (ANNGraph, SpikingGraph, Quantization)
_PARTS = (
    *(QuantizedGraph, LayerNumbers, InputEncoding, JoinedEncoding, States, Curve),
    *(Target, Figure, Constant, Times, Confidence),
)
_NODES = [
    kind
    for module in (ann, spiking)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Node)
]


_KINDS = (*PASSES, *STAGES, *_PARTS, *_NODES, *serialize.CLASSES.values())
_CODINGS = "codings."
_EXPRESSION = "expression"


class _Codec(serialize.Codec):
    """Classes by the last part of their module and their name, codings by their ``--coding`` name.

    A coding is loaded only when one is read, so that a broken plug-in affects nothing else.
    Expressions are texts: shared subexpressions appear once.
    """

    def encode(self, value: Any, arrays: serialize.Arrays, path: str) -> Any:
        if isinstance(value, Expression):
            return {"$type": _EXPRESSION, "text": spell(value)}
        return super().encode(value, arrays, path)

    def decode(self, value: Any, arrays: Mapping[str, Any]) -> Any:
        if not (isinstance(value, dict) and value["$type"] == _EXPRESSION):
            return super().decode(value, arrays)
        text = Scanner(value["text"], {})
        found = text.value(Expression)
        if not text.at_end:
            raise text.error("expected the end of the expression")
        return found

    def name_of(self, kind: Any) -> str:
        return f"{_CODINGS}{kind.name}" if issubclass(kind, Coding) else super().name_of(kind)

    def class_of(self, name: Any) -> Any:
        if str(name).startswith(_CODINGS):
            return coding_class(str(name).removeprefix(_CODINGS))
        return super().class_of(name)


_CODEC = _Codec(
    {f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}": kind for kind in _KINDS},
    models="models.",
)


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
    with reading(path, ModelError, "unreadable-replay", message, hint), Archive(path) as archive:
        content = _of_this_version(archive.json("replay.json", MAX_JSON_SIZE))
        stored = Arrays(archive)
        arrays = {name: stored[str(k)] for k, name in enumerate(content["arrays"])}
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
        "arrays": list(arrays),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("replay.json", json.dumps(content, indent=1))
        archive.writestr("traceback.txt", "".join(traceback.format_exception(cause)))
        for number, array in enumerate(arrays.values()):
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(f"{number}.npy", buffer.getvalue())
    return stream.getvalue()


def _written(path: Path, content: bytes) -> Path:
    with replacing_file(path) as stream:
        stream.write(content)
    return path


def _of_this_version(content: Any) -> _Content:
    version = content.get("schema") if isinstance(content, dict) else None
    if version != SCHEMA or isinstance(version, bool):
        raise DamagedError(f"its schema is {version!r}, and this version reads {SCHEMA}")
    if wrong := complaint(content, _Content, "replay.json"):
        raise DamagedError(wrong)
    checked: _Content = content
    return checked
