"""The rung ``host`` of the ladder: the outputs of the model file, with its tail on the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError
from snn_compile.ir.ann import output_name
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.ranges import probabilities
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.plugins.host import HostRunner, WholeRunner, is_fixed
from snn_compile.report.figures import HOST
from snn_compile.report.ladder import Ladder
from snn_compile.samples.outputs import (
    PROBABILITY,
    Expected,
    OutputKind,
    OutputShapes,
    kind_of_shape,
    stated_kinds,
)

MAX_CLASSES = 1 << 16
"""Bound of integers that are classes."""

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
    def shapes(self) -> dict[str, Shape]:
        """The shape of a sample of each output that has the same one for all samples."""
        batch, found = self.tail.tail.batch, {}
        for name, shape in self.tail.shapes.items():
            if shape is not None and is_fixed(shape):
                sizes = [size for size in shape if size is not None]
                found[name] = tuple(sizes[1:] if sizes[:1] == [batch] else sizes) or (1,)
        return found

    def outputs(self, network: ANNGraph, options: CompileOptions) -> OutputShapes:
        """The outputs of the file, as far as their labels are checked.

        Integers are classes themselves, as many as there may be.
        """
        shapes, kinds, asked = self.shapes, {}, stated_kinds(options.output_kind)
        within = self.tail.probabilities | probabilities(network)
        for name in self.tail.integers & shapes.keys():
            if asked.get(name) is OutputKind.REGRESSION:
                continue
            single = prod(shapes[name]) == 1
            kinds[name] = OutputKind.CLASSES if single else OutputKind.SEGMENTATION
            shapes[name] = (MAX_CLASSES, *(() if single else shapes[name]))
        return OutputShapes(shapes, {**kinds, **asked}, network.inputs.shape, within)

    def rung(
        self, expected: Sequence[Expected], decoded: Mapping[NodeId, Array], x: Array
    ) -> dict[str, Any] | None:
        """The entry of the ladder; None if no output can be judged.

        Args:
            expected: of the outputs of the file with one shape.
            decoded: real values of each readout, from the fixed-point network.
            x: raw samples.
        """
        wanted = stacked(expected, self.whole(x))
        found = stacked(expected, self.tail(decoded, x))
        judged = [
            _with_classes(one, wanted[one.name], found[one.name])
            for one in expected
            if one.name in wanted and one.name in found
        ]
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
    asked, within = stated_kinds(options.output_kind), probabilities(network)
    found = []
    for output in network.outputs:
        name, shape = output_name(output), output.shape
        same = known.get(name)
        if same is None or prod(same.shape) != prod(shape):
            kind = asked.get(name) or kind_of_shape(shape, network.inputs.shape)
            threshold = PROBABILITY if name in within else 0.0
            same = Expected(name, shape, kind, threshold=threshold)
        found.append(same)
    return tuple(found)


def _with_classes(expected: Expected, *values: Array) -> Expected:
    """What is expected of integers, with as many classes as occur."""
    if values[0].dtype.kind != "i" or expected.kind is OutputKind.REGRESSION:
        return expected
    y = expected.y
    most = max(int(some.max(initial=0)) for some in (*values, *(() if y is None else (y,))))
    if y is not None and min(int(some.min(initial=0)) for some in values) < 0:
        y = None  # they are no classes
    return replace(expected, shape=(most + 1, *expected.shape[1:]), y=y)


def stacked(
    expected: Sequence[Expected], samples: Iterable[Mapping[str, Array]]
) -> dict[str, Array]:
    """The values of outputs for all samples, of those that have the expected size."""
    pieces: dict[str, list[Array]] = {one.name: [] for one in expected}
    for outputs in samples:
        for name, values in pieces.items():
            values.append(outputs[name].reshape(-1))
    sizes = {one.name: prod(one.shape) for one in expected}
    found = {}
    for name, values in pieces.items():
        whole = sizes[name] == MAX_CLASSES * values[0].size and values[0].dtype.kind in "iub"
        size = sizes[name] // (MAX_CLASSES if whole else 1)
        if all(value.size == size for value in values):
            found[name] = np.stack(values).astype(np.int64 if whole else np.float64)
    return found
