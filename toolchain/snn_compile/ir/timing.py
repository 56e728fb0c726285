"""How time is cut, and how the values of an integer network are sent in it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from snn_compile.coding_registry import coding_class
from snn_compile.ir.fixedpoint import Int


class InputCoding(enum.Enum):
    """How the encoded input reaches the first synapses."""

    CURRENT = "current"
    """The whole frame at every step of the window: a constant input current."""
    POISSON = "poisson"
    """Signed unit spikes, drawn at every step with probability ``abs(value) / full scale``."""
    GRADED = "graded"
    """The whole frame at every step, as payloads of graded spikes; once, if there is one step."""
    FRAME = "frame"
    """The whole frame at the first step of the window and nothing after it."""
    CHANGES = "changes"
    """What differs from the frame before; the first frame differs from zeros."""
    EVENTS = "events"
    """A train of its own: a stimulus has a frame for each step of the window."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a coding spreads over time what an integer network computes in one step.

    Either layers wait for a window, in which a value is sent as several messages that add up to it;
    or frames are a stream, a frame is one step, and what is sent is by how much a value differs
    from that of the frame before.

    Attributes:
        input: how frames arrive.
        forms: the population that sends over time, for each of the integer network.
        parameters: of these populations, by the number of steps; what both forms have is taken
            over.
        sent: values (N, 1, *shape) and the number of steps to messages (N, T, *shape). None in a
            stream. Of counts; neurons that send no counts send their value at the first step.
        spikes: how many messages other than 0 send a value; None where it is the value itself.
    """

    input: InputCoding
    forms: Mapping[type[Any], type[Any]]
    parameters: Callable[[int], Mapping[str, Any]] = lambda n_steps: {}
    sent: Callable[[Int, int], Int] | None = None
    spikes: Callable[[Int], Int] | None = None


@dataclass(frozen=True)
class Window:
    """How time is cut.

    Attributes:
        coding: name of the coding.
        n_steps: time steps per stimulus and layer; 1 in a stream, whose frames are its steps.

    Raises:
        UsageError: there is no such coding here.
        ValueError: a window of a stream has another number of steps.
    """

    coding: str
    n_steps: int = field(default=1)

    def __post_init__(self) -> None:
        if self.is_stream and self.n_steps != 1:
            raise ValueError(f"a frame of '{self.coding}' is one step, not {self.n_steps}")

    @property
    def schedule(self) -> Schedule | None:
        """How the coding spreads an integer network over time; None if it does not."""
        found: Schedule | None = coding_class(self.coding).schedule
        return found

    @property
    def is_stream(self) -> bool:
        """Whether frames are a stream, and messages changes from the frame before."""
        return self.schedule is not None and self.schedule.sent is None

    @property
    def levels(self) -> int:
        """Largest sum of what a neuron sends in a window for whose end the next layer waits."""
        largest: int = coding_class(self.coding).levels_of(self.n_steps)
        return largest

    @property
    def lag(self) -> int:
        """Steps from a population's window to that of the populations that it feeds."""
        return self.n_steps if self.schedule and self.schedule.sent else 1
