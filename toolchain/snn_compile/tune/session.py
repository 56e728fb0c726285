"""A training run: on a device, with progress reports to an observer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from snn_compile.errors import UnsupportedError, UsageError
from snn_compile.pluralize import pluralize
from snn_compile.report.journal import Journal
from snn_compile.sim import engine
from snn_compile.tune.method import Method, Trainee
from snn_compile.tune.network import Network
from snn_compile.tune.neurons import Respond
from snn_compile.tune.options import TuneOptions
from snn_compile.tune.setting import Split
from snn_compile.tune.trainer import Epoch, HeldOutAccuracy, Judge, Progress, Trainer, TrainingSet

SHARPNESS = (-4.0, 4.0)
"""Powers of two by which scores are made sharper, to find the best temperature. Of a few held-out
samples that are all right, the best one would be infinite, and all epochs the same."""


def device_of(name: str) -> str:
    """The torch name of the device of ``--device``.

    Raises:
        UsageError: cuda is selected, and torch has no CUDA device.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError(
            "torch has no CUDA device",
            code="no-cuda",
            hint="use --device cpu, or install torch for your CUDA version",
        )
    return "cuda" if there and name != "cpu" else "cpu"


@contextmanager
def torch_settings(options: TuneOptions) -> Iterator[None]:
    """Threads of torch, and arithmetic that holds the integers: restored afterwards.

    Products in less than float32, which programs turn on for speed (TF32, bfloat16, autocast),
    would make the forward pass another network than the one that runs.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    tf32, fixed, benchmark = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        torch.set_float32_matmul_precision("highest")
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = tf32, fixed, benchmark


def require_exact(
    network: Network, respond: Respond, frames: npt.NDArray[Any], *, first: int = 0
) -> None:
    """Compare a forward pass on the device with the simulator before anything is trained.

    Raises:
        UnsupportedError: a potential of an output differs.
    """
    with torch.no_grad():
        found = network(network.messages(frames, first), respond).outputs
    expected = engine.run(network.tuned(), frames, first=first).outputs
    for name, potential in found.items():
        if not np.array_equal(potential.cpu().numpy(), expected[name].reshape(potential.shape)):
            raise UnsupportedError(
                f"the arithmetic of {network.device.type} differs from the simulator's at '{name}'",
                code="inexact-device",
                hint="use --device cpu",
            )


def train_network(
    network: Trainee,
    method: Method,
    data: TrainingSet,
    judge: Judge,
    options: TuneOptions,
    checkpoint: Path | None,
    journal: Journal,
) -> Progress:
    """Train, and report every epoch to the journal's observer; arguments as of ``Trainer``."""
    torch.manual_seed(options.seed)
    trainer = Trainer(network, method, data, judge, options, checkpoint)

    best = -inf

    def on_epoch(epoch: Epoch) -> None:
        nonlocal best
        is_best, best = epoch.merit > best, max(best, epoch.merit)
        text = described(epoch, of_classes=data.of_classes)
        journal.observer.stage(f"epoch {epoch.epoch}", f"{text}{' · best' if is_best else ''}")

    total = len(data) * options.epochs
    with journal.progress("tune", pluralize(len(data), "sample"), total) as advance:
        return trainer.run(on_epoch, advance)


def described(epoch: Epoch, *, of_classes: bool) -> str:
    """The figures of an epoch in a line, with the one that selects the epoch to keep."""
    train = "" if epoch.train_loss is None else f"loss {epoch.train_loss:.4f} · "
    if not of_classes:
        found = f"correlation {epoch.held_out_top1:.2f} %, loss {epoch.held_out_loss:.4f}"
        return train + found
    # The same loss as the training's, which is not the cross entropy where it is distilled.
    found = f"held out {epoch.held_out_top1:.2f} %, cross entropy {epoch.held_out_loss:.4f}"
    return f"{train}{found}, calibrated loss {-epoch.merit:.4f}"


def evaluate_scores(
    scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    teacher: npt.NDArray[np.floating] | None = None,
    distill: float = 0.0,
) -> HeldOutAccuracy:
    """Accuracy and mean cross entropy of scores for labels.

    The merit is that of training (``psg.classification``), negative, at the temperature that suits
    the scores best (Guo et al. 2017). The accuracy of a thousand samples differs between epochs
    by more than what there is to gain; the cross entropy as it is also follows how sure the network
    is of its answers; and the float network's outputs are less noisy a measure than labels.

    Args:
        scores: (N, ...).
        labels: (N,).
        teacher: (N, classes) outputs of the float network, or None.
        distill: share of the merit that compares with them.
    """
    flat = scores.reshape(len(labels), -1).astype(np.float64)
    shifted = flat - flat.max(axis=1, keepdims=True)
    right = np.eye(flat.shape[1])[labels]
    wanted = right if teacher is None else (1 - distill) * right + distill * softmax(teacher, 1)

    def loss(targets: npt.NDArray[np.floating], log_sharpness: float) -> float:
        sharper = shifted * np.exp2(log_sharpness)
        logs = sharper - np.log(np.exp(sharper).sum(axis=1, keepdims=True))
        return -float((targets * logs).sum(axis=1).mean())

    best = minimize_scalar(lambda sharpness: loss(wanted, sharpness), bounds=SHARPNESS)
    top1 = 100 * float((flat.argmax(axis=1) == labels).mean())
    return HeldOutAccuracy(top1, loss(right, 0.0), merit=-float(best.fun))


def facts(
    source: Path,
    options: TuneOptions,
    method: Method,
    progress: Progress,
    data: Split,
) -> dict[str, Any]:
    """The entry ``tune`` of the report."""
    return {
        "method": options.method,
        "source": str(source),
        "options": options.as_dict(),
        "train": len(data.train),
        "held_out": len(data.held_out),
        "held_out_of": data.of,
        "curve": [asdict(epoch) for epoch in progress.curve],
        "best_epoch": progress.best,
        **method.facts(),
    }
