"""Every neuron model's form in C: which equation, parameters, states and types.

The equations themselves are macros of ``templates/neurons.h.j2``, by the names that stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snn_backends.c.integers import INT64_MAX, CType, accumulator, holding
from snn_backends.c.sums import Sums, of_step, of_window
from snn_compile.ir.fixedpoint import Overflow, QTensor
from snn_compile.ir.models.arithmetic import VOLTAGE_LIMIT
from snn_compile.ir.models.piecewise_linear import Lines
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    CubaLIFNeurons,
    DelayNeurons,
    GradedNeurons,
    IFNeurons,
    LeakyReadout,
    PiecewiseLinearDeltaNeurons,
    PiecewiseLinearNeurons,
    PiecewiseLinearWindowNeurons,
    Population,
    ProbedReadout,
    ProductDeltaNeurons,
    ProductNeurons,
    QuantizedGraph,
    RadixIFNeurons,
    Readout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
    SignedIFNeurons,
    StartedReadout,
    SyncIFNeurons,
    SyncReadout,
    ThresholdDeltaNeurons,
)
from snn_compile.ir.spiking import Reset
from snn_compile.sim import bounds


@dataclass(frozen=True)
class Bounded:
    """How a potential is kept within its format.

    Attributes:
        how: ``saturate``, ``wrap``, or empty where it is proven never to leave.
        low: smallest potential after that, high: largest.
        limit: where it saturates.
        bits: of a state that wraps.
    """

    how: str
    low: int
    high: int
    limit: int = 0
    bits: int = 0

    @property
    def magnitude(self) -> int:
        """Largest of both signs."""
        return max(-self.low, self.high)


@dataclass(frozen=True, eq=False)
class Form:
    """A population in C.

    Attributes:
        macro: of the template.
        sum: type in which what arrives is added up, and the potential computed.
        parameters: tensors by the name that the macro uses.
        bounded: of the potential.
        states: type of each value that a neuron keeps from step to step; of those that wait, one
            for each step of the delay.
        numbers: what else the macro uses.
    """

    macro: str
    sum: CType
    parameters: Mapping[str, QTensor]
    bounded: Bounded
    states: Mapping[str, CType] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)


class TooWideError(ArithmeticError):
    """A population computes with numbers for which C has no type."""


@dataclass(frozen=True)
class Context:
    """What is known of a population's surroundings.

    Attributes:
        program: the network.
        arriving: bounds of what its potential depends on: a step's input, or all so far.
        step: of one step's input.
    """

    program: QuantizedGraph
    arriving: Sums
    step: Sums

    @property
    def n_steps(self) -> int:
        """Of a window."""
        return self.program.window.n_steps


def form_of(program: QuantizedGraph, node: Population) -> Form:
    """The form of a population.

    Raises:
        KeyError: there is none for this model.
        TooWideError: its numbers leave 64 bits.
        ValueError: its parameters have no meaning here, for the reason in the message.
    """
    try:
        form = _FORMS[type(node)]
        step = of_step(program, node)
        arriving = of_window(program, node) if node.sums_windows else step
        return form(node, Context(program, arriving, step))
    except OverflowError as error:
        raise TooWideError(str(error)) from error


def bounded(node: Population, low: int, high: int) -> Bounded:
    """How a state from low to high, before it is bounded, is kept in its format."""
    state = node.state
    if node.overflow is Overflow.WRAP:
        if state.min <= low and high <= state.max:
            return Bounded("", low, high)
        return Bounded("wrap", state.min, state.max, bits=state.bits)
    limit = min(state.max, VOLTAGE_LIMIT)
    if -limit <= low and high <= limit:
        return Bounded("", low, high)
    low, high = (min(max(end, -limit), limit) for end in (low, high))
    return Bounded("saturate", low, high, limit)


def _ends(tensor: QTensor) -> tuple[int, int]:
    return int(tensor.values.min(initial=0)), int(tensor.values.max(initial=0))


def _once(node: Population, context: Context) -> tuple[CType, Bounded]:
    """The sum and the potential of neurons that decide on one sum."""
    low, high = _ends(node.bias)
    arriving = context.arriving
    magnitude = max(arriving.magnitude, context.step.magnitude) + max(-low, high)
    return accumulator(magnitude), bounded(node, arriving.low + low, arriving.high + high)


def _product(magnitude: int, shift: int) -> CType:
    """The type of a product that is shifted right."""
    return accumulator(magnitude) if shift < 31 else _wide(magnitude)


def _wide(magnitude: int) -> CType:
    if magnitude > INT64_MAX:
        raise OverflowError(f"products of up to {magnitude} have no type")
    return CType(64)


def _scaled(node: Any, context: Context) -> Form:
    """Graded and sigma-delta neurons."""
    if node.multiplier.values.min(initial=0) < 0:
        raise ValueError("its multiplier is negative")
    total, potential = _once(node, context)
    places = _ends(node.shift)[1]
    factor = max(abs(end) for end in _ends(node.multiplier))
    wide = _product(max(potential.high, 0) * factor, places)
    parameters = {"bias": node.bias, "multiplier": node.multiplier, "shift": node.shift}
    numbers = {"wide": wide, "most": node.payload.max}
    return Form("scaled", total, parameters, potential, {}, numbers)


def _lines(node: Lines, context: Context) -> Form:
    """Piecewise linear neurons of all kinds."""
    total, potential = _once(node, context)
    factor = max(abs(end) for end in _ends(node.multiplier))
    offset = max(abs(end) for end in _ends(node.offset))
    wide = _product(potential.magnitude * factor + offset, _ends(node.shift)[1])
    numbers = {
        "wide": wide,
        "lines": node.multiplier.shape[1],
        "low": node.low,
        "high": node.high,
    }
    return Form("lines", total, {"bias": node.bias}, potential, {}, numbers)


def _multiplied(node: Any, context: Context) -> Form:
    """Product neurons of both kinds."""
    total, potential = _once(node, context)
    x = (potential.magnitude >> 12) + 1
    wide = _wide(x * 2048 * 4095 + (1 << 31))
    parameters = {"bias": node.bias, "multiplier": node.multiplier, "shift": node.shift}
    numbers = {"wide": wide, "low": node.low, "high": node.high}
    return Form("multiplied", total, parameters, potential, {}, numbers)


def _counted(node: Any, context: Context) -> Form:
    """Clip-floor, sync and radix neurons: a count of thresholds."""
    _require_positive(node.threshold)
    total, potential = _once(node, context)
    if isinstance(node, RadixIFNeurons) and node.payload.bits != context.n_steps:
        raise ValueError(f"its payloads have {node.payload.bits} bits in {context.n_steps} steps")
    most = node.levels if isinstance(node, ClipFloorNeurons) else node.total(context.n_steps)[1]
    parameters = {"bias": node.bias, "threshold": node.threshold}
    return Form("counted", total, parameters, potential, {}, {"most": most})


def _require_positive(threshold: QTensor) -> None:
    if threshold.values.min(initial=1) < 1:
        raise ValueError("its threshold is less than 1")


def _integrating(
    node: IFNeurons | SignedIFNeurons | Readout,
    context: Context,
    start: tuple[int, int] = (0, 0),
) -> tuple[CType, Bounded]:
    """The sum and the potential of neurons that add up the steps of a window."""
    ends = bounds.potential(context.program.graph, node, context.n_steps)
    low, high = int(ends.low.min()), int(ends.high.max())
    potential = bounded(node, min(low, start[0], 0), max(high, start[1], 0))
    before = max(potential.magnitude, -start[0], start[1])
    step = context.step
    bias = max(abs(end) for end in _ends(node.bias))
    return accumulator(before + max(step.magnitude, -step.low, step.high) + bias), potential


def _firing(node: IFNeurons, context: Context) -> Form:
    _require_positive(node.threshold)
    start = _ends(node.initial_potential)
    total, potential = _integrating(node, context, start)
    kept = holding(min(potential.low, start[0]), max(potential.high, start[1]))
    numbers = {"burst": node.burst, "subtract": node.reset is Reset.SUBTRACT}
    states = {"potential": kept} if context.n_steps > 1 else {}
    return Form("firing", total, _of_firing(node), potential, states, numbers)


def _signed(node: SignedIFNeurons, context: Context) -> Form:
    _require_positive(node.threshold)
    start = _ends(node.initial_potential)
    total, potential = _integrating(node, context, start)
    kept = holding(min(potential.low, start[0]), max(potential.high, start[1]))
    states = {"potential": kept, "sent": holding(0, context.n_steps)}
    return Form("signed", total, _of_firing(node), potential, states)


def _of_firing(node: IFNeurons | SignedIFNeurons) -> dict[str, QTensor]:
    start = node.initial_potential
    return {"bias": node.bias, "threshold": node.threshold, "initial": start}


def _leaky(node: CubaLIFNeurons | LeakyReadout, context: Context) -> Form:
    """Loihi's own neuron, and its potential: a current that wraps, a potential that saturates."""
    step = context.step
    filtered = isinstance(node, CubaLIFNeurons) and node.filtered_bias
    parameters = {"bias": node.bias}
    if isinstance(node, CubaLIFNeurons):
        parameters["threshold"] = node.threshold
        if node.drop is not None:
            parameters["drop"] = node.drop
    largest = {name: max(abs(end) for end in _ends(t)) for name, t in parameters.items()}
    bias, drop = largest["bias"], largest.get("drop", 0)
    added = (step.magnitude << 6) + bias * filtered
    # From within a turn of 2**24, one turn back leads into the range; else it may grow.
    current = 1 << 23 if added <= 1 << 24 else 4096 * (added + (1 << 24))
    if current * 4096 > INT64_MAX:
        raise OverflowError(f"currents of up to {current} have no type for their decay")
    limit = min(node.state.max, VOLTAGE_LIMIT)
    _wide((largest.get("threshold", 0) << 6) + bias + drop + current + (limit << 13))
    states = {"potential": holding(-limit - drop, limit + drop)}
    keep_current, keep_potential = 4095 - node.current_decay, 4096 - node.voltage_decay
    if keep_current:
        states["current"] = holding(-current, current)
    numbers = {
        "keep_current": keep_current,
        "keep_potential": keep_potential,
        "filtered": filtered,
        "subtract": "drop" in parameters,
        "limit": limit,
    }
    total = accumulator(step.magnitude)
    return Form("leaky", total, parameters, Bounded("", -limit, limit), states, numbers)


def _waiting(node: DelayNeurons, context: Context) -> Form:
    """Neurons that pass messages on later: a ring of those that wait."""
    step = context.step
    if step.low < node.low or step.high > node.high:
        raise ValueError(f"its messages may leave {node.low} to {node.high}")
    states = {"waiting": holding(node.low, node.high)} if node.delay else {}
    numbers = {"delay": node.delay}
    within = Bounded("", node.low, node.high)
    return Form("waiting", accumulator(step.magnitude), {}, within, states, numbers)


def _adding(node: Readout, context: Context) -> Form:
    """A readout that adds up the steps of a window."""
    total, potential = _integrating(node, context)
    kept = holding(potential.low, potential.high)
    states = {"potential": kept} if context.n_steps > 1 else {}
    return Form("adding", total, {"bias": node.bias}, potential, states)


def _started(node: StartedReadout, context: Context) -> Form:
    """A readout that adds up the steps of a window from a potential of its own."""
    step, start, bias = context.step, _ends(node.initial_potential), _ends(node.bias)
    low = start[0] + context.n_steps * (step.low + bias[0])
    high = start[1] + context.n_steps * (step.high + bias[1])
    potential = bounded(node, low, high)
    before = max(potential.magnitude, -start[0], start[1])
    total = accumulator(before + step.magnitude + max(-bias[0], bias[1]))
    kept = holding(min(potential.low, 0), max(potential.high, 0))
    states = {"potential": kept} if context.n_steps > 1 else {}
    parameters = {"bias": node.bias, "initial": node.initial_potential}
    return Form("adding", total, parameters, potential, states)


def _changing(node: ThresholdDeltaNeurons, context: Context) -> Form:
    """Sigma-delta neurons with a threshold."""
    step, known, bias = context.step, _ends(node.sent), _ends(node.bias)
    n_sums = 1 if node.of_frames else context.n_steps
    low, high = n_sums * step.low, n_sums * step.high
    active = bounded(node, low + bias[0], high + bias[1])
    kept = holding(min(active.low, known[0]), max(active.high, known[1]))
    states = {"known": kept} if node.of_frames else {"sum": holding(low, high), "known": kept}
    sums = max(step.magnitude, -low, high) + max(-bias[0], bias[1])
    total = accumulator(max(sums, active.magnitude) + max(active.magnitude, -known[0], known[1]))
    parameters = {"bias": node.bias, "threshold": node.threshold, "sent": node.sent}
    numbers = {"shift": node.shift, "of_frames": node.of_frames}
    return Form("changing", total, parameters, active, states, numbers)


def _shown(node: Readout, context: Context) -> Form:
    """A readout that shows what has arrived."""
    total, potential = _once(node, context)
    return Form("shown", total, {"bias": node.bias}, potential)


_FORMS: dict[type[Population], Callable[[Any, Context], Form]] = {
    GradedNeurons: _scaled,
    SigmaDeltaNeurons: _scaled,
    PiecewiseLinearNeurons: _lines,
    PiecewiseLinearDeltaNeurons: _lines,
    PiecewiseLinearWindowNeurons: _lines,
    ProductNeurons: _multiplied,
    ProductDeltaNeurons: _multiplied,
    ClipFloorNeurons: _counted,
    SyncIFNeurons: _counted,
    RadixIFNeurons: _counted,
    IFNeurons: _firing,
    SignedIFNeurons: _signed,
    CubaLIFNeurons: _leaky,
    LeakyReadout: _leaky,
    DelayNeurons: _waiting,
    Readout: _adding,
    ProbedReadout: _adding,
    StartedReadout: _started,
    ThresholdDeltaNeurons: _changing,
    SyncReadout: _shown,
    SigmaDeltaReadout: _shown,
}


def table(node: Lines) -> tuple[dict[str, np.ndarray[Any, Any]], bool]:
    """The lines of a population, and whether all channels have the same."""
    parts = {
        name: getattr(node, name).values
        for name in ("breakpoints", "multiplier", "offset", "shift")
    }
    same = all((values == values[:1]).all() for values in parts.values())
    return ({name: values[:1] for name, values in parts.items()} if same else parts), same
