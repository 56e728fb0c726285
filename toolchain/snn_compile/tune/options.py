"""What a user can choose about tuning, as one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from snn_compile.errors import CompileError, UsageError, raise_all

METHODS = ("psg", "na", "normad", "qcfs")
SURROGATES = ("rectangle", "triangle", "sigmoid", "arctangent")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TuneOptions:
    """The options of ``tune``.

    Attributes:
        method: psg (surrogate gradients through time), na (spike trains one flip away in place of
            a surrogate), normad (spike times, by the deviation of potentials) or qcfs (the trained
            network with quantized activations, before it is converted).
        epochs: passes over the training data, at most.
        batch_size: samples of one step of the optimizer.
        learning_rate: change of a parameter in one step, as a share of the typical size of its
            kind: of the root mean square of a group's weights, or of the threshold; None for
            0.002, or 0.01 from scratch.
        average: decay, in each step, of the running average of what is trained, which is what is
            judged and kept; 0: the last step's values. None for 0.99, or 0 where the targets are
            spike trains, which are learned by heart.
        hold_out: share of the training data on which progress is judged; never trained on.
        patience: epochs without a better result after which training stops; 0: never.
        surrogate: shape of the surrogate gradient (psg).
        width: of the surrogate at the start, in thresholds (psg); None for 0.5, or 1 from scratch.
        learn_width: whether each layer learns its width, for the first half of the epochs (psg).
        smallest_width: the least that a width can become (psg); the least distance from the
            threshold that is divided by (na).
        pda: weight of the loss that adjusts the distribution of potentials (psg).
        distill: share of the loss that compares with the float network's outputs in place of the
            labels; only where the float network is there.
        spike_tau: time constant, in steps, of the filter after which spike trains are compared,
            where the targets are spike trains (na, normad).
        from_scratch: whether to forget the compiled weights and train from random ones.
        device: cpu, cuda, or auto: cuda where torch sees one.
        threads: of torch on the CPU; 0: as many as there are.
        seed: of everything random.
    """

    method: str = "psg"
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float | None = None
    average: float | None = None
    hold_out: float = 0.1
    patience: int = 5
    surrogate: str = "triangle"
    width: float | None = None
    learn_width: bool = True
    smallest_width: float = 0.2
    pda: float = 0.0
    distill: float = 0.5
    spike_tau: float = 4.0
    from_scratch: bool = False
    device: str = "auto"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        raise_all(list(self._complaints()))

    def _complaints(self) -> list[CompileError]:
        found: list[CompileError] = []

        def require(holds: bool, name: str, allowed: str) -> None:
            if not holds:
                given = f"{name.replace('_', '-')} cannot be {getattr(self, name)!r}"
                found.append(UsageError(given, code="bad-option", hint=f"use {allowed}"))

        require(self.method in METHODS, "method", f"one of {', '.join(METHODS)}")
        require(self.surrogate in SURROGATES, "surrogate", f"one of {', '.join(SURROGATES)}")
        require(self.device in DEVICES, "device", f"one of {', '.join(DEVICES)}")
        require(self.epochs >= 1, "epochs", "1 or more")
        require(self.batch_size >= 1, "batch_size", "1 or more")
        trains_floats = self.method == "qcfs"
        require(not (trains_floats and self.from_scratch), "from_scratch", "it with other methods")
        require(0 < self.rate < 1, "learning_rate", "more than 0 and less than 1")
        require(0 <= (self.average or 0) < 1, "average", "0 or more and less than 1")
        require(0 < self.hold_out < 1, "hold_out", "a share between 0 and 1")
        require(self.patience >= 0, "patience", "0 or more")
        require(0 < self.smallest_width <= WIDEST, "smallest_width", f"0 to {WIDEST:g} thresholds")
        of_width = f"more than 0, at most {WIDEST:g} thresholds"
        require(self.width is None or 0 < self.width <= WIDEST, "width", of_width)
        require(self.pda >= 0, "pda", "0 or more")
        require(0 <= self.distill <= 1, "distill", "a share from 0 to 1")
        require(self.spike_tau > 1, "spike_tau", "more than 1 step")
        require(self.threads >= 0, "threads", "0 or more")
        require(self.seed >= 0, "seed", "0 or more")
        return found

    @property
    def rate(self) -> float:
        """The learning rate in effect."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.01 if self.from_scratch else 0.002

    @property
    def first_width(self) -> float:
        """The width in effect when the training begins."""
        # Potentials of a network that works lie where they should: of the neurons near a spike,
        # the nearest ones know best. Random weights need a window that sees more of them.
        width = self.width or (1.0 if self.from_scratch else 0.5)
        return max(width, self.smallest_width) if self.learn_width else width

    def as_dict(self) -> dict[str, Any]:
        """Every option by name, for the report."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


WIDEST = 2.0
"""Widest surrogate, in thresholds."""
