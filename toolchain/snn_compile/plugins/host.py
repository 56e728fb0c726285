"""Execution of a host tail, and of a whole model file to compare it with, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError, raise_all
from snn_compile.extras import missing
from snn_compile.ir.graph import NodeId
from snn_compile.ir.host_tail import Feed, HostTail
from snn_compile.options import CompileOptions
from snn_compile.plugins import HostRuntime, KnowsProbabilities, RunsOnHost, frontend_for

TAIL = "tail.onnx"
"""File of the operators left to the host, in a compiled folder."""
ROWS = "rows/{}"
"""Name of the array with the number of rows of each sample, where it varies."""

Array = npt.NDArray[Any]


class _Nothing:
    """A model without operators."""

    name = "nothing"
    inputs: list[str] = []  # noqa: RUF012  (never changed)
    shapes: list[tuple[int | None, ...] | None] = []  # noqa: RUF012
    integers: list[bool] = []  # noqa: RUF012

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        """No outputs."""
        del feeds
        return []


NOTHING = _Nothing()


def whole_on_chip(outputs: Mapping[str, tuple[NodeId, tuple[int, ...]]]) -> HostTail:
    """The tail of a network that has none: its readouts are the outputs of the file.

    Args:
        outputs: id and shape of a sample of each readout, by name in the file.
    """
    feeds = [Feed(name, node, (1, *shape), "float32") for name, (node, shape) in outputs.items()]
    return HostTail(b"", tuple(feeds), tuple(outputs), (), (), 1, cut=False)


@dataclass(frozen=True, eq=False)
class HostRunner:
    """A tail, ready to run.

    Attributes:
        tail: what it computes.
        runtime: computes it.
    """

    tail: HostTail
    runtime: HostRuntime
    _forms: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """The type of each output, and the shape of its rows, as the first sample has them."""

    @staticmethod
    def of(tail: HostTail) -> HostRunner:
        """The tail in the runtime of its format.

        Raises:
            UsageError: the runtime is not installed.
            ModelError: the tail is not what this tool writes.
        """
        if not tail.operators:
            return HostRunner(tail, NOTHING)
        frontend = frontend_for(Path(TAIL))
        runtime = frontend.tail_runtime(tail) if isinstance(frontend, RunsOnHost) else None
        if runtime is None:
            raise_all(missing("onnxruntime", "onnxruntime", "what is left to the host needs"))
            raise TypeError("the frontend of ONNX files runs no tails")
        return HostRunner(tail, runtime)

    def __call__(self, decoded: Mapping[NodeId, Array], x: Array) -> Iterator[dict[str, Array]]:
        """The file's outputs for each sample, by name, as the file has them for a batch of one.

        Args:
            decoded: (N, *shape) real values of each readout.
            x: raw samples; of several inputs, their values one after another.
        """
        tail = self.tail
        for k in range(len(x)):
            given = sample_feeds(tail, x[k])
            values = {
                feed.tensor: given[feed.tensor]
                if feed.output is None
                else fed(feed, decoded[feed.output][k])
                for feed in tail.feeds
            }
            found = self.runtime({name: values[name] for name in self.runtime.inputs})
            computed = iter(zip(found, self.runtime.shapes, strict=True))
            yield {
                name: _one(name, values[name], values[name].shape, tail.batch)
                if name in values
                else _one(name, *next(computed), tail.batch)
                for name in tail.outputs
            }

    def rows(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """One sample's outputs as rows of arrays for all samples.

        Where the number of rows varies from sample to sample, ``rows/NAME`` has it. The axis along
        which it varies is then the first.

        Raises:
            UsageError: they fit no array with the rows of the samples before.
        """
        shapes = self.shapes
        arrays: dict[str, Array] = {}
        for name, value in outputs.items():
            shape = shapes[name]
            if is_fixed(shape):
                arrays[name] = value if _is_batch(shape, self.tail.batch) else value[None]
            else:
                arrays[name] = rows = _as_rows(value, shape)
                arrays[ROWS.format(name)] = np.array([len(rows)])
        for name, rows in arrays.items():
            before = self._forms.setdefault(name, (rows.dtype, *rows.shape[1:]))
            if before != (rows.dtype, *rows.shape[1:]):
                raise UsageError(
                    f"the output '{name}' varies along several axes: its rows of shape"
                    f" {list(rows.shape[1:])} do not fit those of shape {list(before[1:])} of other"
                    " samples",
                    code="host-runtime",
                    hint="choose other outputs with --outputs, or leave out --host-tail",
                )
        return arrays

    @property
    def integers(self) -> frozenset[str]:
        """The outputs that hold integers."""
        known = {feed.tensor for feed in self.tail.feeds}
        computed = (name for name in self.tail.outputs if name not in known)
        pairs = zip(computed, self.runtime.integers, strict=True)
        return frozenset(name for name, whole in pairs if whole)

    @property
    def probabilities(self) -> frozenset[str]:
        """The outputs that a last operator keeps within [0, 1], as far as the runtime knows."""
        if not isinstance(self.runtime, KnowsProbabilities):
            return frozenset()
        known = {feed.tensor for feed in self.tail.feeds}
        computed = (name for name in self.tail.outputs if name not in known)
        pairs = zip(computed, self.runtime.probabilities, strict=True)
        return frozenset(name for name, within in pairs if within)

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...] | None]:
        """The shape of each output, with the batch and with None for sizes that vary."""
        known = {feed.tensor: feed.shape for feed in self.tail.feeds}
        computed = iter(self.runtime.shapes)
        return {
            name: known[name] if name in known else next(computed) for name in self.tail.outputs
        }


@dataclass(frozen=True, eq=False)
class WholeRunner:
    """A model file, ready to run.

    Attributes:
        tail: what is known about its input and outputs.
        runtime: computes it.
    """

    tail: HostTail
    runtime: HostRuntime

    @staticmethod
    def of(path: Path, options: CompileOptions, tail: HostTail) -> WholeRunner | None:
        """The file in the runtime of its format; None if that is not installed."""
        frontend = frontend_for(path)
        runtime = (
            frontend.whole_runtime(path, options) if isinstance(frontend, RunsOnHost) else None
        )
        return None if runtime is None else WholeRunner(tail, runtime)

    def __call__(self, x: Array) -> Iterator[dict[str, Array]]:
        """The file's outputs for each raw sample, by name, as for a batch of one."""
        tail = self.tail
        for sample in x:
            found = self.runtime(sample_feeds(tail, sample))
            named = zip(tail.outputs, found, self.runtime.shapes, strict=True)
            yield {name: _one(name, value, shape, tail.batch) for name, value, shape in named}


def sample_feeds(tail: HostTail, sample: Array) -> dict[str, Array]:
    """The network's own inputs as the file takes them, from a raw sample with all their values."""
    row, start, feeds = sample.reshape(-1), 0, {}
    for entry in tail.entries:
        shape = [n for axis, n in enumerate(entry.shape) if axis != entry.axis]
        size = prod(shape)
        value = row[start : start + size].reshape(shape)
        start += size
        if entry.mean or entry.scale:
            channels = (-1, *(1 for _ in shape[1:]))
            mean, scale = entry.mean or (0.0,), entry.scale or (1.0,)
            value = (value - np.reshape(mean, channels)) / np.reshape(scale, channels)
        feeds[entry.tensor] = fed(entry, value)
    return feeds


def fed(feed: Feed, value: Array) -> Array:
    """One sample's value in the shape that the file states, as often as its batch is long."""
    value = value.astype(feed.dtype)
    copies = prod(feed.shape) // value.size
    if copies == 1 or feed.axis is None:
        return value.reshape(feed.shape)
    rest = [n for axis, n in enumerate(feed.shape) if axis != feed.axis]
    return np.repeat(np.expand_dims(value.reshape(rest), feed.axis), copies, feed.axis)


def is_fixed(shape: tuple[int | None, ...] | None) -> bool:
    """Whether all sizes are known."""
    return shape is not None and None not in shape


def _as_rows(value: Array, shape: tuple[int | None, ...] | None) -> Array:
    """A value of one sample with the first axis along which its shape varies as axis 0."""
    axis = shape.index(None) if shape is not None else 0
    if axis >= value.ndim:
        return value.reshape(-1)
    if axis > 0 and len(value) == 1:
        value, axis = value[0], axis - 1  # a batch of one
    return np.moveaxis(value, axis, 0)


def _is_batch(shape: tuple[int | None, ...] | None, batch: int) -> bool:
    return bool(shape) and shape is not None and shape[0] == batch


def _one(name: str, value: Array, shape: tuple[int | None, ...] | None, batch: int) -> Array:
    """The value of the first of several equal samples.

    Raises:
        UsageError: the samples do not lie along axis 0.
    """
    if batch == 1:
        return value
    if not (value.ndim and len(value) == batch and (not shape or shape[0] in (None, batch))):
        raise UsageError(
            f"the output '{name}' of shape {list(value.shape)} does not hold one entry for each of"
            f" the {batch} samples that the file fixes",
            code="host-runtime",
            hint="export the model with a batch of one",
        )
    return value[:1]
