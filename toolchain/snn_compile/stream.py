"""A compiled network behind a sensor: one sample in, one answer out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError
from snn_compile.ir.encoding import Encoding, Float, OutputDecoding
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.samples.named import join_named
from snn_compile.sim.latency import Durations, Latency
from snn_compile.sim.reference import Run
from snn_compile.sim.session import Session

SampleLike = npt.ArrayLike | Mapping[str, npt.ArrayLike]
"""A sample of the only input, or of each input by its name; without an axis for a batch."""


@dataclass(frozen=True)
class Borders:
    """What lies between real numbers and the integers of a network.

    Attributes:
        encoding: of the inputs.
        decodings: of each output.
        names: of each output in the user's file.
        shapes: of a sample of each input, by its name.
    """

    encoding: Encoding
    decodings: Mapping[NodeId, OutputDecoding]
    names: Mapping[NodeId, str]
    shapes: Mapping[str, Shape]


@dataclass(frozen=True)
class Answer:
    """The answer to one sample.

    Attributes:
        run: the outputs as integers, (1, *shape).
        values: of each output in real numbers, (1, *shape) float64, in the order of the decodings.
    """

    run: Run
    values: list[Float]


class Stream:
    """A compiled network that answers one sample at a time (:meth:`CompiledModel.stream`).

    Its answers equal those of ``run`` on the same samples, bit for bit, unless state is kept. To be
    called from one thread at a time.

    >>> with compiled.stream() as stream:  # doctest: +SKIP
    ...     for answer in stream.answers(sensor):
    ...         print(answer.argmax())
    """

    def __init__(
        self, program: QuantizedGraph, borders: Borders, *, keep_state: bool, threads: int
    ) -> None:
        self._borders = borders
        self._durations = Durations()
        self._session = Session(program, keep_state=keep_state, threads=threads)
        self.answer(np.zeros(borders.encoding.shape))  # everything that is made once, is made now
        self.reset()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is to be closed; memory is freed with the stream."""

    def __call__(self, x: SampleLike) -> Any:
        """The outputs for one sample.

        Args:
            x: (*input shape) in the units that the trained network takes; of several inputs each
                by its name.

        Returns:
            (*output shape) float64; of several outputs one array for each, by its name in the
            user's file.

        Raises:
            UsageError: x has other shapes or other names, or is not finite.
        """
        values = self.answer(x).values
        if len(values) == 1:
            return values[0][0]
        names = self._borders.names.values()
        return {name: value[0] for name, value in zip(names, values, strict=True)}

    def answers(self, samples: Iterable[SampleLike]) -> Iterator[Any]:
        """The outputs for each sample, as soon as it is there; otherwise as a call."""
        return map(self, samples)

    def answer(self, x: SampleLike) -> Answer:
        """The outputs for one sample, as integers and as real numbers; otherwise as a call."""
        begun = time.perf_counter_ns()
        run = self._session(self._borders.encoding(self._sample(x)))
        values = [decode(run.outputs[name]) for name, decode in self._borders.decodings.items()]
        self._durations.add(time.perf_counter_ns() - begun, self._session.duration)
        return Answer(run, values)

    def reset(self) -> None:
        """Begin again: the next sample is the first one, neurons are at rest, no time is kept."""
        self._session.reset()
        self._durations = Durations()

    @property
    def latency(self) -> Latency:
        """Percentiles of the time of a call.

        Raises:
            UsageError: there was no call.
        """
        if not self._durations.count:
            raise UsageError(
                "no sample has been given yet",
                code="empty-data",
                hint="at least one sample is required",
            )
        return self._durations.latency()

    def _sample(self, x: SampleLike) -> npt.NDArray[Any]:
        """A sample of all inputs, (1, *shape)."""
        shape = self._borders.encoding.shape
        if isinstance(x, Mapping):
            rows = {name: np.asarray(part)[None] for name, part in x.items()}
            sample = join_named(rows, self._borders.shapes)[:]
        else:
            sample = np.asarray(x)[None]
        if sample.shape[1:] != shape or sample.dtype.kind not in "biuf":
            raise UsageError(
                f"a sample of the shape {sample.shape[1:]} and the type {sample.dtype}, but the"
                f" network takes numbers of the shape {shape}",
                code="wrong-shape",
                hint="one sample at a time, without an axis for a batch",
            )
        if sample.dtype.kind == "f" and not np.isfinite(sample).all():
            raise UsageError(
                f"sample {self._session.count} is not finite (NaN or infinity)",
                code="not-finite",
                hint="leave it out, or repair it",
            )
        return sample
