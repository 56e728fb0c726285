"""From a compiled network, or a model file, to a tuned compiled network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from snn_compile.bundle import CompiledModel, read_seal
from snn_compile.data import Samples
from snn_compile.driver import compile_model
from snn_compile.errors import Origin, UnsupportedError, UsageError, raise_all
from snn_compile.inputs import preprocessed, read_model, samples_for, spiking_frontend
from snn_compile.ir.encoding import OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping import map_program
from snn_compile.options import CompileOptions
from snn_compile.plugins import BACKENDS, Backend
from snn_compile.report import figures
from snn_compile.report.evaluation import encoded
from snn_compile.report.journal import Journal
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.sim import ann, engine
from snn_compile.targets import load_target
from snn_compile.tune.method import Method, Task
from snn_compile.tune.network import Network
from snn_compile.tune.options import TuneOptions
from snn_compile.tune.psg import ParametricSurrogate
from snn_compile.tune.report import Tuning, tuned_report
from snn_compile.tune.scratch import begin_anew
from snn_compile.tune.trainer import Epoch, Judged, Progress, Trainer, TrainingData, split

Array = npt.NDArray[Any]
Given = Path | tuple[Array, Array | None]
"""Samples: an npz file with ``x`` and ``y``, or both as arrays."""

SPIKING_METHODS = {ParametricSurrogate.name: ParametricSurrogate}
"""Methods that train the compiled network; each is made from a ``Task``."""


def tune_model(
    source: str | Path,
    train: Given,
    *,
    options: TuneOptions | None = None,
    compile_options: CompileOptions | None = None,
    evaluate: Given | None = None,
    checkpoint: str | Path | None = None,
    watch: Observer | None = None,
    **changes: Any,
) -> CompiledModel:
    """Train a spiking network in fixed point, with its integers in the forward pass.

    Args:
        source: a folder that ``compile`` wrote, or a model file, which is compiled first.
        train: labelled samples. A share of them is held out to judge progress.
        options: all options of tuning; ``changes`` override single ones by name.
        compile_options: how to compile a model file, and what to emit.
        evaluate: samples that nothing was trained on, for the accuracy before and after.
        checkpoint: a file that is written after each epoch. If it is there already, the training
            goes on from it, and ends with the same integers as one that was not interrupted.
        watch: sees the tuning while it runs.
        **changes: single options of tuning by name.

    Returns:
        The tuned network with its report; nothing but the checkpoint is written.

    Raises:
        CompileError: whatever is wrong with the network, the data or the options.
    """
    options = replace(options or TuneOptions(), **changes)
    journal = Journal(watch or SilentObserver())
    path = Path(source)
    base = _compiled(path, compile_options or CompileOptions(), evaluate, journal)
    samples = samples_for(base, train, need_labels=True)
    if samples.y is None:
        raise UsageError("training needs labels", code="missing-labels", hint="give x and y")
    exam = _exam(base, evaluate, compile_options)
    _require_trainable(base, path)
    teacher = _teacher(path, compile_options, samples.x, options)
    frames = encoded(base.encoding, samples.x)
    rows, held_out = split(len(samples), options.hold_out, options.seed)
    data = TrainingData(frames, samples.y, teacher)
    setting = _Setting(base, data[rows], data[held_out], options)
    with journal.timed("tune"):
        done, method = _trained(setting, journal, None if checkpoint is None else Path(checkpoint))
    return _finished(path, setting, done, method, exam, journal)


@dataclass(frozen=True, eq=False)
class _Setting:
    """What is trained, and on what."""

    base: CompiledModel
    train: TrainingData
    held_out: TrainingData
    options: TuneOptions

    @property
    def output(self) -> tuple[NodeId, OutputDecoding]:
        """The first output."""
        return next(iter(self.base.decodings.items()))

    def judge(self, program: QuantizedGraph) -> Judged:
        """Held-out accuracy of a program."""
        return judged(program, self.held_out, *self.output)


@dataclass(frozen=True, eq=False)
class _Done:
    """A tuned program and how it came about."""

    program: QuantizedGraph
    progress: Progress


def _compiled(
    path: Path, options: CompileOptions, evaluate: Given | None, journal: Journal
) -> CompiledModel:
    """The network to begin with."""
    if path.is_dir():
        return CompiledModel.load(path)
    arrays = evaluate if isinstance(evaluate, tuple) else None
    return compile_model(path, options=options, evaluate=arrays, watch=journal.observer)


def _exam(
    base: CompiledModel, evaluate: Given | None, options: CompileOptions | None
) -> Samples | None:
    """The samples of the final figures."""
    given = evaluate or (options.evaluate if options is not None else None)
    return None if given is None else samples_for(base, given)


def _require_trainable(base: CompiledModel, path: Path) -> None:
    """Refuse what cannot be trained.

    Raises:
        UnsupportedError: the outputs are not one score for each of several classes.
    """
    decoding = next(iter(base.decodings.values()))
    if int(np.prod(decoding.shape)) < 2:
        raise UnsupportedError(
            "tuning needs an output with a score for each class, and this one has a single value",
            code="tune-output",
            origin=Origin(str(path)),
            hint="train with two outputs in place of one",
        )


def _teacher(
    path: Path, options: CompileOptions | None, x: Array, tuning: TuneOptions
) -> Array | None:
    """Outputs of the float network, where there is one and its opinion counts."""
    if path.is_dir() or not tuning.distill or spiking_frontend(path):
        return None
    network = preprocessed(read_model(path), options or CompileOptions())
    return ann.evaluate(network, x).reshape(len(x), -1)


def _trained(setting: _Setting, journal: Journal, checkpoint: Path | None) -> tuple[_Done, Method]:
    options, base = setting.options, setting.base
    torch.manual_seed(options.seed)
    before = torch.get_num_threads()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        output, decoding = setting.output
        network = Network(
            base.program,
            {name: d.unit for name, d in base.decodings.items()},
            device=_device(options.device),
            state_bits=figures.option(base.report, "state_bits") or 24,
        )
        method = SPIKING_METHODS[options.method](Task(network, output, decoding.unit, options))
        if options.from_scratch:
            few = setting.train[np.arange(min(len(setting.train), options.batch_size))]
            begin_anew(network, network.messages(few.frames), method.respond, options.seed)
        trainer = Trainer(network, method, setting.train, setting.judge, options, checkpoint)
        progress = _watched(trainer, setting, journal)
        return _Done(network.tuned(), progress), method
    finally:
        torch.set_num_threads(before)


def _watched(trainer: Trainer, setting: _Setting, journal: Journal) -> Progress:
    n, options = len(setting.train), setting.options

    def told(epoch: Epoch) -> None:
        loss = "" if epoch.train_loss is None else f"loss {epoch.train_loss:.4f} · "
        text = f"{loss}held out {epoch.held_out_top1:.2f} %, loss {epoch.held_out_loss:.4f}"
        journal.observer.stage(f"epoch {epoch.epoch}", text)

    with journal.observer.progress("tune", f"{n:,} samples", n * options.epochs) as advance:
        return trainer.run(told, advance)


def _device(name: str) -> str:
    """What torch calls the device.

    Raises:
        UsageError: cuda was asked for, and torch sees none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError(
            "torch sees no CUDA device",
            code="no-cuda",
            hint="use --device cpu, or install torch for your CUDA version",
        )
    return "cuda" if there and name != "cpu" else "cpu"


def judged(
    program: QuantizedGraph, data: TrainingData, output: NodeId, decoding: OutputDecoding
) -> Judged:
    """Accuracy and mean cross entropy of a program, on the bit-accurate simulator."""
    scores = decoding(engine.run(program, data.frames).outputs[output]).reshape(len(data), -1)
    exponents = scores - scores.max(axis=1, keepdims=True)
    logs = exponents - np.log(np.exp(exponents).sum(axis=1, keepdims=True))
    loss = -float(logs[np.arange(len(data)), data.labels].mean())
    return Judged(100 * float((scores.argmax(axis=1) == data.labels).mean()), loss)


def _finished(
    path: Path,
    setting: _Setting,
    done: _Done,
    method: Method,
    exam: Samples | None,
    journal: Journal,
) -> CompiledModel:
    """Map the tuned program, evaluate it, and put the folder's content together."""
    base, program = setting.base, done.program
    target = load_target(figures.option(base.report, "target") or base.report["target"])
    with journal.timed("map"):
        mapped = map_program(program, target)
    journal.found(mapped.findings)
    emit = tuple(figures.option(base.report, "emit") or ())
    backends: list[Backend] = [BACKENDS.load(name) for name in emit]
    raise_all([error for backend in backends for error in backend.check(program)])
    facts = {
        "method": setting.options.method,
        "source": str(path),
        "options": setting.options.as_dict(),
        "train": len(setting.train),
        "held_out": len(setting.held_out),
        "curve": [asdict(epoch) for epoch in done.progress.curve],
        "best_epoch": done.progress.best,
        **method.facts(),
    }
    report = tuned_report(Tuning(base, mapped.graph, facts), exam, journal)
    return replace(
        base,
        program=program,
        report=report,
        provenance=_provenance(path, base),
        golden={},
        expected={},
        backends=emit,
    )


def _provenance(path: Path, base: CompiledModel) -> Mapping[str, str]:
    """Where the network comes from: what it was compiled from, and what was tuned."""
    if not path.is_dir():
        return {**base.provenance, "tuned": "after compiling"}
    return {**base.provenance, "tuned": f"from {read_seal(path)}"}
