"""Every value of a compilation as JSON and arrays, and back, without pickling.

The classes are those of stages, passes and their parts, of statistics, findings and answers. No
other class is made of what is read, and every field is type-checked.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from snn_compile.coding_registry import coding_class
from snn_compile.codings import Coding
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.calibrate import Activations, Calibration
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.isolate_operands import IsolateOperands
from snn_compile.convert.join_convolutions import JoinConvolutions
from snn_compile.convert.join_rectifiers import JoinRectifiers
from snn_compile.convert.lay_out import LayOut
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.refine_statistics import RefineStatistics
from snn_compile.convert.set_payloads import SetPayloads
from snn_compile.convert.sink_wiring import SinkWiring
from snn_compile.convert.sum_of_rectifiers import SumOfRectifiers
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.errors import Origin
from snn_compile.files.archives import Archive, Arrays
from snn_compile.files.documents import MAX_JSON_SIZE, DamagedError
from snn_compile.fit.duplicate_sources import DuplicateSources
from snn_compile.fit.narrow_states import NarrowStates
from snn_compile.fit.prune_fan_in import PruneFanIn
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.fit.split_weights import SplitWeights
from snn_compile.ir import ann, serialize, spiking
from snn_compile.ir.curve import Curve
from snn_compile.ir.encoding import InputEncoding, JoinedEncoding, OutputDecoding
from snn_compile.ir.expression import Expression
from snn_compile.ir.graph import Node
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spelled import Scanner
from snn_compile.ir.spelling import spell
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.passes import Finding
from snn_compile.pipeline.budget.versions import Choice, Measured, Versions
from snn_compile.quantize.calibrate_potentials import CalibratePotentials
from snn_compile.quantize.calibrate_resets import CalibrateResets
from snn_compile.quantize.correct_biases import CorrectBiases
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.quantize import LayerNumbers, Quantization
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.states import States
from snn_compile.quantize.to_fixed_point import Prove, Quantize, Schedule
from snn_compile.report.attribution import Loss
from snn_compile.report.shards import Answers
from snn_compile.samples.rows import ChosenRows, ComputedRows
from snn_compile.samples.stored import StoredRows
from snn_compile.targets.target import Confidence, Constant, Figure, Target, Times

PASSES = (
    FoldPreprocessing,
    JoinRectifiers,
    SumOfRectifiers,
    JoinConvolutions,
    SinkWiring,
    FoldBatchNorm,
    FoldPadding,
    LowerMaxPool,
    InsertRectifiers,
    IsolateOperands,
    LayOut,
    RefineStatistics,
    SetPayloads,
    Equalize,
    ToSpiking,
    AlignPaths,
    Quantize,
    FitLayers,
    Reconstruct,
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
    *(Calibration, Activations, OutputDecoding, Finding, Answers, Loss),
    *(Versions, Measured, Choice),
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


class ValueCodec(serialize.Codec):
    """Classes by the last part of their module and their name, codings by their ``--coding`` name.

    A coding is loaded only when one is read, so that a broken plug-in affects nothing else.
    Expressions are texts: shared subexpressions appear once.

    Args:
        origins: whether whole paths of the user's files are kept, for files that stay where they
            are written.
    """

    def __init__(self, *, origins: bool = False) -> None:
        names = {f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}": kind for kind in _KINDS}
        super().__init__(names, models="models.")
        self._origins = origins

    def encode(self, value: Any, arrays: serialize.Arrays, path: str) -> Any:
        """As of ``Codec``; lists are read back as tuples."""
        if isinstance(value, Expression):
            return {"$type": _EXPRESSION, "text": spell(value)}
        if isinstance(value, list):
            value = tuple(value)
        if isinstance(value, ComputedRows | ChosenRows | StoredRows):
            value = value[:]  # of a pass that failed: all that it may read
        if isinstance(value, SharedDrives):
            value = None  # they are computed again
        if self._origins and isinstance(value, Origin):
            name = self.name_of(Origin)
            return {"$type": name, "file": value.file, "node": value.node, "op": value.op}
        return super().encode(value, arrays, path)

    def decode(self, value: Any, arrays: Mapping[str, Any]) -> Any:
        """As of ``Codec``."""
        if not (isinstance(value, dict) and value["$type"] == _EXPRESSION):
            return super().decode(value, arrays)
        text = Scanner(value["text"], {})
        found = text.value(Expression)
        if not text.at_end:
            raise text.error("expected the end of the expression")
        return found

    def name_of(self, kind: Any) -> str:
        """As of ``Codec``."""
        return f"{_CODINGS}{kind.name}" if issubclass(kind, Coding) else super().name_of(kind)

    def class_of(self, name: Any) -> Any:
        """As of ``Codec``."""
        if str(name).startswith(_CODINGS):
            return coding_class(str(name).removeprefix(_CODINGS))
        return super().class_of(name)


def write(
    stream: IO[bytes],
    name: str,
    document: Mapping[str, Any],
    arrays: serialize.Arrays,
    *,
    compress: bool = True,
) -> None:
    """Write a zip file: a JSON document, which gets the names of the arrays, and the arrays.

    Raises:
        ValueError: the document holds a number that is not finite.
    """
    text = json.dumps({**document, "arrays": list(arrays)}, indent=1, allow_nan=False)
    how = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", how) as archive:
        archive.writestr(name, text)
        for number, array in enumerate(arrays.values()):
            with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                np.save(member, array, allow_pickle=False)


def read(
    path: Path, name: str, check: Callable[[Any], None] = lambda document: None
) -> tuple[Any, Mapping[str, Any]]:
    """The document of such a file, and its arrays by name; errors as of ``Archive``.

    ``check`` sees the document before the arrays are read.
    """
    with Archive(path) as archive:
        document = archive.json(name, MAX_JSON_SIZE)
        check(document)
        stored = Arrays(archive)
        listed = document.get("arrays") if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise DamagedError(f"{name} lists no arrays")
        return document, {key: stored[str(k)] for k, key in enumerate(listed)}
