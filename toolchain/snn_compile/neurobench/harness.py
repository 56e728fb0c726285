"""A compiled network as a model of NeuroBench's harness, and the harness' metrics of it."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import (
    ActivationSparsity,
    ClassificationAccuracy,
    SynapticOperations,
)
from neurobench.models import TorchModel
from torch.utils.data import DataLoader, Dataset

from snn_compile.bundle import CompiledModel
from snn_compile.errors import Origin, UsageError
from snn_compile.neurobench.network import Messages, Network, Readout
from snn_compile.neurobench.table import Row, rows
from snn_compile.report import neurobench as report
from snn_compile.report.layers import Activity
from snn_compile.report.metrics import answers
from snn_compile.samples.arrays import Samples
from snn_compile.sim.batches import Advance, no_progress

BATCH = 32
"""Samples at once, at most. The harness keeps every message of a batch."""


class CompiledNetwork(TorchModel):
    """A compiled network as a model of NeuroBench: ``Benchmark(CompiledNetwork(compiled), ...)``.

    It takes samples (N, *sample shape) in the units of the trained network, and answers with the
    outputs of the bit-accurate simulator, (N, *output shape) float64. The harness is shown the
    integer weights and every message. Samples follow each other as in an evaluation: call
    ``net.restart()`` before they begin anew.
    """

    def __init__(self, compiled: CompiledModel) -> None:
        super().__init__(Network(compiled))
        self.add_activation_module(Messages)

    def activation_layers(self) -> list[dict[str, Any]]:
        """Populations that send messages; a readout is no activation."""
        found: list[dict[str, Any]] = super().activation_layers()
        return [entry for entry in found if not isinstance(entry["layer"], Readout)]


class _Labelled(Dataset[Any]):
    """Labelled samples, read a batch at a time."""

    def __init__(self, samples: Samples, labels: npt.NDArray[np.int64], advance: Advance) -> None:
        self.samples, self.labels, self.advance = samples, labels, advance

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        start, stop = indices[0], indices[-1] + 1
        self.advance(stop - start)
        x = np.ascontiguousarray(self.samples.x[start:stop])
        return torch.from_numpy(x), torch.from_numpy(self.labels[start:stop])


def measure(
    compiled: CompiledModel,
    samples: Samples,
    *,
    batch: int | None = None,
    advance: Advance = no_progress,
) -> list[Row]:
    """The metrics of labelled samples, by NeuroBench and by ours.

    Args:
        compiled: the network.
        samples: x (N, *sample shape), and classes y (N,) of the first output.
        batch: samples at once; by default as many as their messages leave room for. Metrics do not
            depend on it, but for the division of operations into effective MACs and ACs, which
            NeuroBench makes by the values in a batch.
        advance: progress callback, in samples.

    Raises:
        UsageError: the samples have no classes.
    """
    if samples.y is None:
        raise UsageError(
            "accuracy is that of classes, and the samples have none",
            code="missing-labels",
            origin=Origin(samples.file) if samples.file else None,
            hint="add y, one integer a sample",
        )
    answered: list[npt.NDArray[np.int64]] = []

    def classes(outputs: torch.Tensor) -> torch.Tensor:
        answered.append(answers(samples.expected[0], outputs.numpy()).astype(np.int64))
        return torch.from_numpy(answered[-1])

    model, labels = CompiledNetwork(compiled), np.asarray(samples.y)
    batch = batch or min(BATCH, compiled.samples_per_batch(record=True))
    loader = DataLoader(_Labelled(samples, labels, advance), batch, collate_fn=tuple)
    metrics = [ActivationSparsity, SynapticOperations, ClassificationAccuracy]
    with contextlib.redirect_stdout(io.StringIO()) as said, torch.inference_mode():
        harness = Benchmark(
            model, loader, [], [classes], [[Footprint, ConnectionSparsity], metrics]
        )
        found = harness.run(quiet=True)
    if "Error" in said.getvalue():  # of a metric; the harness goes on with 0
        raise RuntimeError(said.getvalue().strip())
    net = model.__net__()
    top1 = 100 * float((np.concatenate(answered) == labels).mean())
    activity = Activity(net.activity, net.n_samples)
    own = report.neurobench(compiled.program, activity, [{"stage": report.ANSWER, "top1": top1}])
    return rows(found, own, compiled.program)
