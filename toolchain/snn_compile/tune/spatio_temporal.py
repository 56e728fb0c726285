"""Normalized approximate descent: weight updates from spike errors, through time and layers.

NormAD (Anwani and Rajendran 2015, "NormAD: normalized approximate descent based supervised
learning rule for spiking neurons", IJCNN) makes the potential at the time of a wrong spike a little
larger or smaller, by the smallest change of weights that does it. With e the target spikes
minus those sent, and d^ the sources' spikes filtered by the synapse and the membrane::

    dw_i = r * sum over t of e[t] * d^_i[t] / ||d^[t]||

d^ stands for the response of a neuron that has not spiked yet; the membrane's time constant in it
is short, so that what came before the last spike, and was reset, hardly counts.

Several layers (Anwani and Rajendran 2018, "Training multilayer spiking neural networks using NormAD
based spatio-temporal error backpropagation", arXiv 1811.10678, whose abstract is public; what
follows is derived). Spikes of a hidden neuron are taken to be in proportion to its potential. Then
a weight into it moves the output's potential by ``w_oh * (F d^_i)[t]``, F being the synapse and
membrane of the output, and the normalized change is::

    e_h   = F' ( sum over o of w_oh / ||w_o|| * e_o / ||F d^|| )
    dw_hi = r * sum over t of e_h[t] * d^_i[t]

with F' the same filter backwards in time. For more layers the filters and the weights of all layers
above follow each other, each with its rows normalized. Time costs O(T) a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Map = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer of the rule.

    Attributes:
        messages: input of its synapses, (T, B, sources).
        poles: the filter F of synapse and membrane: the product of ``1 / (1 - p z^-1)`` over them.
        back: errors of its neurons (T, B, neurons) to its sources (T, B, sources), through the
            transposed weights with each neuron's normalized.
        rise: pole of a second exponential of the synapse, which is subtracted from the first (the
            first of the poles); None: there is none.
    """

    messages: Array
    poles: tuple[float, ...]
    back: Map
    rise: float | None = None

    def filtered(self, x: Array) -> Array:
        """``F x`` along the first axis."""
        total = _cascade(x, self.poles)
        # exp(-t/tau1) - exp(-t/tau2): the second exponential has the rising pole for the first.
        return total if self.rise is None else total - _cascade(x, (self.rise, *self.poles[1:]))

    def backwards(self, x: Array) -> Array:
        """``F' x``: the same, back in time."""
        return self.filtered(x[::-1])[::-1]


def _cascade(x: Array, poles: Sequence[float]) -> Array:
    from scipy.signal import lfilter  # slow to import

    for pole in poles:
        x = lfilter([1.0], [1.0, -pole], x, axis=0)
    return x


def backpropagate_errors(stages: Sequence[Stage], errors: Array) -> list[tuple[Array, Array]]:
    """Each layer's share in the errors of the last one's spikes.

    Args:
        stages: the layers, first to last.
        errors: target minus sent spikes of the last one, (T, B, neurons).

    Returns:
        For each layer the errors of its neurons (T, B, neurons) and the responses of its synapses
        (T, B, sources). Their products summed over time (and samples) are the changes of weights.
    """
    shares = []
    for index, stage in enumerate(stages):
        responses = stage.filtered(stage.messages)
        above = stages[index + 1 :]
        at_output = responses
        for later in above:
            at_output = later.filtered(at_output)
        norm = np.linalg.norm(at_output, axis=-1, keepdims=True)
        share = np.divide(errors, norm, out=np.zeros_like(errors), where=norm > 0)
        for later in reversed(above):
            share = later.backwards(later.back(share))
        shares.append((share, responses))
    return shares
