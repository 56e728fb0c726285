"""What ``snn-compile run`` does: the simulation, piece by piece, and where the answers go."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_compile.errors import Origin, UsageError
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.cli.growing import GrowingNpz
    from snn_compile.plugins.host import HostRunner
    from snn_compile.predictions.columns import Column, OutputColumns
    from snn_compile.predictions.tables import ParquetFile, PredictionFile, TextRows
    from snn_compile.predictions.tally import Tally
    from snn_compile.report.observer import Observer
    from snn_compile.samples.arrays import Samples
    from snn_compile.samples.rows import Array
    from snn_compile.sim.reference import Run


@dataclass
class Outcome:
    """Totals over all samples; everything else is in the output file.

    Attributes:
        tallies: of each output that has labels or targets, by its index.
        spikes: message counts of each layer.
    """

    tallies: dict[int, Tally] = field(default_factory=dict)
    spikes: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def of(samples: Samples, outputs: Sequence[OutputColumns]) -> Outcome:
        """Totals of no samples yet."""
        from snn_compile.predictions.tally import tally_of

        found = enumerate(tally_of(one.expected, one.names) for one in outputs)
        return Outcome({k: tally for k, tally in found if tally is not None and samples.expected})

    def add(self, run: Run, values: Sequence[Array]) -> None:
        """Count the next samples: their run, and the outputs' real values."""
        from snn_compile.report import metrics

        for index, tally in self.tallies.items():
            tally.add(values[index], metrics.answers(tally.expected, values[index]))
        self.spikes.update({name: int(n.sum()) for name, n in run.activity.items()})

    def arrays(self) -> dict[str, Array]:
        """What an npz file has of them: messages of each layer, and confusion matrices."""
        import numpy as np

        from snn_compile.predictions.tally import Classes

        found = {f"spikes/{name}": np.asarray(total) for name, total in self.spikes.items()}
        for index, tally in self.tallies.items():
            matrix = tally.confusion.matrix() if isinstance(tally, Classes) else None
            if matrix is not None and isinstance(tally, Classes):
                found["confusion" if not index else f"confusion/{tally.expected.name}"] = matrix
        return found


@dataclass
class Sinks:
    """Where answers go.

    Attributes:
        outputs: of the network.
        trace: whether the arrays have every message.
        arrays: an npz file, if that is to be written.
        rows: a table, if that is.
    """

    outputs: Sequence[OutputColumns]
    trace: bool = False
    arrays: GrowingNpz | None = None
    rows: PredictionFile | None = None

    def open(
        self, form: type[TextRows] | type[ParquetFile] | None, output: Path, stack: ExitStack
    ) -> None:
        """Open the file: arrays if it has no form of rows. The stack closes it."""
        from snn_compile.cli.growing import GrowingNpz
        from snn_compile.predictions import tables

        if form is None:
            self.arrays = stack.enter_context(GrowingNpz(output))
            return
        tables.check_rows(form, self.outputs)
        self.rows = stack.enter_context(tables.writing(form, output))

    def take(self, arrays: Mapping[str, Array]) -> None:
        """Add arrays of the next samples to the npz file."""
        if self.arrays is not None:
            for name, array in arrays.items():
                self.arrays.append(name, array)

    def take_rows(self, first: int, values: Sequence[Array]) -> None:
        """Add the next samples to the table."""
        import numpy as np

        from snn_compile.predictions.columns import Column

        if self.rows is None:
            return
        columns: list[Column] = [Column("sample", np.arange(first, first + len(values[0])))]
        for output, of_output in zip(self.outputs, values, strict=True):
            columns += output.of(first, of_output)
        self.rows.append(columns)


def require_room(compiled: CompiledModel, n_samples: int, output: Path) -> str:
    """Check the free disk space for all traces, and return their size in words.

    They are compressed layer by layer at the end: until then they take their full size, and then
    that of the largest one in addition.

    Raises:
        UsageError: the space is insufficient.
        FileNotFoundError: the folder does not exist.
    """
    traces = compiled.message_bytes.values()
    each = 16 if len(compiled.decodings) == 1 else 32  # under two names
    answers = [each * prod(decoding.shape) for decoding in compiled.decodings.values()]
    needed = n_samples * (sum(traces) + sum(answers) + max(traces))
    free = shutil.disk_usage(output.parent).free
    if needed > free:
        raise UsageError(
            f"the traces of {pluralize(n_samples, 'sample')} need {needed / 1e9:,.3g} GB"
            f" on the disk while they are written, and {free / 1e9:,.3g} GB are free",
            code="disk-space",
            origin=Origin(str(output)),
            hint=f"use fewer samples ({free * n_samples // needed:,} fit); or keep messages other"
            " than 0 only: snn-compile hil DIR --device engine --data NPZ --record FILE",
        )
    return f"{sum(traces) / 1e6:,.3g} MB a sample, {needed / 1e9:,.3g} GB while they are written"


def simulate(
    compiled: CompiledModel,
    samples: Samples,
    observer: Observer,
    outcome: Outcome,
    sinks: Sinks,
    host: HostRunner | None = None,
) -> None:
    """Run the network on the samples, a few at a time; into files, if there are some."""
    from snn_compile.report.evaluation import decoded

    text = pluralize(len(samples), "sample")
    with observer.progress("simulate", text, len(samples)) as advance:
        record, done = sinks.trace and sinks.arrays is not None, 0
        named = host.tail.outputs if host is not None else ()
        for run in compiled.simulate_in_pieces(samples.x, record=record, advance=advance):
            values = decoded(compiled.decodings, run)
            outcome.add(run, values)
            sinks.take_rows(done, values)
            if sinks.arrays is not None:
                rows = output_arrays(compiled, run, values)
                sinks.take({name: rows[name] for name in rows if name not in named})
                del rows
            if host is not None:
                piece = samples.x[done : done + run.n_stimuli]
                for outputs in compiled.host_rows(host, run, piece):
                    sinks.take(outputs)
            done += run.n_stimuli
            del run, values  # before the next piece is simulated


def output_arrays(compiled: CompiledModel, run: Run, values: Sequence[Array]) -> dict[str, Array]:
    """The output file's arrays for each sample, from the outputs' real values."""
    from snn_compile.report import metrics

    expected = metrics.classes_of(compiled.report, values[0].shape[1:])
    arrays: dict[str, Array] = {
        "outputs": values[0],
        "potentials": _potentials(compiled, run, 0),
        "argmax": metrics.answers(expected, values[0]),
    }
    names = list(compiled.output_names.values())
    for index, name in enumerate(names if len(names) > 1 else ()):
        arrays |= {name: values[index]} if name not in arrays else {}
        arrays[f"outputs/{name}"] = values[index]
        arrays[f"potentials/{name}"] = _potentials(compiled, run, index)
    return arrays | {f"trace/{name}": messages for name, messages in run.messages.items()}


def _potentials(compiled: CompiledModel, run: Run, index: int) -> Array:
    """The integers behind an output, in the shape of the user's network."""
    name, decoding = list(compiled.decodings.items())[index]
    potentials = run.outputs[name]
    return potentials.reshape(len(potentials), *decoding.shape)


def facts(outcome: Outcome, n: int, inputs: Sequence[str]) -> dict[str, Any]:
    """Summary figures of the run of n samples."""
    from snn_compile.sim import engine

    judged = [tally.figures() for tally in outcome.tallies.values()]
    return {
        "samples": n,
        "top1": next((one["top1"] for one in judged if "top1" in one), None),
        "outputs": judged,
        "input": inputs[0] if len(inputs) == 1 else list(inputs),
        "spikes_per_inference": {name: total / n for name, total in outcome.spikes.items()},
        "simulator": engine.simulator(),
    }
