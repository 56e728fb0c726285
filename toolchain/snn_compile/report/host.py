"""The rung ``host`` of the ladder: the outputs of the model file, with its tail on the host."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile.errors import UsageError
from snn_compile.ir.ann import output_name
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.ranges import probabilities
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.plugins.host import HostRunner, WholeRunner, is_fixed
from snn_compile.pluralize import pluralize
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
from snn_compile.samples.rows import Array, Rows, blocks, together
from snn_compile.samples.stored import Spool

MAX_CLASSES = 1 << 16
"""Bound of integers that are classes."""


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

    def outputs(self, network: ANNGraph, options: CompileOptions) -> OutputShapes:
        """The outputs of the file, as far as their labels are checked."""
        within = self.tail.probabilities | probabilities(network)
        asked = stated_kinds(options.output_kind)
        return tail_outputs(self.tail, asked, network.inputs.shape, within)

    def rung(
        self, expected: Sequence[Expected], decoded: Mapping[NodeId, Rows], x: Rows
    ) -> dict[str, Any] | None:
        """The entry of the ladder; None if no output can be judged.

        Args:
            expected: of the outputs of the file with one shape.
            decoded: real values of each readout, from the fixed-point network.
            x: raw samples.
        """
        wanted = gathered(expected, (one for some in blocks(x) for one in self.whole(some)))
        found = gathered(expected, self._by_tail(decoded, x))
        judged = [
            _with_classes(one, wanted[one.name], found[one.name])
            for one in expected
            if one.name in wanted and one.name in found
        ]
        if not judged:
            return None
        ladder = Ladder(judged)
        ladder.add("onnx", [wanted[one.name] for one in judged])
        names = [one.name for one in judged]
        notes = (_no_numbers(name, wanted[name], found[name]) for name in names)
        ladder.add(HOST, [found[name] for name in names], "; ".join(filter(None, notes)))
        before, rung = ladder.rungs
        kept = {key: value for key, value in before.items() if key not in ("n", "note")}
        return {**rung, "before": kept}

    def _by_tail(self, decoded: Mapping[NodeId, Rows], x: Rows) -> Iterator[Mapping[str, Array]]:
        """The outputs of the file for each sample, from the readouts."""
        for some, *values in together(x, *decoded.values()):
            yield from self.tail(dict(zip(decoded, values, strict=True)), some)


def tail_outputs(
    runner: HostRunner,
    asked: Mapping[str, OutputKind],
    input_shape: Shape,
    within: Container[str],
) -> OutputShapes:
    """The outputs of a file behind its tail, as far as their labels are checked.

    Integers are classes themselves, as many as there may be; those of a map of the input's size are
    of its pixels.

    Args:
        runner: of the tail.
        asked: kinds that the user stated.
        input_shape: of the network.
        within: outputs whose values lie within [0, 1].
    """
    shapes, kinds = _fixed_shapes(runner), dict[str, OutputKind]()
    for name in runner.integers & shapes.keys():
        if asked.get(name) is OutputKind.REGRESSION:
            continue
        single = prod(shapes[name]) == 1
        kinds[name] = OutputKind.CLASSES if single else OutputKind.SEGMENTATION
        shapes[name] = (MAX_CLASSES, *(() if single else shapes[name]))
    integers = {name for name in kinds if shapes[name][1:] != (input_shape[1:] or None)}
    return OutputShapes(shapes, {**kinds, **asked}, input_shape, within, integers)


def _fixed_shapes(runner: HostRunner) -> dict[str, Shape]:
    """The shape of a sample of each output that has the same one for all samples."""
    found = {}
    for name, shape in runner.shapes.items():
        if shape is not None and is_fixed(shape):
            sizes = [size for size in shape if size is not None]
            found[name] = tuple(sizes[1:] if sizes[:1] == [runner.tail.batch] else sizes) or (1,)
    return found


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


def _with_classes(expected: Expected, *values: Rows) -> Expected:
    """What is expected of integers, with as many classes as occur."""
    if values[0].dtype.kind != "i" or expected.kind is OutputKind.REGRESSION:
        return expected
    y, ends = expected.y, [_ends(some) for some in values]
    most = max(high for _, high in (*ends, *(() if y is None else (_ends(y),))))
    if y is not None and min(low for low, _ in ends) < 0:
        y = None  # they are no classes
    return replace(expected, shape=(most + 1, *expected.shape[1:]), y=y)


def _no_numbers(name: str, wanted: Rows, found: Rows) -> str:
    """What to say of an output that is NaN or infinite for some samples."""
    here, there = (
        sum(int((~np.isfinite(some).all(axis=1)).sum()) for some in blocks(rows))
        for rows in (found, wanted)
    )
    if not here and not there:
        return ""
    of = f"of {pluralize(len(found), 'sample')}"
    return f"'{name}' is no number for {here:,} {of}, and for {there:,} as the file computes it"


def _ends(rows: Rows) -> tuple[int, int]:
    """The smallest integer and the largest one, 0 among them."""
    low = min(int(some.min(initial=0)) for some in blocks(rows))
    return low, max(int(some.max(initial=0)) for some in blocks(rows))


def gathered(
    expected: Sequence[Expected], samples: Iterable[Mapping[str, Array]]
) -> dict[str, Rows]:
    """The values of outputs for all samples, of those that have the expected size."""
    forms = dict[str, tuple[int, type[np.number]]]()
    spools = {one.name: Spool(f"the values of '{one.name}'") for one in expected}
    sizes = {one.name: prod(one.shape) for one in expected}
    for outputs in samples:
        for name in [*spools]:
            value = outputs[name].reshape(-1)
            if name not in forms:
                whole = sizes[name] == MAX_CLASSES * value.size and value.dtype.kind in "iub"
                forms[name] = (value.size, np.int64) if whole else (sizes[name], np.float64)
            size, kind = forms[name]
            if value.size == size:
                spools[name].append(value[None].astype(kind))
            else:
                del spools[name]
    return {name: spool.rows() for name, spool in spools.items()}
