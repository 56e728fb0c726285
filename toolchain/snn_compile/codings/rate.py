"""Rate coding: the activation is the share of time steps with a spike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from snn_compile.codings.coding import Coding, Correction
from snn_compile.ir.spiking import Float, IFNeurons, InputCoding, Neurons, Reset
from snn_compile.options import CompileOptions


@dataclass(frozen=True)
class Rate(Coding):
    """The activation is the share of time steps in which a binary spike is sent.

    All layers are at work at once; the input is a constant current.
    """

    name: ClassVar[str] = "rate"
    summary: ClassVar[str] = "spikes, all layers at work at once"
    relevant_options: ClassVar[tuple[str, ...]] = (
        *("timesteps", "reset", "burst", "initial_potential"),
        *("potential_calibration", "reset_calibration"),
    )
    input: ClassVar[InputCoding] = InputCoding.CURRENT
    stock_obstacle: ClassVar[str] = ""

    n_steps: int = 32
    reset: Reset = Reset.SUBTRACT
    initial_potential: float = 0.5
    burst: int = 1

    @classmethod
    def from_options(cls, options: CompileOptions) -> Self:
        """Windows of ``--timesteps``, neurons as ``--reset`` and ``--initial-potential`` say."""
        reset, initial = Reset(options.reset), options.initial_potential
        if initial is None:
            # Half a threshold makes the rounding of counts unbiased (Bu et al. 2022). A reset to
            # zero wipes it out with the first spike, and Loihi's own reset neuron starts at zero.
            initial = 0.0 if reset is Reset.ZERO else 0.5
        return cls(options.number("timesteps"), reset, initial, options.burst)

    @property
    def size(self) -> int:
        """Steps of a window, and the largest number of spikes in it."""
        return self.n_steps

    def correction(self, options: CompileOptions) -> Correction:
        """Resets to zero lose potential; else potentials are free unless the user fixed them."""
        if self.reset is Reset.ZERO:
            return Correction.RESETS
        fixed = options.initial_potential is not None
        return Correction.NOTHING if fixed else Correction.POTENTIALS

    @classmethod
    def with_narrow_payloads(cls, bits: int) -> str:
        """Bursts of fewer spikes."""
        return f"--burst {(1 << bits) - 1}"

    def describe(self) -> str:
        """Steps and reset."""
        return f"{super().describe()}, reset {self.reset.value}"

    def neurons(
        self, common_fields: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Integrate-and-fire neurons; a spike in every step stands for ``scale``."""
        return IFNeurons(
            **common_fields,
            threshold=scale,
            bias=bias,
            initial_potential=self.initial_potential,
            reset=self.reset,
            burst=self.burst,
            relay=relay,
        )
