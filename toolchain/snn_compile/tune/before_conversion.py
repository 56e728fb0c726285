"""Tuning of the float network before an ordinary compilation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from snn_compile.bundle import CompiledModel
from snn_compile.codings import Coding
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import Calibration
from snn_compile.errors import CompileError, Origin, UnsupportedError, UsageError, raise_all
from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.inputs import is_converted
from snn_compile.pipeline.sampled_steps import Scales
from snn_compile.report import figures
from snn_compile.report.journal import Journal
from snn_compile.report.observer import SilentObserver
from snn_compile.sealed.provenance import TUNED
from snn_compile.sim import ann
from snn_compile.tune.float_network import FloatNetwork
from snn_compile.tune.options import TuneOptions
from snn_compile.tune.qcfs import QuantizedActivations
from snn_compile.tune.report import joined_around_training, kept, worse
from snn_compile.tune.seeds import each_seed, merit, of_all
from snn_compile.tune.session import device_of, evaluate_scores, facts, train_network
from snn_compile.tune.setting import LabelledData
from snn_compile.tune.trainer import HeldOutAccuracy, TrainingData

Array = npt.NDArray[Any]
BATCH_SIZE = 256
"""Held-out samples in one forward pass."""


@dataclass
class FloatTuning:
    """Retrains the folded network of a compilation; keeps the facts for the report.

    Attributes:
        path: the model file.
        data: labelled samples, in the network's input format.
        options: of tuning.
        checkpoint: written after each epoch, or None.
        journal: of the tuning.
        facts: for the report; set by the call.
    """

    path: Path
    data: LabelledData
    options: TuneOptions
    checkpoint: Path | None
    journal: Journal
    facts: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        folded: ANNGraph,
        statistics: Calibration,
        compiling: CompileOptions,
        coding: Coding,
    ) -> tuple[ANNGraph, Scales]:
        """The trained network and its trained full scales.

        Raises:
            UnsupportedError: activations other than rectifiers; all of them at once.
        """
        raise_all([_refusal(n) for n in folded.graph if _is_curved(n)])
        scales = balance_thresholds(
            folded,
            statistics,
            compiling.thresholds_of,
            levels=coding.levels,
            per_layer=compiling.per_layer,
            payloads=coding.payloads,
        )
        options = self.options

        def prepare(x: Array, y: Array) -> TrainingData:
            teacher = ann.evaluate(folded, x).reshape(len(x), -1) if options.distill else None
            return TrainingData(x, y, teacher)

        data = self.data.split(prepare)
        self.journal.observer.stage("train", data.summary)
        network = FloatNetwork(folded, scales, coding.levels, device=device_of(options.device))
        method = QuantizedActivations(network, options)
        progress = train_network(
            network,
            method,
            data.train,
            lambda: _judged(network, data.held_out, options.distill),
            options,
            self.checkpoint,
            self.journal,
        )
        self.facts = facts(self.path, options, method, progress, data)
        return network.tuned()


def _is_curved(node: AnnNode) -> bool:
    return isinstance(node, ops.Activation) and not isinstance(node, ops.Relu)


def _refusal(node: AnnNode) -> CompileError:
    return UnsupportedError(
        "only rectifiers are trained with quantized activations",
        code="tune-neurons",
        origin=node.origin,
        hint="compile it without tuning, or train a network of Relu activations",
    )


def tune_float(
    path: Path, tuning: FloatTuning, compiling: CompileOptions, evaluate: Any
) -> CompiledModel:
    """Compile a model file and train its network before conversion.

    Args:
        path: the file.
        tuning: the training.
        compiling: options of the compilation.
        evaluate: samples and labels that replace those of ``compiling``, or None.

    Raises:
        CompileError: as ``compile_model``; the checkpoint belongs to another training.
    """
    untuned = None
    if evaluate is not None or compiling.evaluate is not None:
        with tuning.journal.timed("compile-untuned"):
            untuned = compile_model(
                path, options=compiling, evaluate=evaluate, observer=SilentObserver()
            )
    found: list[tuple[CompiledModel, dict[str, Any], float | None]] = []
    for one in each_seed(tuning.options, tuning.checkpoint):
        training = replace(tuning, options=one.options, checkpoint=one.checkpoint)
        made = compile_model(
            path,
            options=compiling,
            evaluate=evaluate,
            observer=tuning.journal.observer,
            retrain=training,
        )
        found.append((made, training.facts, figures.rung(made.report, figures.ANSWER).get("top1")))
        one.show(tuning.journal, *found[-1][1:])
    compiled, known, after = max(found, key=lambda one: merit(one[1]))
    reports = [one.report if one else {} for one in (untuned, compiled)]
    before = figures.rung(reports[0], figures.ANSWER).get("top1")
    tuning.journal.add_findings(worse(before, after, tuning.options.method))
    ladder = joined_around_training(*(one.get("ladder") or [] for one in reports))
    provenance = {**compiled.provenance, TUNED: "before conversion"}
    better = replace(compiled, report={**compiled.report, "ladder": ladder}, provenance=provenance)
    if untuned is not None and kept((before, after)) == figures.UNTUNED:
        better = untuned
    report = {
        **better.report,
        "tune": {
            **known,
            **of_all([one[1:] for one in found]),
            "judged_by": "the float network with quantized activations",
            "before": before,
            "after": after,
            "kept": kept((before, after)),
        },
        "timing": [*better.report["timing"], *tuning.journal.timing],
        "warnings": [*better.report["warnings"], *tuning.journal.warnings],
    }
    return replace(better, report=report)


def require_model(path: Path) -> None:
    """Refuse a source that is already converted.

    Raises:
        UsageError: it is a compiled folder, or a spiking network.
    """
    if path.is_dir() or not is_converted(path):
        raise UsageError(
            "qcfs trains a network before conversion, and this one is a spiking network",
            code="bad-option",
            origin=Origin(str(path)),
            hint="give the model file, or use --method psg",
        )


@torch.no_grad()
def _judged(network: FloatNetwork, data: TrainingData, distill: float) -> HeldOutAccuracy:
    scores = [
        network(network.messages(data.frames[start : start + BATCH_SIZE])).cpu().numpy()
        for start in range(0, len(data), BATCH_SIZE)
    ]
    return evaluate_scores(np.concatenate(scores), data.labels, data.teacher, distill)
