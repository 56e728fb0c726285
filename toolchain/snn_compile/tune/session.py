"""A training as a user sees it: on a device, with progress, and told to an observer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from snn_compile.errors import UsageError
from snn_compile.report.journal import Journal
from snn_compile.tune.method import Method, Trainee
from snn_compile.tune.options import TuneOptions
from snn_compile.tune.trainer import Epoch, Judge, Judged, Progress, Trainer, TrainingData


def device_of(name: str) -> str:
    """What torch calls the device that ``--device`` names.

    Raises:
        UsageError: cuda was asked for, and torch sees none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError(
            "torch sees no CUDA device",
            code="no-cuda",
            hint="use --device cpu, or install torch for your CUDA version",
        )
    return "cuda" if there and name != "cpu" else "cpu"


@contextmanager
def torch_settings(options: TuneOptions) -> Iterator[None]:
    """Seed and threads of torch, and its threads as they were afterwards."""
    before = torch.get_num_threads()
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def trained(
    network: Trainee,
    method: Method,
    data: TrainingData,
    judge: Judge,
    options: TuneOptions,
    checkpoint: Path | None,
    journal: Journal,
) -> Progress:
    """Train, and tell the journal's observer of every epoch; arguments as ``Trainer`` has them."""
    trainer = Trainer(network, method, data, judge, options, checkpoint)

    def told(epoch: Epoch) -> None:
        loss = "" if epoch.train_loss is None else f"loss {epoch.train_loss:.4f} · "
        on = "held out" if data.labels.ndim == 1 else "correlation"
        text = f"{loss}{on} {epoch.held_out_top1:.2f} %, loss {epoch.held_out_loss:.4f}"
        journal.observer.stage(f"epoch {epoch.epoch}", text)

    total = len(data) * options.epochs
    with journal.progress("tune", f"{len(data):,} samples", total) as advance:
        return trainer.run(told, advance)


def judged(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Judged:
    """Accuracy and mean cross entropy of scores (N, ...) for labels (N,)."""
    flat = scores.reshape(len(labels), -1).astype(np.float64)
    shifted = flat - flat.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -float(logs[np.arange(len(labels)), labels].mean())
    return Judged(100 * float((flat.argmax(axis=1) == labels).mean()), loss)


def facts(
    source: Path,
    options: TuneOptions,
    method: Method,
    progress: Progress,
    n_train: int,
    n_held_out: int,
) -> dict[str, Any]:
    """What the report says under ``tune``."""
    return {
        "method": options.method,
        "source": str(source),
        "options": options.as_dict(),
        "train": n_train,
        "held_out": n_held_out,
        "curve": [asdict(epoch) for epoch in progress.curve],
        "best_epoch": progress.best,
        **method.facts(),
    }
