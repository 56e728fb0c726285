"""The running average of the trained parameters: it is evaluated and kept, not the last step.

Near the end of a training, integers whose real numbers lie close to the middle between two of them
change with nearly every step, and the accuracy with them (oscillations: Nagel et al. 2022). The
average over steps (Polyak and Juditsky 1992) is calm, and projected onto the same grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

WARM_UP = 10
"""The average of n steps looks back on at most a share (n + 1) / (n + 10) of them."""


class RunningAverage:
    """``average += (1 - decay) * (state - average)``, with a smaller decay in the first steps.

    Args:
        state: initial value.
        decay: 0 for no average: the last state.

    Attributes:
        state: the average, by name.
        steps: number of steps averaged since the last restart.
    """

    def __init__(self, state: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.restart(state)

    def restart(self, state: Mapping[str, Tensor], steps: int = 0) -> None:
        """Restart from a state."""
        self.state = {name: tensor.clone() for name, tensor in state.items()}
        self.steps = steps

    @torch.no_grad()
    def update(self, state: Mapping[str, Tensor]) -> None:
        """Average in one step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (WARM_UP + self.steps))
        for name, tensor in state.items():
            self.state[name].lerp_(tensor, 1 - decay)
