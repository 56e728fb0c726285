"""Which process each population becomes in Lava, with which arguments, and why that one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    CubaLIFNeurons,
    IFNeurons,
    Neurons,
    Population,
    ProbedReadout,
    QuantizedGraph,
)
from snn_compile.ir.spiking import Reset
from snn_compile.quantize import stock
from snn_compile.sim import bounds

Array = npt.NDArray[np.generic]

LIF_CURRENT = 1 << 17
"""Stock LIF wraps ``a << 6`` into 24 bits: integrate-and-fire neurons must stay below this."""
INT16 = (-(1 << 15), (1 << 15) - 1)
FORMS = {"bits": (0, 1), "u8": (0, 255), "u16": (0, (1 << 16) - 1), "i8": (-128, 127), "i16": INT16}
"""Ranges of the forms in which messages are stored, best first; ``i32`` holds the rest."""


@dataclass(frozen=True)
class NeuronProcess:
    """A Lava process and its arguments.

    Attributes:
        process: its class.
        custom_reason: why no stock process does it; empty if one does.
        constants: scalar arguments.
        arrays: array arguments, (C,) or broadcasting to the shape of the population.
        probed: whether its potential is read, as it sends nothing.
    """

    process: str
    custom_reason: str
    constants: dict[str, int]
    arrays: dict[str, Array]
    probed: bool = False


def neuron_process(program: QuantizedGraph, node: Population) -> NeuronProcess:
    """The process that computes a population.

    Raises:
        TypeError: it has none, such as integer neurons before scheduling.
    """
    return _STOCK.get(type(node), _custom)(program, node)


def first_row(program: QuantizedGraph, node: Population) -> int:
    """The row in which the first window of a population starts."""
    return program.depth[node.id] * program.window.lag


def trace_form(node: Population) -> str:
    """The form in which the messages of a population are stored."""
    if not isinstance(node, Neurons):
        return "i32"
    low, high = node.messages
    fitting = (name for name, (least, most) in FORMS.items() if least <= low and high <= most)
    return next(fitting, "i32")


def narrow(values: Int) -> Array:
    """The same integers in the smallest signed type that holds them: small, and stable files."""
    for dtype in (np.int8, np.int16, np.int32):
        info = np.iinfo(dtype)
        if values.size == 0 or (values.min() >= info.min and values.max() <= info.max):
            return values.astype(dtype)
    return values


def _window(program: QuantizedGraph, node: Population) -> dict[str, int]:
    """Arguments common to all custom processes."""
    limit = _state_limit(node)
    n_steps = program.window.n_steps
    return {
        "first_row": first_row(program, node),
        "n_steps": n_steps,
        "low": -limit,
        "high": limit,
    }


def _state_limit(node: Population) -> int:
    return min(node.state.max, VOLTAGE_LIMIT)


def _arrays(node: Population, *names: str) -> dict[str, Array]:
    return {name: narrow(getattr(node, name).values) for name in names}


def _custom(program: QuantizedGraph, node: Population, reason: str = "") -> NeuronProcess:
    """The emitted process that a model names, perhaps for a reason of this network."""
    own = node.in_lava
    if isinstance(own, str):
        raise TypeError(f"no Lava process for the {type(node).__name__} of '{node.id}': {own}")
    constants = {**_window(program, node), **own.numbers}
    return NeuronProcess(own.name, reason or own.reason, constants, _arrays(node, *own.arrays))


def _probe_process(program: QuantizedGraph, node: ProbedReadout) -> NeuronProcess:
    split = split_bias(node.bias.values, 6)
    if split is None or probed_obstacle(program, node):
        raise ValueError(f"'{node.id}': {probed_obstacle(program, node)}")
    arrays = {"bias_mant": narrow(split[0])}
    constants = {"vth": LIF_CURRENT - 1, "du": 4095, "dv": 0, "bias_exp": split[1]}
    return NeuronProcess("LIFReset", "", constants | _reset(program, node), arrays, probed=True)


def _leaky(program: QuantizedGraph, node: CubaLIFNeurons) -> NeuronProcess:
    split = split_bias(node.bias.values, 0)
    if not node.is_stock or split is None or _state_limit(node) != VOLTAGE_LIMIT:
        return _custom(program, node)
    mantissa, exponent = split
    arrays = {"vth": narrow(node.threshold.values), "bias_mant": narrow(mantissa)}
    decays = {"du": node.current_decay, "dv": node.voltage_decay}
    constants = decays | {"bias_exp": exponent} | _reset(program, node)
    return NeuronProcess("LIFReset", "", constants, arrays)


def _integrate_and_fire(program: QuantizedGraph, node: IFNeurons) -> NeuronProcess:
    if node.burst > 1:
        return _custom(program, node)
    obstacle = _lif_obstacle(program, node)
    split = split_bias(node.bias.values, 6)
    if obstacle or split is None:
        reason = obstacle or "the bias does not fit LIF's 16-bit mantissa"
        return _custom(program, node, reason)
    mantissa, exponent = split
    arrays = {"vth": narrow(node.threshold.values - 1), "bias_mant": narrow(mantissa)}
    constants = {"du": 4095, "dv": 0, "bias_exp": exponent} | _reset(program, node)
    return NeuronProcess("LIFReset", "", constants, arrays)


_STOCK: dict[type[Population], Callable[..., NeuronProcess]] = {
    ProbedReadout: _probe_process,
    CubaLIFNeurons: _leaky,
    IFNeurons: _integrate_and_fire,
}
"""Models that a process of Lava's own may compute, and who decides whether it does."""


def probed_obstacle(program: QuantizedGraph, node: ProbedReadout) -> str:
    """Why a stock LIF would not add up what a readout does; empty if it does."""
    if split_bias(node.bias.values, 6) is None:
        return "the bias does not fit LIF's 16-bit mantissa"
    if bounds.potential(program.graph, node, program.window.n_steps).magnitude >= LIF_CURRENT:
        return "the potential could leave 18 bits, where a stock LIF fires or saturates"
    return ""


def _reset(program: QuantizedGraph, node: Population) -> dict[str, int]:
    """When stock LIFReset starts a window; Lava counts time from 1."""
    n_steps = program.window.n_steps
    return {
        "reset_interval": n_steps,
        "reset_offset": (first_row(program, node) + 1) % n_steps,
    }


def _lif_obstacle(program: QuantizedGraph, node: IFNeurons) -> str:
    """Why a stock LIF with du=4095 and dv=0 would not compute integrate-and-fire."""
    potential = bounds.potential(program.graph, node, program.window.n_steps)
    if node.reset is Reset.SUBTRACT and (potential.high > node.threshold.values).any():
        # A potential that can reach its threshold but not pass it, as in relays, is 0 after either.
        return "Lava has no reset by subtraction"
    if node.initial_potential.values.any():
        return "stock LIFReset starts each window at 0"
    if int(node.threshold.values.max()) > LIF_CURRENT:
        return "the threshold needs more than 17 bits"
    if int(np.abs(node.bias.values).max(initial=0)) >= LIF_CURRENT:
        return "the bias needs more than 18 bits"
    if bounds.current(program.graph, node).magnitude >= LIF_CURRENT:
        return "the input could leave 18 bits, where stock LIF wraps"
    if int(potential.low.min()) <= -LIF_CURRENT:
        return "the potential could fall below 18 bits, where stock LIF saturates"
    return ""


def split_bias(bias: Int, exponent: int) -> tuple[Int, int] | None:
    """Bias as mantissas and one exponent, at least the given one; None if it cannot be.

    As the chip's registers hold it where they can (13 bits and an exponent of at most 7), else as
    Lava's 16-bit mantissas do.
    """
    for (low, high), most in ((stock.MANTISSAS, stock.MAX_EXPONENT), (INT16, 15)):
        zeros = 0
        while bias.size and (bias.min() >> zeros < low or bias.max() >> zeros > high):
            zeros += 1
        if not (bias & ((1 << zeros) - 1)).any() and exponent + zeros <= most:
            return bias >> zeros, exponent + zeros
    return None
