"""The options of tuning, as one frozen dataclass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, get_args

from snn_compile.errors import CompileError
from snn_compile.options.declared import DeclaredOptions, option
from snn_compile.options.kinds import choice, number, switch, whole_number
from snn_compile.tune.augment import KIND as AUGMENT

Method = Literal["psg", "na", "normad", "qcfs"]
Surrogate = Literal["rectangle", "triangle", "sigmoid", "arctangent"]
PdaLoss = Literal["penalty", "divergence"]
Schedule = Literal["cosine", "linear", "steps", "constant"]
Device = Literal["auto", "cpu", "cuda"]
METHODS: tuple[str, ...] = get_args(Method)
SURROGATES: tuple[str, ...] = get_args(Surrogate)

WIDEST = 2.0
"""Widest surrogate, in thresholds."""

_TRAINING = "Training"
_PSG = {"method": ("psg",)}
_TRAINS = {"method": ("na", "normad")}


def _is_width(width: float) -> bool:
    return 0 < width <= WIDEST


@dataclass(frozen=True, kw_only=True)
class TuneOptions(DeclaredOptions):
    """The options of ``tune``."""

    method: Method = option(
        "psg",
        choice(Method),
        "Training method: surrogate gradients through time (psg); spike trains one flip away (na);"
        " spike times, by the deviation of potentials (normad); or the float network with quantized"
        " activations, before conversion (qcfs).",
        _TRAINING,
    )
    epochs: int = option(
        10, whole_number(1), "Maximal number of passes over the training data.", _TRAINING
    )
    batch_size: int = option(64, whole_number(1), "Samples per optimizer step.", _TRAINING)
    learning_rate: float | None = option(
        None,
        number("R", "more than 0 and less than 1", lambda rate: 0 < rate < 1),
        "Change of a parameter per step, relative to the typical size of its kind.",
        _TRAINING,
        shown="0.002, from scratch 0.01",
    )
    schedule: Schedule = option(
        "cosine",
        choice(Schedule),
        "Decay of the learning rate over the epochs: to 0 along a cosine or a line, to a tenth"
        " after each third (steps), or none (constant).",
        _TRAINING,
    )
    warm_up: float = option(
        0.0,
        number("SHARE", "0 or more and less than 1", lambda share: 0 <= share < 1),
        "Share of the training in which the learning rate rises to its value.",
        _TRAINING,
    )
    augment: tuple[str, ...] = option(
        (),
        AUGMENT,
        "Random changes of the training samples, anew in each epoch: shifts by up to some"
        " positions, flips of the last axis, Gaussian noise.",
        _TRAINING,
    )
    average: float | None = option(
        None,
        number("DECAY", "0 or more and less than 1", lambda decay: 0 <= decay < 1),
        "Decay per step of the running average of the parameters, which is evaluated and kept; 0:"
        " the parameters of the last step.",
        _TRAINING,
        shown="0.99, for spike trains 0",
    )
    hold_out: float = option(
        0.1,
        number("SHARE", "a share between 0 and 1", lambda share: 0 < share < 1),
        "Share of the training data held out to measure progress.",
        _TRAINING,
    )
    patience: int = option(
        5,
        whole_number(0),
        "Epochs without improvement before training stops; 0: no limit.",
        _TRAINING,
    )
    surrogate: Surrogate = option(
        "triangle", choice(Surrogate), "Shape of the surrogate gradient.", _TRAINING, _PSG
    )
    width: float | None = option(
        None,
        number("W", f"more than 0, at most {WIDEST:g} thresholds", _is_width),
        "Initial width of the surrogate gradient, in thresholds.",
        _TRAINING,
        _PSG,
        shown="0.5, from scratch 1",
    )
    learn_width: bool = option(
        True,
        switch("--learn-width/--fixed-width"),
        "Learn a width per layer, in the first half of the epochs, or keep it fixed.",
        _TRAINING,
        _PSG,
        shown="--learn-width",
    )
    smallest_width: float = option(
        0.2,
        number("W", f"0 to {WIDEST:g} thresholds", _is_width),
        "Smallest learned width (psg), or smallest distance in a quotient (na).",
        _TRAINING,
        {"method": ("psg", "na")},
    )
    pda: float = option(
        0.0,
        number("L", "0 or more", lambda weight: weight >= 0),
        "Weight of the loss that adjusts the distribution of potentials; try 0.01 first.",
        _TRAINING,
        _PSG,
    )
    width_rate: float = option(
        0.1,
        number("R", "more than 0", lambda rate: rate > 0),
        "Learning rate of the widths, relative to that of the weights.",
        _TRAINING,
        _PSG,
    )
    pda_loss: PdaLoss = option(
        "penalty",
        choice(PdaLoss),
        "What --pda adds: a penalty of moments and of potentials without gradient, or the symmetric"
        " divergence of the potentials' distribution from a normal one.",
        _TRAINING,
        _PSG,
    )
    rescale_hidden: bool = option(
        False,
        switch("--rescale-hidden/--plain-hidden"),
        "Bring the gradients of each layer towards the size of the last one's.",
        _TRAINING,
        {"method": ("na",)},
        shown="--plain-hidden",
    )
    distill: float = option(
        0.5,
        number("SHARE", "a share from 0 to 1", lambda share: 0 <= share <= 1),
        "Share of the distillation loss, where the float network is available.",
        _TRAINING,
    )
    spike_tau: float = option(
        4.0,
        number("STEPS", "more than 1 step", lambda steps: steps > 1),
        "Time constant of the filter applied to spike trains before comparison.",
        _TRAINING,
        _TRAINS,
    )
    from_scratch: bool = option(
        False,
        switch("--from-scratch"),
        "Start from random weights.",
        _TRAINING,
    )
    device: Device = option("auto", choice(Device), "Device of torch.", _TRAINING)
    threads: int = option(
        0,
        whole_number(0),
        "Threads of torch on the CPU; 0: all. Results are reproducible only for the same number.",
        _TRAINING,
    )
    seeds: int = option(
        1,
        whole_number(1),
        "Trainings, with this many seeds in a row; the best on the held-out samples is kept, and"
        " the report has all.",
        _TRAINING,
    )
    seed: int = option(
        0, whole_number(0), "Seed of the split, the order and the random weights.", ""
    )

    def contradictions(self) -> Iterable[tuple[tuple[str, ...], CompileError]]:
        """Random weights with a method that starts from the float network."""
        if self.method == "qcfs" and self.from_scratch:
            yield ("method", "from_scratch"), self.refusal("from_scratch", "it with other methods")

    @property
    def rate(self) -> float:
        """The learning rate in effect."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.01 if self.from_scratch else 0.002

    @property
    def first_width(self) -> float:
        """The width in effect when the training begins."""
        # In a trained network potentials lie where they should: the neurons nearest to a spike
        # carry most information. Random weights need a wider window.
        width = self.width or (1.0 if self.from_scratch else 0.5)
        return max(width, self.smallest_width) if self.learn_width else width

    def as_dict(self) -> dict[str, Any]:
        """Every option by name, for the report."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


class TuneKeywords(TypedDict, total=False):
    """The options as keywords of a call; a test holds them to the declarations."""

    method: Method
    epochs: int
    batch_size: int
    learning_rate: float | None
    schedule: Schedule
    warm_up: float
    augment: Sequence[str]
    average: float | None
    hold_out: float
    patience: int
    surrogate: Surrogate
    width: float | None
    learn_width: bool
    smallest_width: float
    pda: float
    width_rate: float
    pda_loss: PdaLoss
    rescale_hidden: bool
    distill: float
    spike_tau: float
    from_scratch: bool
    device: Device
    threads: int
    seeds: int
    seed: int
