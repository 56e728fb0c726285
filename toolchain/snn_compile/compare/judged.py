"""The outputs of a network that are compared: its readouts, or what the host makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.errors import Origin, UsageError
from snn_compile.pipeline.compiled_data import samples_for
from snn_compile.plugins.host import HostRunner
from snn_compile.report import figures
from snn_compile.report.evaluation import decoded
from snn_compile.report.host import tail_outputs
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected, OutputKind, stated_kinds
from snn_compile.samples.rows import Rows
from snn_compile.sim.reference import Run

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Judged:
    """A network with the samples that it is to answer.

    Attributes:
        compiled: the network.
        samples: with what is expected of each output; of a network that is cut, those of its file.
        host: runs what is left to the host; None if nothing is.
    """

    compiled: CompiledModel
    samples: Samples
    host: HostRunner | None

    @staticmethod
    def of(compiled: CompiledModel, data: Path) -> Judged:
        """The network on the samples of a file.

        Raises:
            UsageError: the data do not fit it, or no runtime of the host is installed.
        """
        if compiled.tail is None or not compiled.tail.cut:
            return Judged(compiled, samples_for(compiled, data), None)
        host = compiled.host()
        asked = stated_kinds(figures.option(compiled.report, "output_kind") or ())
        shape = next(iter(compiled.input_shapes.values()))
        outputs = tail_outputs(host, asked, shape, host.probabilities)
        if not outputs.shapes:
            raise UsageError(
                "no output of its model file has the same shape for all samples",
                code="not-comparable",
                origin=Origin(str(data)),
                hint="leave out --data",
            )
        return Judged(compiled, samples_for(compiled, data, outputs), host)

    def values(self, run: Run, x: Rows) -> list[Array]:
        """The values of each output for the samples ``x`` of a run, (n, *shape) or (n, size)."""
        if self.host is None:
            return decoded(self.compiled.decodings, run)
        read = {name: one(run.outputs[name]) for name, one in self.compiled.decodings.items()}
        rows = [*self.host(read, np.asarray(x))]
        return [_stacked(one, [outputs[one.name] for outputs in rows]) for one in self.expected]

    @property
    def expected(self) -> Sequence[Expected]:
        """Of each output."""
        return self.samples.expected


def _stacked(expected: Expected, rows: Sequence[Array]) -> Array:
    """The values of an output of the host for some samples.

    Integers that are no class become the last one of as many as there may be, which no label is.
    """
    if len({row.size for row in rows}) != 1:
        raise UsageError(
            f"'{expected.name}' has another size for each sample",
            code="not-comparable",
            hint="leave out --data",
        )
    values = np.stack([row.reshape(-1) for row in rows])
    if values.dtype.kind not in "iub" or expected.kind is OutputKind.REGRESSION:
        return values.astype(np.float64)
    last = expected.n_classes - 1
    classes: Array = np.where((values < 0) | (values > last), last, values).astype(np.int64)
    return classes
