"""From a neuron of NIR to the discrete one that its producer simulates."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import nir
import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, Origin, UnsupportedError
from snn_compile.ir.graph import Shape, maps_shape
from snn_compile.ir.spiking import Reset
from snn_compile.numerics.functions import exp
from snn_compile.passes import Finding
from snn_compile.quantize.trained import decays
from snn_frontends.nir.conventions import OWN, Conventions

Float = npt.NDArray[np.float64]
DECAYS = (0, 4095)
TOLERANCE = FILE_TOLERANCE = 1e-4
"""Relative difference of two time constants that float32 files may show for one value."""


ENDLESS = ("tau", "r")
"""Parameters that are infinite in a leaky neuron without leak."""
DIVISORS = ("tau", "tau_mem", "tau_syn", "r", "w_in")
MIN_DIVISOR = 1e-30


@dataclass(frozen=True, eq=False)
class Model:
    """A discrete neuron: see ``ir.spiking.LIFNeurons`` for the equations.

    Attributes:
        gain: factor of incoming weights and bias; broadcasts to the shape.
        threshold, drop: (C,).
        initial: (C,), or (C, H, W) where it differs inside a channel.
        alpha, beta: decay factors of current and potential per step.
        reset: effect of a spike on the potential.
        strict: whether a potential that equals its threshold is silent.
    """

    gain: Float
    threshold: Float
    initial: Float
    drop: Float
    alpha: float
    beta: float
    reset: Reset
    strict: bool


@dataclass
class Reading:
    """Reads the neurons of one file.

    Attributes:
        conventions: those that the file leaves open.
        errors: all refusals.
        findings: all repairs and assumptions.
    """

    conventions: Conventions
    errors: list[CompileError]
    findings: list[Finding]

    def model(self, node: Any, shape: Shape, origin: Origin) -> Model | None:
        """The neuron, or None if it is refused.

        Args:
            node: IF, LIF or CubaLIF.
            shape: of its input.
            origin: of the node.
        """
        before = len(self.errors)
        self._check_numbers(node, origin)
        if len(self.errors) > before:
            return None
        self._check_levels(node, origin)
        alpha, beta, gain = self._dynamics(node, origin)
        threshold = self._per_channel(node.v_threshold, "v_threshold", shape, origin)
        if not (threshold > 0).all():
            self._refuse("thresholds must be above 0", "nir-threshold", origin)
        if len(self.errors) > before:
            return None
        self._check_decays(alpha, beta, origin)
        initial = np.zeros_like(threshold)
        drop = threshold
        if self.conventions.reset is Reset.SUBTRACT and self.conventions.producer == "snntorch":
            if self.conventions.reset_delay:
                # The potential leaks before the late reset takes the threshold away.
                drop = threshold / beta
            else:
                self._note(
                    "snnTorch's reset without delay subtracts once while a potential stays above"
                    " its threshold; here every spike subtracts",
                    "nir-assumed",
                    origin,
                )
        elif self.conventions.producer == OWN:
            threshold, initial = self._restored(node, threshold, shape, origin)
            drop = threshold
        if len(self.errors) > before:
            return None
        return Model(
            np.asarray(gain, np.float64),
            threshold,
            initial,
            drop,
            alpha,
            beta,
            self.conventions.reset,
            self.conventions.strict,
        )

    def _check_numbers(self, node: Any, origin: Origin) -> None:
        """Refuse NaN or infinite parameters, and time constants of 0."""
        for item in fields(node):
            value = getattr(node, item.name)
            if item.name in ("input_type", "output_type", "metadata"):
                continue
            numbers = np.asarray(value)
            endless = item.name in ENDLESS and isinstance(node, nir.LIF)
            if numbers.dtype.kind not in "iufb" or np.isnan(numbers).any():
                self._refuse(f"{item.name} is NaN", "not-finite", origin)
            elif not endless and np.isinf(numbers).any():
                self._refuse(f"{item.name} is infinite", "not-finite", origin)
            elif item.name in DIVISORS and (np.abs(numbers) < MIN_DIVISOR).any():
                self._refuse(f"{item.name} is 0", "not-finite", origin)

    def _check_levels(self, node: Any, origin: Origin) -> None:
        if np.any(getattr(node, "v_leak", 0) != 0):
            self._refuse(
                "the potential rests at v_leak, which is not 0",
                "nir-rest",
                origin,
                "subtract v_leak from v_threshold and v_reset, and set v_leak to 0",
            )
        if np.any(np.asarray(node.v_reset) != 0):
            self._refuse(
                "spikes reset the potential to v_reset, which is not 0",
                "nir-rest",
                origin,
                "train with a reset to 0 or by subtraction",
            )

    def _dynamics(self, node: Any, origin: Origin) -> tuple[float, float, Any]:
        """alpha, beta and the gain."""
        conventions = self.conventions
        if isinstance(node, nir.IF):
            if (node.r == 1).all() or conventions.producer == "norse":
                return 0.0, 1.0, 1.0
            return 0.0, 1.0, node.r * (conventions.dt or 1.0)
        if conventions.producer == OWN:
            self._refuse("our own export has no leaky neurons", "nir-neuron", origin)
            return 0.0, 1.0, 1.0
        if isinstance(node, nir.LIF):
            return self._leaky(node, origin)
        return self._current_based(node, origin)

    def _leaky(self, node: nir.LIF, origin: Origin) -> tuple[float, float, Any]:
        producer = self.conventions.producer
        if producer == "snntorch":
            # R = tau / dt: the file has both, whatever the unit of tau.
            return 0.0, self._uniform(1 - 1 / node.r, "beta", origin), 1.0
        if producer == "sinabs":
            if (np.asarray(node.r) != 1).any():
                self._refuse("r is not 1, and sinabs writes no other", "nir-neuron", origin)
            self._note_single_spikes("sinabs", origin)
            return 0.0, self._uniform(exp(-1 / node.tau), "tau", origin), 1.0
        if producer == "rockpool":
            self._note_single_spikes("Rockpool", origin)
            return 0.0, self._exponential(node.tau, node.r, "tau", origin), 1.0
        if np.isinf(node.tau).all() and np.isinf(node.r).all():
            return 0.0, 1.0, 1.0
        kept, share = self._kept(node.tau, "tau", origin)
        return 0.0, kept, node.r * share

    def _current_based(self, node: nir.CubaLIF, origin: Origin) -> tuple[float, float, Any]:
        if self.conventions.producer == "snntorch":
            if self.conventions.reset is Reset.ZERO and self.conventions.reset_delay:
                self._refuse(
                    "snnTorch's Synaptic with a late reset to zero loses the input of the step"
                    " after a spike; no neuron here does",
                    "nir-neuron",
                    origin,
                    "train with reset_delay=False, and set --nir-reset-delay off",
                )
            alpha = self._uniform(1 - 1 / node.w_in, "alpha", origin)
            return alpha, self._uniform(1 - 1 / node.r, "beta", origin), 1.0
        if self.conventions.producer == "rockpool":
            # Input is added before the current decays; the file's r is that of the membrane.
            self._note_single_spikes("Rockpool", origin)
            alpha = self._exponential(node.tau_syn, None, "tau_syn", origin)
            return alpha, self._exponential(node.tau_mem, node.r, "tau_mem", origin), alpha
        alpha, in_share = self._kept(node.tau_syn, "tau_syn", origin)
        beta, share = self._kept(node.tau_mem, "tau_mem", origin)
        if self.conventions.producer == "norse":
            return alpha, beta, node.r * share  # a spike adds its whole weight to the current
        return alpha, beta, node.w_in * in_share * node.r * share

    def _kept(self, tau: Any, name: str, origin: Origin) -> tuple[float, Float]:
        """Decay factor of a forward Euler step, and dt / tau."""
        dt = self.conventions.dt or 1.0
        tau = np.asarray(tau, np.float64)
        if (tau < dt).any() and self.conventions.producer == "norse":
            # Norse 1.1.0 writes dt / tau_inv where it means 1 / tau_inv.
            tau = tau / dt
            self._note(f"{name} was divided by dt: Norse writes it so", "nir-repaired", origin)
        if (tau < dt).any() or not (tau > 0).all():
            self._refuse(
                f"{name} is shorter than a time step, down to {tau.min():g} s with dt {dt:g} s",
                "nir-dt",
                origin,
                "check --nir-dt; files by Norse need --nir-producer norse",
            )
            return 0.0, np.ones(1)
        share = dt / tau
        return self._uniform(1 - share, name, origin), share

    def _exponential(self, tau: Any, r: Any, name: str, origin: Origin) -> float:
        """Rockpool's decay factor of a step; ``r`` of its files is tau / dt times that factor."""
        dt, tau = self.conventions.dt or 1.0, np.asarray(tau, np.float64)
        if not (tau > 0).all():
            self._refuse(f"{name} is not above 0", "nir-dt", origin)
            return 0.0
        kept = exp(-dt / tau)
        if r is not None and (np.abs(r - kept * tau / dt) > FILE_TOLERANCE * np.abs(r)).any():
            self._refuse(
                f"r is {np.min(r):.6g}, which Rockpool does not write for {name} {tau.min():g} s"
                f" and dt {dt:g} s",
                "nir-dt",
                origin,
                "check --nir-dt",
            )
        return self._uniform(kept, name, origin)

    def _note_single_spikes(self, producer: str, origin: Origin) -> None:
        self._note(
            f"{producer} sends several spikes a step by itself; here it is one at most",
            "nir-assumed",
            origin,
        )

    def _uniform(self, kept: Any, name: str, origin: Origin) -> float:
        """One decay for the population: the chip has one a core."""
        kept = np.asarray(kept, np.float64)
        if np.ptp(1 - kept) > TOLERANCE * np.abs(1 - kept).max():
            self._refuse(
                f"{name} differs between the neurons of one layer",
                "nir-uneven",
                origin,
                "train one for each layer",
            )
        return float(kept.flat[0])

    def _check_decays(self, alpha: float, beta: float, origin: Origin) -> None:
        if alpha == 0 and beta == 1:
            return
        low, high = DECAYS
        du, dv = decays(alpha, beta)
        for name, decay, kept in (("current", du, alpha), ("potential", dv, beta)):
            if not low <= decay <= high:
                self._refuse(
                    f"no 12-bit decay of {name} leaves {kept:.6g} after a step",
                    "nir-decay",
                    origin,
                )

    def _restored(
        self, node: Any, threshold: Float, shape: Shape, origin: Origin
    ) -> tuple[Float, Float]:
        """Threshold and initial potential, without the offset of our export for > and >=."""
        half = 0.5 if self.conventions.reset is Reset.ZERO else 0.0
        value = (node.metadata or {}).get("initial_potential", 0.0)
        per_neuron = np.broadcast_to(np.asarray(value, np.float64), np.shape(node.v_threshold))
        initial = np.broadcast_to(per_neuron, shape).reshape(maps_shape(shape))
        if (initial == initial[:, :1, :1]).all():
            initial = initial[:, 0, 0]
        return threshold + half, initial - (0.5 - half)

    def _per_channel(self, values: Any, name: str, shape: Shape, origin: Origin) -> Float:
        """A parameter of a layer as one value a channel."""
        full = np.broadcast_to(np.asarray(values, np.float64), shape).reshape(shape[0], -1)
        if (full != full[:, :1]).any():
            self._refuse(
                f"{name} differs inside a channel of the layer",
                "nir-uneven",
                origin,
                "use one value for all neurons of a channel",
            )
        return full[:, 0].copy()

    def _refuse(self, message: str, code: str, origin: Origin, hint: str = "") -> None:
        self.errors.append(UnsupportedError(message, code=code, origin=origin, hint=hint))

    def _note(self, message: str, code: str, origin: Origin) -> None:
        self.findings.append(Finding(message, origin, code=code, warning=True))
