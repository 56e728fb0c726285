"""What every neuron model answers: whoever wants to know something of a model asks here.

A model is one file in this folder: a frozen dataclass with the neuron's parameters for fields, its
equations in the docstring and an answer to every question of :class:`Population`. No floats in
what it computes. Notation in the equations: ``a`` is the summed synaptic input of one time step,
``>>`` an arithmetic shift and ``//`` a division, both rounding down.
``docs/explanation/arithmetic.md`` is the same text for people.

There are three families. Graded and clip-floor neurons answer one sum with one integer. Sync and
sigma-delta neurons are the same two, spread over time (``ir/schedule.py``). Integrate-and-fire
neurons, signed ones and leaky ones answer each time step as it comes.

``registry.py`` has the list of the models, and says what of a new one is missing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.graph import Node
from snn_compile.ir.models.answers import LIF, EngineForm, Interval, LavaProcess, Range, Variant
from snn_compile.ir.spiking import Float

STATE = QFormat(24)
"""Membrane potentials and synaptic currents of Loihi: 24 bits, signed."""
STOCK_SUM = QFormat(18)
"""What a potential of 24 bits holds in units of the weight: six bits are below it."""
FRACTION_BITS = 6
"""Bits of a Loihi neuron's current and potential below the unit of its weights."""
MIN_STATE_BITS = 8
"""Bits of the narrowest state that a device is suspected to have."""


class Population(Node):
    """Neurons or a readout in fixed point.

    A model's class name is its ``$type`` in sealed networks and its operator in text. Its fields
    may be tensors, formats, ``Overflow``, ``Reset``, whole numbers and truth values: files have a
    form for these (``registry.complaints``). Answers below that are not abstract follow from the
    fields, or say that a form is missing; only a model that differs states them.

    Attributes:
        bias: added to the summed input; broadcasts to the shape.
        state: format of what the neuron keeps.
        relay: whether the neurons only carry another population's values.
        overflow: what a state would do at the ends of its range; shown never to happen.
        conformance: name of the model in conformance files.
        trait: what a system without such neurons has none of; follows "it has no".
        sums_windows: whether it decides on what arrives in a whole window, or on all changes so
            far; else on what arrives at a step.
        window_reset: whether a state lasts from step to step and starts anew with each window, so
            that a device could forget to reset it.
        wraps: whether states wrap and saturate by definition: then nothing bounds the potential.
        counts: whether messages are counts, which stand for as many spikes.
        single_step: of readouts, whether the output is there at the first step of the window.
        bits_below_weights: bits that the states have below the unit of the weights.
        tables: parameters of which each channel has a row, (C, ...), whatever the shape of a map.
        trained: parameters that training changes; None where training has no such neurons.
    """

    bias: QTensor
    state: QFormat
    relay: bool = False
    overflow: Overflow = Overflow.SATURATE

    conformance: ClassVar[str]
    trait: ClassVar[str]
    sums_windows: ClassVar[bool]
    window_reset: ClassVar[bool]
    trained: ClassVar[tuple[str, ...] | None]
    wraps: ClassVar[bool] = False
    counts: ClassVar[bool] = False
    single_step: ClassVar[bool] = False
    bits_below_weights: ClassVar[int] = 0
    tables: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def respond(self, a: Int, n_steps: int) -> Int:
        """What the population sends (a readout: its potential) at each step of one window.

        This is the specification: a transcription of the equations of the class.

        Args:
            a: summed synaptic input, (*shape, T or 1, B), int32 or int64; an axis T of length 1
                stands for an input that is the same at every step. Where the model sums windows,
                the input is that of the window before, whose steps it has; for sigma-delta neurons
                the batch is a stream, frames in their order from the first one on.
            n_steps: length of the window.

        Returns:
            (*shape, n_steps, B) integers; int8 for spikes.
        """

    @abstractmethod
    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Bounds of the membrane potential per channel, before it is compared with a threshold.

        Args:
            drive: bounds of ``a + bias`` at every step, or of the sum that the model decides on.
            n_steps: length of the window.

        Raises:
            TypeError: the model ``wraps``.
        """

    def states(self, arriving: Interval, drive: Interval, n_steps: int) -> Interval:
        """Bounds of everything that is kept in the states' format, per channel.

        Args:
            arriving: bounds of ``a``, as far as the model looks.
            drive: the same with the bias.
            n_steps: length of the window.
        """
        del arriving
        return self.potential(drive, n_steps)

    @property
    def in_engine(self) -> EngineForm | str | None:
        """The population as the engine computes it, or why it does not, for people.

        None for a model that ``ir/schedule.py`` spreads over time: the engine computes the integer
        network instead.
        """
        return f"the engine has no {self.model} neurons"

    @property
    def in_lava(self) -> LavaProcess | str:
        """The emitted process that computes the population, or why there is none."""
        return f"no process for {self.model} neurons"

    @property
    def as_lif(self) -> LIF | str:
        """The population as Loihi's own neuron, or what this one has that the chip's lacks."""
        return no_lif(self)

    @property
    @abstractmethod
    def soft_reset(self) -> bool:
        """Whether a spike takes a threshold off the potential, which some chips pay for."""

    @property
    def threshold_steps(self) -> Float | None:
        """Steps of the potential in a threshold or a payload step, (C,); None where there is none.

        Reports show it, and training measures potentials in it.
        """
        threshold: QTensor | None = getattr(self, "threshold", None)
        if threshold is None:
            return None
        return (threshold.values << self.bits_below_weights).astype(np.float64)

    @abstractmethod
    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float | None:
        """The loss to the order in which a window's input arrives; None where that is not known.

        Args:
            counts: sum of what the neurons sent in each window, (N, *shape).
            arrived: gives the sum of what arrived in each, (N, *shape).
            n_steps: length of the window.

        Returns:
            Spikes more or less than for an even input, as a share of all spikes.
        """

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Ways in which a device can get these neurons wrong, the likelier ones first.

        A missing bias and states that are too narrow or wrap are known without.
        """
        return iter(())

    @property
    def model(self) -> str:
        """The model's name in messages."""
        return type(self).__name__.removesuffix("Neurons")

    @property
    def kind(self) -> str:
        """The kind of the neurons as target files name it, such as ``IF-subtract``."""
        return self.model

    @property
    def kept(self) -> tuple[str, ...]:
        """Parameters that training computes with and leaves as they are."""
        return ()

    def features(self) -> set[str]:
        """Words for what is particular about the parameters, for conformance vectors."""
        return set()

    def misfits(self) -> Iterator[str]:
        """What is wrong with the numbers of the parameters beyond their shapes."""
        return iter(())

    def variants(self) -> Iterator[Variant[Population]]:
        """Every way in which the population can be wrong, the likelier ones first."""
        silent = self.changed(bias=QTensor.of(np.zeros_like(self.bias.values)))
        yield Variant("no-bias", "the bias is missing", silent)
        yield from self.own_variants()
        yield from self.narrow_states()

    def narrow_states(self) -> Iterator[Variant[Population]]:
        """States that wrap, or that have fewer bits, from the widest to the narrowest."""
        if self.wraps:
            return
        for bits in range(self.state.bits, MIN_STATE_BITS - 1, -1):
            for overflow in (Overflow.WRAP, Overflow.SATURATE):
                if (bits, overflow) != (self.state.bits, self.overflow):
                    part = self.changed(state=QFormat(bits), overflow=overflow)
                    how = "wraps" if overflow is Overflow.WRAP else "saturates"
                    yield Variant(overflow.value, f"the state {how} at {bits} bits", part)


def no_lif(population: Population) -> str:
    """Why neurons are not Loihi's own, where their equations are others altogether."""
    return f"{population.model} neurons; the emulators have Loihi's own LIF"


class Neurons(Population):
    """A population that sends messages."""

    @property
    @abstractmethod
    def messages(self) -> Range:
        """Smallest and largest message."""

    @property
    def sends_sums(self) -> bool:
        """Whether the neurons pass on, unchanged, the sum that they decide on."""
        return False

    def total(self, n_steps: int) -> Range:
        """Smallest and largest sum of the messages of a window, or of all changes so far.

        For targets that sum windows. Elsewhere a target sees one message at a time.
        """
        del n_steps
        return self.messages


class OneSumNeurons(Neurons):
    """Neurons that decide on one sum: that of a step, of a window or of all changes so far."""

    window_reset = False

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Those of the sum."""
        del n_steps
        return drive

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float:
        """Nothing is sent before all has arrived."""
        del counts, arrived, n_steps
        return 0.0


class ChangeNeurons(OneSumNeurons):
    """Neurons that answer the sum of all that has ever arrived, and send what has changed of that.

    Sums of their messages are payloads of the model that they spread over the frames of a stream.
    The sum and what was sent in total both start at 0 and are never reset.
    """

    sums_windows = True
    in_engine = None

    @property
    @abstractmethod
    def payloads(self) -> Range:
        """Smallest and largest payload."""

    @abstractmethod
    def payload_of(self, sums: Int) -> Int:
        """The payloads for sums of the input, before the bias, of the same shape."""

    @property
    def messages(self) -> Range:
        """Those from one end of the payloads to the other."""
        low, high = self.payloads
        return low - high, high - low

    def total(self, n_steps: int) -> Range:
        """What was sent in total is a payload."""
        del n_steps
        return self.payloads

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        del n_steps  # one a frame
        return np.diff(self.payload_of(a.cumsum(axis=-1, dtype=np.int64)), axis=-1, prepend=0)
