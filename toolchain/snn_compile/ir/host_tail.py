"""The host tail: what follows a network's readouts and is computed by the host, not in spikes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.pluralize import pluralize

VALUE_BYTES = 4
"""Bytes of a potential, as the host reads it."""
FEW = 6
"""Most types of operators named in a sentence."""


@dataclass(frozen=True)
class Feed:
    """A tensor that the tail reads.

    Attributes:
        tensor: its name in the model file.
        output: the readout whose decoded values it has; None for an input of the network.
        shape: its shape in the file, with the batch.
        dtype: its numpy type.
        axis: the batch axis; None if there is none.
        mean: of the preprocessing of the network's own input, per channel or one for all.
        scale: likewise.
    """

    tensor: str
    output: NodeId | None
    shape: Shape
    dtype: str
    axis: int | None = 0
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()


@dataclass(frozen=True)
class HostTail:
    """Operators of a model file that the host computes from the readouts of the network.

    Attributes:
        model: these operators as a model file of their own.
        feeds: what it reads; an output of the file may be one of them.
        outputs: names of the file's outputs.
        operators: name and type of each operator.
        entries: the network's own inputs, in the order of their values in a sample.
        batch: samples that the file fixes at a time; the tail gets as many copies of one.
        cut: whether the network ends before outputs of the file; else these operators are a final
            Softmax or ArgMax alone, and the network's answer is what they read.
    """

    model: bytes
    feeds: tuple[Feed, ...]
    outputs: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    entries: tuple[Feed, ...]
    batch: int
    cut: bool

    @property
    def n_values(self) -> int:
        """Values of one sample that travel from the network to the host."""
        return sum(prod(f.shape) for f in self.feeds if f.output is not None) // self.batch

    @property
    def n_bytes(self) -> int:
        """Bytes of one sample that travel from the network to the host."""
        return VALUE_BYTES * self.n_values

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors where the network ends, without outputs of the file."""
        ends = [feed.tensor for feed in self.feeds if feed.output is not None]
        return tuple(name for name in ends if name not in self.outputs) or tuple(ends)

    @property
    def sentence(self) -> str:
        """What is left to the host, and what travels there."""
        counts = Counter(op for _, op in self.operators).most_common()
        kinds = [f"{op} x{n}" if n > 1 else op for op, n in counts[:FEW]]
        more = f" and {len(counts) - FEW} other types" if len(counts) > FEW else ""
        return (
            f"{pluralize(len(self.operators), 'operator')} after"
            f" {', '.join(repr(name) for name in self.tensors)} left to the host"
            f" ({', '.join(kinds)}{more}): {self.n_values:,} values, {self.n_bytes:,} bytes an"
            " inference"
        )
