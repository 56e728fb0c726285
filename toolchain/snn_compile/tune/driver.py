"""From a compiled network, or a model file, to a tuned compiled network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Unpack

import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.errors import Origin, UnsupportedError, UsageError
from snn_compile.fit import fit_program
from snn_compile.fit.merge_partial_sums import merge_partial_sums
from snn_compile.ir.ann import output_name
from snn_compile.ir.encoding import OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.pipeline.compiled_data import samples_for
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.finish import PreparedNetwork, finish, require_writable
from snn_compile.pipeline.inputs import (
    float_samples,
    is_converted,
    preprocess,
    read_model,
)
from snn_compile.report import figures
from snn_compile.report.journal import Journal
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.sealed import read_seal
from snn_compile.sealed.provenance import TUNED
from snn_compile.sim import ann, engine
from snn_compile.sim.frames import encoded
from snn_compile.targets import load_target
from snn_compile.tune.before_conversion import FloatTuning, require_model, tune_float
from snn_compile.tune.data import is_loadable
from snn_compile.tune.method import SpikingMethod, Task
from snn_compile.tune.neighborhood import NeighborhoodAggregation
from snn_compile.tune.network import STATE_BITS, Network
from snn_compile.tune.normad import NormalizedDescent
from snn_compile.tune.options import TuneKeywords, TuneOptions
from snn_compile.tune.psg import ParametricSurrogate
from snn_compile.tune.qcfs import QuantizedActivations
from snn_compile.tune.report import Tuning, compare, evaluate_tuned_stages, tuned_report
from snn_compile.tune.scratch import reinitialize
from snn_compile.tune.seeds import OneSeed, each_seed, merit, of_all
from snn_compile.tune.session import (
    device_of,
    evaluate_scores,
    facts,
    require_exact,
    torch_settings,
    train_network,
)
from snn_compile.tune.setting import (
    FileOrArrays,
    Given,
    LabelledData,
    Split,
    as_given,
    labelled,
)
from snn_compile.tune.spike_targets import MEASURE, judged_spikes, target_spikes
from snn_compile.tune.trainer import HeldOutAccuracy, TrainingData

Array = npt.NDArray[Any]

N_COMPARED = 4
"""Samples on which the device is compared with the simulator before training."""
SPIKING_METHODS: dict[str, Callable[[Task], SpikingMethod]] = {
    ParametricSurrogate.name: ParametricSurrogate,
    NeighborhoodAggregation.name: NeighborhoodAggregation,
    NormalizedDescent.name: NormalizedDescent,
}
"""Methods that train the compiled network; each is made from a ``Task``."""


def tune_model(
    source: str | Path,
    train: Given | str,
    *,
    options: TuneOptions | None = None,
    compile_options: CompileOptions | None = None,
    held_out: Given | str | None = None,
    evaluate: FileOrArrays | str | None = None,
    checkpoint: str | Path | None = None,
    observer: Observer | None = None,
    **changes: Unpack[TuneKeywords],
) -> CompiledModel:
    """Tune a network for fixed-point accuracy.

    Args:
        source: a folder that ``compile`` wrote, or a model file, which is compiled first.
        train: labelled samples: a file, arrays, or a torch ``Dataset`` or ``DataLoader``. Instead
            of labels, target spikes (N, T, outputs) of the output neurons: ``spikes`` in a file, or
            the second array.
        options: all options of tuning; ``changes`` override single ones by name.
        compile_options: for a model file; for a folder only ``evaluate`` applies, and ``emit``
            if its origin is not the default.
        held_out: samples to measure progress; a share of ``train`` if omitted.
        evaluate: test samples, for the accuracy before and after. The better network is kept.
        checkpoint: a file written after each epoch. If it exists, the training resumes from it,
            with the same final integers as an uninterrupted one. Further seeds have files of their
            own beside it (``checkpoint_of``).
        observer: receives progress.
        **changes: single options of tuning by name.

    Returns:
        The tuned network with its report; nothing but the checkpoints is written.

    Raises:
        CompileError: the network, the data or the options are invalid.
    """
    options = (options or TuneOptions()).override(changes)
    compiling = compile_options or CompileOptions()
    train = as_given(train)
    evaluate, held_out = as_given(evaluate), as_given(held_out)
    if isinstance(evaluate, Path):
        compiling, evaluate = compiling.override({"evaluate": evaluate}), None
    journal = Journal(observer or SilentObserver())
    path, kept = Path(source), None if checkpoint is None else Path(checkpoint)
    with torch_settings(options):
        if options.method == QuantizedActivations.name:
            require_model(path)
            data = _float_data(path, train, held_out, options, compiling)
            training = FloatTuning(path, data, options, kept, journal)
            return tune_float(path, training, compiling, evaluate)
        if not path.is_dir() and is_converted(path):
            # Report bad data before compiling.
            _float_data(path, train, held_out, options, compiling)
        setting, found = _trainings(
            path, train, held_out, evaluate, options, compiling, kept, journal
        )
    tuning = max(found, key=lambda one: merit(one.facts))
    seeds = of_all([(one.facts, one.top1[1]) for one in found])
    tuning = replace(tuning, facts={**tuning.facts, **seeds})
    return finish(_prepared(setting, tuning, journal), journal)


def _trainings(
    path: Path,
    train: Given,
    held_out: Given | None,
    evaluate: Any,
    options: TuneOptions,
    compiling: CompileOptions,
    kept: Path | None,
    journal: Journal,
) -> tuple[_Setting, list[Tuning]]:
    """Train the compiled network with each seed."""
    base = _compiled(path, compiling, evaluate, journal)
    require_writable(base.program, _backends(base))  # before anything is trained
    # Finishing splits the network again.
    base = replace(base, program=merge_partial_sums(base.program))
    setting = _setting(path, base, train, held_out, options, compiling)
    journal.observer.stage("train", setting.data.summary)
    given: Any = evaluate or compiling.evaluate
    test_set = None if given is None else samples_for(base, given)
    found = []
    for one in each_seed(setting.options, kept):
        program, known = _trained(replace(setting, options=one.options), one, journal)
        found.append(Tuning(base, program, known, compare(base, program, test_set, journal)))
        one.show(journal, known, found[-1].top1[1])
    return setting, found


@dataclass(frozen=True, eq=False)
class _Setting:
    """The network and the data of a training."""

    path: Path
    base: CompiledModel
    data: Split
    options: TuneOptions

    @property
    def output(self) -> tuple[NodeId, OutputDecoding]:
        """The first output."""
        return next(iter(self.base.decodings.items()))

    def judge(self, program: QuantizedGraph) -> HeldOutAccuracy:
        """Held-out accuracy of a program, on the bit-accurate simulator."""
        output, decoding = self.output
        held_out = self.data.held_out
        if not held_out.of_classes:
            return judged_spikes(program, held_out, output, self.options.spike_tau)
        run = engine.run(program, held_out.frames)
        scores = decoding(run.outputs[output])
        return evaluate_scores(scores, held_out.labels, held_out.teacher, self.options.distill)


def _setting(
    path: Path,
    base: CompiledModel,
    train: Given,
    held_out: Given | None,
    options: TuneOptions,
    compiling: CompileOptions,
) -> _Setting:
    """The network and the samples, split into training and held-out samples."""
    if not is_loadable(train):
        wanted = _target_spikes(base, train, options)
        if wanted is not None:
            samples = samples_for(base, _unlabelled(train))
            data = TrainingData(encoded(base.encoding, samples.x[:]), wanted)
            of = "the trains that are learned"
            return _Setting(path, base, Split(data, data, of), options)
    _require_classes(base, path)
    read = partial(samples_for, base, need_labels=True)
    found = LabelledData.of(train, held_out, options, lambda given: labelled(read(given)))
    teacher = _teacher(path, compiling) if options.distill else None
    options = options if teacher is not None else replace(options, distill=0.0)

    def prepare(x: Array, y: Array) -> TrainingData:
        outputs = None if teacher is None else ann.evaluate(teacher, x).reshape(len(x), -1)
        return TrainingData(encoded(base.encoding, x), y, outputs)

    return _Setting(path, base, found.split(prepare), options)


def _float_data(
    path: Path,
    train: Given,
    held_out: Given | None,
    options: TuneOptions,
    compiling: CompileOptions,
) -> LabelledData:
    """Labelled samples in the float network's input format."""
    network = preprocess(read_model(path, compiling), compiling)
    _require_one_output(map(output_name, network.outputs), path)
    read = partial(float_samples, network, compiling, need_labels=True)
    return LabelledData.of(train, held_out, options, lambda given: labelled(read(given)))


def _target_spikes(base: CompiledModel, train: FileOrArrays, options: TuneOptions) -> Array | None:
    """Target spike trains, for a method that supports them.

    Raises:
        UsageError: they are missing, and the method requires them; or they do not fit.
    """
    if options.method == ParametricSurrogate.name:
        return None
    wanted = target_spikes(base, train)
    if wanted is None and options.method == NormalizedDescent.name:
        raise UsageError(
            "normad trains spike times, and the data have no spikes",
            code="missing-spikes",
            hint="give spikes (N, T, outputs) beside x, or train labels with --method na or psg",
        )
    return wanted


def _unlabelled(train: FileOrArrays) -> FileOrArrays:
    """The samples alone."""
    return train if isinstance(train, Path) else (train[0], None)


def _compiled(
    path: Path, options: CompileOptions, evaluate: Any, journal: Journal
) -> CompiledModel:
    """The initial network; the options of a compiled one are those in its report."""
    if path.is_dir():
        base = CompiledModel.load(path)
        journal.add_findings(base.findings)
        said = {k: v for k, v in options.effective().items() if v["origin"] != "default"}
        known = {**(base.report.get("options") or {}), **said}
        return replace(base, report={**base.report, "options": known})
    return compile_model(path, options=options, evaluate=evaluate, observer=journal.observer)


def _require_classes(base: CompiledModel, path: Path) -> None:
    """Refuse a network without a cross entropy.

    Raises:
        UnsupportedError: it has several outputs, or not one score for each of several classes.
    """
    shapes = {base.output_names[name]: one.shape for name, one in base.decodings.items()}
    _require_one_output(shapes, path)
    if prod(next(iter(shapes.values()))) < 2:
        raise UnsupportedError(
            "tuning needs an output with a score for each class, and this one is a single value",
            code="tune-output",
            origin=Origin(str(path)),
            hint="train a network with two outputs instead of one",
        )


def _require_one_output(names: Iterable[str], path: Path) -> None:
    several = list(names)
    if len(several) > 1:
        raise UnsupportedError(
            f"tuning trains the classes of a single output, and there are {len(several)}:"
            f" {', '.join(several)}",
            code="tune-output",
            origin=Origin(str(path)),
            hint="export the model with the output to train alone",
        )


def _teacher(path: Path, options: CompileOptions) -> ANNGraph | None:
    """The float network, or None without one."""
    if path.is_dir() or not is_converted(path):
        return None
    return preprocess(read_model(path, options), options)


def _trained(
    setting: _Setting, one: OneSeed, journal: Journal
) -> tuple[QuantizedGraph, dict[str, Any]]:
    """The tuned program, and the facts of the training for the report."""
    options, base, data = setting.options, setting.base, setting.data
    output, decoding = setting.output
    network = Network(
        base.program,
        {name: d.unit for name, d in base.decodings.items()},
        device=device_of(options.device),
        state_bits=figures.option(base.report, "state_bits") or STATE_BITS,
        in_stock_neurons=figures.option(base.report, "neurons") == "stock",
    )
    method = SPIKING_METHODS[options.method](Task(network, output, decoding.unit, options))
    require_exact(network, method.respond, data.held_out.frames[:N_COMPARED])
    if options.from_scratch:
        _, few = next(data.train.batches(0, options.batch_size, options.seed))
        reinitialize(network, network.messages(few.frames), method.respond, options.seed)
    progress = train_network(
        network,
        method,
        data.train,
        lambda: setting.judge(network.tuned()),
        options,
        one.checkpoint,
        journal,
    )
    known = facts(setting.path, options, method, progress, data)
    measure = {} if data.train.of_classes else {"measure": MEASURE}
    return network.tuned(), {**known, **measure, "judged_by": "the bit-accurate simulator"}


def _prepared(setting: _Setting, tuning: Tuning, journal: Journal) -> PreparedNetwork:
    """The program that is kept, with the unchanged parts of the compiled one."""
    base = setting.base
    target = load_target(
        figures.option(base.report, "target") or base.report["target"],
        figures.option(base.report, "chips"),
    )
    stock = figures.option(base.report, "neurons") == "stock"
    approximate = bool(figures.option(base.report, "allow_approximate"))
    fitted = fit_program(tuning.program, target, stock=stock, approximate=approximate)
    journal.add_findings(fitted.findings)
    return PreparedNetwork(
        fitted.graph,
        base.encoding,
        base.decodings,
        base.stimulus,
        target,
        _backends(base),
        base.provenance if tuning.is_worse else _provenance(setting.path, base),
        lambda journal: evaluate_tuned_stages(tuning),
        partial(tuned_report, tuning, fitted.graph, journal),
        tail=base.tail,
    )


def _backends(base: CompiledModel) -> tuple[str, ...]:
    """The backends selected by the options."""
    return tuple(figures.option(base.report, "emit") or ())


def _provenance(path: Path, base: CompiledModel) -> Mapping[str, str]:
    """Provenance of the network: source of the compilation, and the tuned folder."""
    tuned = f"from {read_seal(path)}" if path.is_dir() else "after compiling"
    return {**base.provenance, TUNED: tuned}
