"""The interface of neuron models: all of their properties are queried here.

A model is one file in this folder: a frozen dataclass with the neuron's parameters for fields, its
equations in the docstring and a definition of every member of :class:`Population`. No floats in
its computations. Notation in the equations: ``a`` is the summed synaptic input of one time step,
``>>`` an arithmetic shift and ``//`` a division, both rounding down.
``docs/explanation/arithmetic.md`` is the same text for people.

There are three families. Graded and clip-floor neurons map one sum to one integer. Sync and
sigma-delta neurons are the same two, spread over time (``ir/schedule.py``). Integrate-and-fire
neurons, signed ones and leaky ones respond at every time step.

``registry.py`` has the list of the models, and reports missing members of a new one.
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
"""Range of a 24-bit potential in units of the weight: six bits are below it."""
FRACTION_BITS = 6
"""Bits of a Loihi neuron's current and potential below the unit of its weights."""
MIN_STATE_BITS = 8
"""Bits of the narrowest state hypothesized for a device."""


class Population(Node):
    """Neurons or a readout in fixed point.

    A model's class name is its ``$type`` in sealed networks and its operator in text. Its fields
    may be tensors, formats, ``Overflow``, ``Reset``, integers and booleans: files can represent
    these (``registry.complaints``). Members below that are not abstract follow from the fields, or
    report that a form is missing; a model overrides them only if it differs.

    Attributes:
        bias: added to the summed input; broadcasts to the shape.
        state: format of the neuron's states.
        relay: whether the neurons only carry another population's values.
        overflow: behaviour of a state at the ends of its range; proven never to occur.
        conformance: name of the model in conformance files.
        trait: the capability that a system without such neurons lacks; follows "it has no".
        sums_windows: whether it depends on the input of a whole window, or on all changes so far;
            else on the input of a step.
        window_reset: whether a state persists from step to step and is reset at each window, so
            that a device could miss the reset.
        wraps: whether states wrap and saturate by definition: then nothing bounds the potential.
        counts: whether messages are counts of spikes.
        single_step: of readouts, whether the output is available at the first step of the window.
        bits_below_weights: bits that the states have below the unit of the weights.
        tables: parameters with a row per channel, (C, ...), whatever the shape of a map.
        trained: parameters changed by training; None if training does not support the model.
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
        """Messages of the population (a readout: its potential) at each step of one window.

        This is the specification: a transcription of the equations of the class.

        Args:
            a: summed synaptic input, (*shape, T or 1, B), int32 or int64; an axis T of length 1
                represents a constant input. If the model sums windows, the input is that of the
                preceding window, with its steps; for sigma-delta neurons the batch is a stream of
                frames in order, from the first one on.
            n_steps: length of the window.

        Returns:
            (*shape, n_steps, B) integers; int8 for spikes.
        """

    @abstractmethod
    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Bounds of the membrane potential per channel, before it is compared with a threshold.

        Args:
            drive: bounds of ``a + bias`` at every step, or of the sum that the model depends on.
            n_steps: length of the window.

        Raises:
            TypeError: the model ``wraps``.
        """

    def states(self, arriving: Interval, drive: Interval, n_steps: int) -> Interval:
        """Bounds of all states, per channel.

        Args:
            arriving: bounds of ``a``, over the steps that the model sums.
            drive: the same, with the bias.
            n_steps: length of the window.
        """
        del arriving
        return self.potential(drive, n_steps)

    @property
    def in_engine(self) -> EngineForm | str | None:
        """The population's form in the engine, or the reason why there is none, for display.

        None for a model that ``ir/schedule.py`` spreads over time: the engine computes the integer
        network instead.
        """
        return f"the engine has no {self.model} neurons"

    @property
    def in_lava(self) -> LavaProcess | str:
        """The emitted process of the population, or the reason why there is none."""
        return f"no process for {self.model} neurons"

    @property
    def as_lif(self) -> LIF | str:
        """The population as Loihi's own neuron, or the property that the chip's neuron lacks."""
        return no_lif(self)

    @property
    @abstractmethod
    def soft_reset(self) -> bool:
        """Whether a spike subtracts the threshold, which costs resources on some chips."""

    @property
    def threshold_steps(self) -> Float | None:
        """Steps of the potential in a threshold or a payload step, (C,); None if undefined.

        Reports show it, and training measures potentials in it.
        """
        threshold: QTensor | None = getattr(self, "threshold", None)
        if threshold is None:
            return None
        return (threshold.values << self.bits_below_weights).astype(np.float64)

    @abstractmethod
    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float | None:
        """The loss due to the order of a window's input; None if unknown.

        Args:
            counts: sum of the neurons' messages in each window, (N, *shape).
            arrived: returns the sum of the input in each, (N, *shape).
            n_steps: length of the window.

        Returns:
            Spikes more or less than for an even input, as a share of all spikes.
        """

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Possible faults of these neurons on a device, the likelier ones first.

        A missing bias and states that are too narrow or wrap are covered separately.
        """
        return iter(())

    @property
    def model(self) -> str:
        """The model's name in messages."""
        return type(self).__name__.removesuffix("Neurons")

    @property
    def kind(self) -> str:
        """The kind of the neurons in target files, such as ``IF-subtract``."""
        return self.model

    @property
    def kept(self) -> tuple[str, ...]:
        """Parameters that training uses but does not change."""
        return ()

    def features(self) -> set[str]:
        """Features of the parameters, for conformance vectors."""
        return set()

    def misfits(self) -> Iterator[str]:
        """Defects of the parameters' values, apart from their shapes."""
        return iter(())

    def variants(self) -> Iterator[Variant[Population]]:
        """All possible faults of the population, the likelier ones first."""
        silent = self.changed(bias=QTensor.of(np.zeros_like(self.bias.values)))
        yield Variant("no-bias", "the bias is missing", silent)
        yield from self.own_variants()
        yield from self.narrow_states()

    def narrow_states(self) -> Iterator[Variant[Population]]:
        """States that wrap, or have fewer bits, from the widest to the narrowest."""
        if self.wraps:
            return
        for bits in range(self.state.bits, MIN_STATE_BITS - 1, -1):
            for overflow in (Overflow.WRAP, Overflow.SATURATE):
                if (bits, overflow) != (self.state.bits, self.overflow):
                    part = self.changed(state=QFormat(bits), overflow=overflow)
                    how = "wraps" if overflow is Overflow.WRAP else "saturates"
                    yield Variant(overflow.value, f"the state {how} at {bits} bits", part)


def no_lif(population: Population) -> str:
    """Why neurons are not Loihi's own, if their equations differ altogether."""
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

        For targets that sum windows. Other targets read one message at a time.
        """
        del n_steps
        return self.messages


class OneSumNeurons(Neurons):
    """Neurons that depend on one sum: of a step, of a window or of all changes so far."""

    window_reset = False

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Bounds of the sum."""
        del n_steps
        return drive

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float:
        """0: nothing is sent before the input is complete."""
        del counts, arrived, n_steps
        return 0.0


class ChangeNeurons(OneSumNeurons):
    """Neurons that respond to the sum of all input, and send changes of the response.

    Sums of their messages are payloads of the model that they spread over the frames of a stream.
    The sums of input and of messages both start at 0 and are never reset.
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
        """Differences between any two payloads."""
        low, high = self.payloads
        return low - high, high - low

    def total(self, n_steps: int) -> Range:
        """The sum of messages is a payload."""
        del n_steps
        return self.payloads

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        del n_steps  # one per frame
        return np.diff(self.payload_of(a.cumsum(axis=-1, dtype=np.int64)), axis=-1, prepend=0)
