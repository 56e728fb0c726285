"""The rung ``host`` of the ladder: the outputs of the model file, with its tail on the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError
from snn_compile.ir.ann import output_name
from snn_compile.ir.graph import NodeId
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.plugins.host import HostRunner, WholeRunner, is_fixed
from snn_compile.report.figures import HOST
from snn_compile.report.ladder import Ladder
from snn_compile.samples.outputs import Expected, OutputShapes, kind_of_shape, stated_kinds

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class HostStage:
    """A tail and its whole model file, both ready to run.

    Attributes:
        tail: runs the tail.
        whole: runs the file.
    """

    tail: HostRunner
    whole: WholeRunner

    @staticmethod
    def of(path: Path, options: CompileOptions, tail: HostTail) -> HostStage | Finding:
        """The stage; a finding if no runtime is installed."""
        try:
            runner = HostRunner.of(tail)
        except UsageError as error:
            message = f"what is left to the host was not evaluated: {error.message}"
            return Finding(message, error.origin, "host-not-evaluated", error.hint, warning=True)
        whole = WholeRunner.of(path, options, tail)
        if whole is None:
            raise TypeError("a tail runs, and its file does not")
        return HostStage(runner, whole)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a sample of each output that has the same one for all samples."""
        batch, found = self.tail.tail.batch, {}
        for name, shape in self.tail.shapes.items():
            if shape and is_fixed(shape[1:]):
                first = () if shape[0] in (None, batch) else shape[:1]
                sizes = (size for size in (*first, *shape[1:]) if size is not None)
                found[name] = tuple(sizes) or (1,)
        return found

    def outputs(self, network: ANNGraph, options: CompileOptions) -> OutputShapes:
        """The outputs of the file, as far as their labels are checked."""
        return OutputShapes(self.shapes, stated_kinds(options.output_kind), network.inputs.shape)

    def rung(
        self, expected: Sequence[Expected], decoded: Mapping[NodeId, Array], x: Array
    ) -> dict[str, Any] | None:
        """The entry of the ladder; None if no output can be judged.

        Args:
            expected: of the outputs of the file with one shape.
            decoded: real values of each readout, from the fixed-point network.
            x: raw samples.
        """
        wanted = _stacked(expected, self.whole(x))
        found = _stacked(expected, self.tail(decoded, x))
        judged = [one for one in expected if one.name in wanted and one.name in found]
        if not judged:
            return None
        ladder = Ladder(judged)
        ladder.add("onnx", [wanted[one.name] for one in judged])
        ladder.add(HOST, [found[one.name] for one in judged])
        before, rung = ladder.rungs
        kept = {key: value for key, value in before.items() if key not in ("n", "note")}
        return {**rung, "before": kept}


def expected_of(
    network: ANNGraph, expected: Iterable[Expected], options: CompileOptions
) -> tuple[Expected, ...]:
    """What is expected of the network's own outputs, by what is of those of the file."""
    known = {one.name: one for one in expected}
    asked = stated_kinds(options.output_kind)
    found = []
    for output in network.outputs:
        name, shape = output_name(output), output.shape
        same = known.get(name)
        if same is None or prod(same.shape) != prod(shape):
            kind = asked.get(name) or kind_of_shape(shape, network.inputs.shape)
            same = Expected(name, shape, kind)
        found.append(same)
    return tuple(found)


def _stacked(
    expected: Sequence[Expected], samples: Iterable[Mapping[str, Array]]
) -> dict[str, Array]:
    """The values of outputs for all samples, of those that have the expected size."""
    pieces: dict[str, list[Array]] = {one.name: [] for one in expected}
    for outputs in samples:
        for name, values in pieces.items():
            values.append(outputs[name].reshape(-1))
    sizes = {one.name: prod(one.shape) for one in expected}
    return {
        name: np.stack(values).astype(np.float64)
        for name, values in pieces.items()
        if all(value.size == sizes[name] for value in values)
    }
