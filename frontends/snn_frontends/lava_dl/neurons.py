"""The neurons of a layer in a ``.net`` file.

What each field means was found in lava-dl's reader (``netx/hdf5.py``), where it has one, and by
comparison with the records of PilotNet: ``docs/how-to/bring-a-net-file.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_compile.errors import CompileError, Origin, UnsupportedError, raise_all
from snn_compile.ir.fixedpoint import Int
from snn_frontends.lava_dl.fields import Fields

SPIKING, DELTA = ("CUBA", "LOIHI"), ("SDNN",)
NO_MEMORY = 4096
"""A decay that leaves nothing."""
DECAY_BITS = 12
THRESHOLD_BITS = 6
"""Bits of ``theta``, where a file states it, below the unit of ``vThMant``."""
STATE_BITS = 6
"""Bits of sigma-delta states below their messages: lava-dl's state_exp."""
SPIKE_BITS = 6
"""Bits of sigma-delta messages below the unit of the file's activations: lava-dl's spike_exp."""
NEUTRAL = {
    "wgtExp": (0, "its reader ignores a weight exponent, and the chip does not"),
    "weight_exp": (0, "its reader ignores the exponent of a norm, and its training does not"),
    "gradedSpike": (0, "its reader makes them binary, and its training does not"),
    "refDelay": (1, "Lava's LIF has no refractory time in fixed point"),
}
"""Fields with one value that has no effect; others were read differently by different tools."""
OF_TRAINING = ("tauRho", "scaleRho", "messageBits")
"""Fields without effect on integers."""


@dataclass(frozen=True, eq=False)
class Leaky:
    """Loihi's own neurons.

    Attributes:
        threshold: vThMant, in units of the weight; a spike is beyond it. One number, or one for
            each channel or neuron.
        current_kept: 4096ths of the current that a step leaves.
        voltage_kept: the same of the potential.
    """

    threshold: Int
    current_kept: int
    voltage_kept: int

    @property
    def sums(self) -> bool:
        """Whether the potential is the sum of all input, if nothing fires."""
        return {self.current_kept, self.voltage_kept} == {0, NO_MEMORY}

    @property
    def current_decay(self) -> int:
        """du, 0 to 4095."""
        return min(max(NO_MEMORY - self.current_kept - 1, 0), NO_MEMORY - 1)

    @property
    def voltage_decay(self) -> int:
        """dv, 0 to 4095."""
        return min(NO_MEMORY - self.voltage_kept, NO_MEMORY - 1)

    def unusual(self, origin: Origin) -> list[CompileError]:
        """Complaints about decays that the chip has no register for."""
        most = NO_MEMORY - 1
        found = [
            ("iDecay", self.current_kept, self.current_kept > most),
            ("vDecay", self.voltage_kept, self.voltage_kept < 1),
        ]
        return [
            UnsupportedError(
                f"{name} {NO_MEMORY - kept} has no register of {DECAY_BITS} bits",
                code="net-neuron",
                origin=origin,
                hint=f"train with iDecay from 1 to {NO_MEMORY} and vDecay from 0 to {most}",
            )
            for name, kept, is_unusual in found
            if is_unusual
        ]


INTEGRATOR = Leaky(np.array([1 << 17]), NO_MEMORY, 0)
"""What lava-dl's reader makes of a dense layer without neurons: a sum that never fires."""


@dataclass(frozen=True)
class SigmaDelta:
    """Sigma-delta neurons.

    Attributes:
        threshold: vThMant; changes below it wait.
        outputs_sum: whether they send the sum of their input, with every step.
    """

    threshold: int
    outputs_sum: bool


Neuron = Leaky | SigmaDelta


def neuron_of(fields: Fields) -> Neuron:
    """The neurons of a group.

    Raises:
        ModelError: a field is missing or impossible.
        UnsupportedError: there are no such neurons here (``CompileErrors`` if several complaints).
    """
    kind = fields.text("type")
    if kind not in (*SPIKING, *DELTA):
        raise UnsupportedError(
            f"there are no neurons of type {kind[:40]} here",
            code="net-neuron",
            origin=fields.origin,
            hint=f"train with {', '.join(SPIKING)} or {DELTA[0]} neurons",
        )
    neuron: Neuron = _leaky(fields) if kind in SPIKING else _sigma_delta(fields)
    for name in OF_TRAINING:
        fields.read.add(name)
    raise_all([*_not_neutral(fields), *fields.unknown()])
    return neuron


def _leaky(fields: Fields) -> Leaky:
    current, voltage = fields.integer("iDecay"), fields.integer("vDecay")
    threshold = np.atleast_1d(fields.integers("vThMant"))
    least = int(threshold.min())
    if least < 0 or not (0 <= current <= NO_MEMORY and 0 <= voltage <= NO_MEMORY):
        raise fields.invalid(
            f"vThMant {least}, iDecay {current}, vDecay {voltage}: a threshold is 0 or more and"
            f" a decay 0 to {NO_MEMORY}"
        )
    theta = fields.integer("theta", least << THRESHOLD_BITS)
    never = least >= (1 << 17) - 1  # an output that only integrates keeps its theta
    if theta != least << THRESHOLD_BITS and not never:
        raise fields.invalid(
            f"its theta {theta} is not vThMant {least} times {1 << THRESHOLD_BITS}"
        )
    return Leaky(threshold, NO_MEMORY - current, NO_MEMORY - voltage)


def _sigma_delta(fields: Fields) -> SigmaDelta:
    activation, threshold = fields.text("activation", "relu"), fields.integer("vThMant")
    if activation != "relu":
        raise UnsupportedError(
            f"sigma-delta neurons with the activation {activation[:40]}; lava-dl's reader makes"
            " rectifiers of all of them",
            code="net-neuron",
            origin=fields.origin,
            hint="train with activation relu",
        )
    if threshold < 0:
        raise fields.invalid(f"its vThMant is {threshold}")
    given = "sigma_output" in fields
    if given and not fields.integer("sigma_output"):
        # lava-dl's reader asks only whether the field is there.
        raise UnsupportedError(
            "its sigma_output is false; lava-dl's reader takes it for true",
            code="net-field",
            origin=fields.origin,
            hint="export it without the field",
        )
    return SigmaDelta(threshold, given)


def _not_neutral(fields: Fields) -> list[CompileError]:
    """Complaints about fields that lava-dl's own tools read differently."""
    complaints: list[CompileError] = []
    for name, (neutral, reason) in NEUTRAL.items():
        value = fields.integer(name, neutral)
        if value > neutral or value < 0:
            complaints.append(
                UnsupportedError(
                    f"{name} is {value}: {reason}",
                    code="net-field",
                    origin=fields.origin,
                    hint=f"train with {name} {neutral}",
                )
            )
    return complaints
