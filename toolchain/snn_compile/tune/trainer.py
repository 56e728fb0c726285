"""Training: epochs, steps, progress on held-out data, and checkpoints that resume bit for bit."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import cos, inf, pi
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_compile.errors import Origin, UsageError
from snn_compile.files.claims import exclusive_claim
from snn_compile.files.writing import replacing_file
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.tune import checkpoint
from snn_compile.tune.average import RunningAverage
from snn_compile.tune.method import Batch, Method, Trainee
from snn_compile.tune.options import TuneOptions

AVERAGE = 0.99
"""Decay of the running average, where labels are learned."""
WARM_UP_FROM = 1e-3
"""Share of the training that the warm-up is ahead by: the first step is not lost."""
STEP, N_STEPS = 0.1, 3
"""Factor of each step of the rate, and the number of equal parts between them."""
SHUFFLE, SPLIT = 1, 0
"""Streams of random numbers."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Labelled samples, encoded.

    Attributes:
        frames: (N, *maps) integers; of a float network, its samples.
        labels: (N,) int64; or spikes (N, T, outputs) that the outputs are to send, 0 or 1.
        teacher: (N, classes) outputs of the float network, or None.
    """

    frames: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    teacher: npt.NDArray[np.floating] | None = None

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> TrainingData:
        teacher = None if self.teacher is None else self.teacher[rows]
        return TrainingData(self.frames[rows], self.labels[rows], teacher)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def of_classes(self) -> bool:
        """Whether labels are learned, not spike trains."""
        return self.labels.ndim == 1

    def batches(self, epoch: int, size: int, seed: int) -> Iterator[tuple[int, TrainingData]]:
        """The samples in the order of an epoch, each batch with the number of its first one."""
        order = shuffled(len(self), epoch, seed)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield int(rows[0]), self[rows]

    def fingerprint(self) -> Iterator[bytes]:
        """What identifies the data."""
        for array in (self.frames, self.labels, self.teacher):
            if array is not None:
                yield np.ascontiguousarray(array).tobytes()


class TrainingSet(Protocol):
    """Training data by batches: ``TrainingData``, or samples that are prepared when they come."""

    def __len__(self) -> int: ...

    @property
    def of_classes(self) -> bool:
        """Whether labels are learned, not spike trains."""
        ...

    def batches(self, epoch: int, size: int, seed: int) -> Iterator[tuple[int, TrainingData]]:
        """The batches of an epoch, which depend on nothing else, as of ``TrainingData``."""
        ...

    def fingerprint(self) -> Iterator[bytes]:
        """What identifies the data."""
        ...


@dataclass(frozen=True)
class HeldOutAccuracy:
    """Held-out accuracy of a program, on the bit-accurate simulator.

    Attributes:
        top1: accuracy in percent.
        loss: mean cross entropy.
        merit: what selects the epoch to keep, larger is better: minus the calibrated loss
            (``session.evaluate_scores``) or, of spike trains, their correlation in percent.
    """

    top1: float
    loss: float
    merit: float


@dataclass(frozen=True)
class Epoch:
    """A point of the learning curve; epoch 0 is the network before training."""

    epoch: int
    train_loss: float | None
    held_out_loss: float
    held_out_top1: float
    merit: float


@dataclass
class Progress:
    """State of a training: the content of a checkpoint besides the parameters.

    Attributes:
        curve: one entry an epoch.
        best: number of the best epoch.
        merit: merit of that epoch.
        best_state: parameters of the network at that epoch.
    """

    curve: list[Epoch] = field(default_factory=list)
    best: int = 0
    merit: float = -inf
    best_state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return len(self.curve) - 1


Judge = Callable[[], HeldOutAccuracy]
OnEpoch = Callable[[Epoch], None]


class Trainer:
    """Trains a network by a method.

    All randomness depends only on the seed and the epoch number, so that a training resumed from a
    checkpoint takes the same steps as an uninterrupted one.

    Args:
        network: the network; its parameters are changed.
        method: computes the gradients.
        data: training data.
        judge: held-out accuracy of the current network.
        options: all options.
        checkpoint: the file that each epoch replaces, or None.
    """

    def __init__(
        self,
        network: Trainee,
        method: Method,
        data: TrainingSet,
        judge: Judge,
        options: TuneOptions,
        checkpoint: Path | None = None,
    ) -> None:
        self.network, self.method, self.data = network, method, data
        self.judge, self.options, self.checkpoint = judge, options, checkpoint
        self.identity = network.identity()
        self.parameters = network.parameters()
        self.optimizer = method.optimizer(self._groups())
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = RunningAverage(network.state(), self._decay())

    def _decay(self) -> float:
        """Decay of the running average."""
        if self.options.average is not None:
            return self.options.average
        return AVERAGE if self.data.of_classes else 0.0

    def _groups(self) -> list[dict[str, Any]]:
        """Adam moves every parameter by about its rate; so rates follow the parameters' sizes."""
        rate = self.options.rate
        groups: list[dict[str, Any]] = []
        for name, tensor in self.parameters.items():
            size = typical_size(tensor) if name.endswith(":weight") else 1.0
            groups.append({"params": [tensor], "lr": rate * size})
        own = list(self.method.parameters.values())
        return [*groups, {"params": own, "lr": rate * self.options.width_rate}] if own else groups

    def run(
        self, on_epoch: OnEpoch = lambda epoch: None, advance: Advance = no_progress
    ) -> Progress:
        """Train until the last epoch or early stopping, and leave the best network.

        Args:
            on_epoch: called for every completed epoch, those of a checkpoint included.
            advance: progress callback, in training samples.

        Raises:
            UsageError: the checkpoint belongs to another training, is damaged, or is in use by
                another process.
            CapacityError: potentials cannot be kept within their state.
        """
        if self.checkpoint is None:
            return self._run(on_epoch, advance)
        with exclusive_claim(self.checkpoint, make_parents=True):
            return self._run(on_epoch, advance)

    def _run(self, on_epoch: OnEpoch, advance: Advance) -> Progress:
        progress = self._resumed()
        for done in progress.curve:
            on_epoch(done)
        advance(progress.epoch * len(self.data))
        while progress.epoch < self.options.epochs and not self._stalled(progress):
            loss = self._epoch(progress.epoch, advance)
            self.network.confine()
            self._note(progress, loss)
            on_epoch(progress.curve[-1])
            self._save(progress)
        self.network.restore(progress.best_state)
        return progress

    def _stalled(self, progress: Progress) -> bool:
        patience = self.options.patience
        return patience > 0 and progress.epoch - progress.best >= patience

    def _epoch(self, epoch: int, advance: Advance) -> float:
        """One pass over the data; the mean loss."""
        self._begin(epoch)
        total, n = 0.0, 0
        for batch in self._batches(epoch):
            factor = schedule(self.options, (epoch + n / len(self.data)) / self.options.epochs)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            self.optimizer.zero_grad(set_to_none=True)
            total += len(batch.labels) * self.method.gradients(batch)
            self.optimizer.step()
            self.method.project()
            self.average.update(self.network.state())
            n += len(batch.labels)
            advance(len(batch.labels))
        return total / n

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        options = self.options
        for number, some in self.data.batches(epoch, options.batch_size, options.seed):
            yield self._batch(some, (1 + epoch) * len(self.data) + number)

    def _begin(self, epoch: int) -> None:
        """Begin an epoch of the method; a change by the method restarts the average."""
        before = self.network.state()
        self.method.begin(epoch, self._batches(epoch))
        now = self.network.state()
        if any(not torch.equal(before[name], tensor) for name, tensor in now.items()):
            self.average.restart(now)

    def _batch(self, some: TrainingData, first: int) -> Batch:
        """Samples on the device; ``first`` makes new Poisson draws in every epoch."""
        device = self.network.device
        return Batch(
            self.network.messages(some.frames, first),
            torch.tensor(some.labels, device=device),
            None if some.teacher is None else torch.tensor(some.teacher, device=device),
        )

    def _note(self, progress: Progress, loss: float | None) -> None:
        """Evaluate the averaged network, and keep it if it is the best so far."""
        last = self.network.state()
        self.network.restore(self.average.state)
        self.network.confine()
        judged = self.judge()
        epoch = Epoch(len(progress.curve), loss, judged.loss, judged.top1, judged.merit)
        progress.curve.append(epoch)
        if judged.merit > progress.merit:
            progress.best, progress.merit = epoch.epoch, judged.merit
            progress.best_state = self.network.state()
        self.network.restore(last)

    def _resumed(self) -> Progress:
        if self.checkpoint is None or not self.checkpoint.exists():
            progress = Progress()
            self._note(progress, None)
            return progress
        return self._load(self.checkpoint)

    @cached_property
    def _fingerprint(self) -> str:
        """Hash of everything that determines the course of the training."""
        digest = hashlib.sha256(repr((self.identity, asdict(self.options))).encode())
        for part in self.data.fingerprint():
            digest.update(part)
        return digest.hexdigest()

    def _save(self, progress: Progress) -> None:
        """Replace the checkpoint atomically."""
        if self.checkpoint is None:
            return
        content = {
            "schema": checkpoint.SCHEMA,
            "fingerprint": self._fingerprint,
            "parameters": self.network.state(),
            "method": {k: v.detach() for k, v in self.method.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state,
            "averaged": self.average.steps,
            "curve": [asdict(epoch) for epoch in progress.curve],
            "best": progress.best,
            "merit": progress.merit,
            "best_state": progress.best_state,
        }
        saved = io.BytesIO()  # torch's own writer hides disk errors
        torch.save(content, saved)
        with replacing_file(self.checkpoint) as stream:
            stream.write(saved.getbuffer())

    def _load(self, path: Path) -> Progress:
        content = checkpoint.read(path, self.network.device)
        if content["fingerprint"] != self._fingerprint:
            raise UsageError(
                "the checkpoint belongs to another network, other data or other options",
                code="other-checkpoint",
                origin=Origin(str(path)),
                hint="use its network, data and options, or remove it to start again",
            )
        method = self.method.parameters
        checkpoint.require_fit(path, content, self.network.state(), method, self.optimizer)
        self.network.restore(content["best_state"])
        self.network.confine()  # no change, unless the file was edited
        best_state = self.network.state()
        self.network.restore(content["parameters"])
        with torch.no_grad():
            for name, tensor in method.items():
                tensor.copy_(content["method"][name])
        self.optimizer.load_state_dict(content["optimizer"])
        self.average.restart(content["average"], content["averaged"])
        curve = [Epoch(**entry) for entry in content["curve"]]
        return Progress(curve, content["best"], content["merit"], best_state)


def schedule(options: TuneOptions, share: float) -> float:
    """Factor of the learning rate after a share of the training."""
    if share < options.warm_up:
        return (share + WARM_UP_FROM) / (options.warm_up + WARM_UP_FROM)
    rest = (share - options.warm_up) / (1 - options.warm_up)
    decays: dict[str, float] = {
        "cosine": (1 + cos(pi * rest)) / 2,
        "linear": 1 - rest,
        "steps": STEP ** int(rest * N_STEPS),
        "constant": 1.0,
    }
    return decays[options.schedule]


def shuffled(n: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    """The order of an epoch."""
    return np.random.default_rng([seed, SHUFFLE, epoch]).permutation(n)


def typical_size(weight: Tensor) -> float:
    """Root mean square of the weights of a typical neuron; 1 if all are 0.

    The median over output channels: in units of the threshold, the weights of a channel that hardly
    ever fires, and has a tiny threshold, may be a thousand times the others'.
    """
    sizes = weight.detach().double().reshape(len(weight), -1).square().mean(dim=1).sqrt()
    return float(sizes[sizes > 0].median()) if bool((sizes > 0).any()) else 1.0


def split(n: int, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to train on and rows to hold out: at least one of each.

    Raises:
        UsageError: there are fewer than two samples.
    """
    if n < 2:
        raise UsageError(
            "a single training sample cannot be split", code="empty-data", hint="use more samples"
        )
    order = np.random.default_rng([seed, SPLIT]).permutation(n)
    held = min(max(1, round(n * share)), n - 1)
    return np.sort(order[held:]), np.sort(order[:held])
