"""A network as a chain of netx layers, or the reasons why it is not one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from snn_compile.errors import CompileError, UnsupportedError
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    IFNeurons,
    Population,
    ProbedReadout,
    QuantizedGraph,
    Readout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
    Synapses,
    ThresholdDeltaNeurons,
    along_channels,
)
from snn_compile.ir.spiking import Reset
from snn_compile.sim import bounds

CURRENT = 1 << 17
"""Stock LIF keeps currents and potentials in 24 bits, 6 of them below the weight's unit."""
MAX_BIAS = (1 << 15) - 1
NEVER = CURRENT
"""A threshold that no potential reaches: a layer that only integrates."""
NARROWER = "use --state-bits 18: stock LIF keeps 6 of its 24 bits below the weight's unit"

CHAIN = "emit for lava instead, which joins paths"
STOCK = "use --coding rate --reset zero --input poisson --state-bits 18, or emit for lava"
FEWER = "use fewer --weight-bits, --input-bits or --timesteps, or --input poisson"


@dataclass(frozen=True, eq=False)
class Layer:
    """One entry of the file.

    Attributes:
        node: the population.
        kind: conv or dense.
        shape: (C, H, W) of a convolution, (N,) of a dense layer.
        weight: (O, I / groups, kh, kw) or (O, I), times the exponent.
        bias: (C,), (N,) or, per neuron, (C, H, W); None if it is 0.
        threshold: vThMant: a spike is ``v > threshold << 6``; one number or one per neuron.
        current_decay: iDecay.
        voltage_decay: vDecay.
        geometry: keys of a convolution: kernelSize, stride, padding, dilation, groups.
    """

    node: Population
    kind: str
    shape: Shape
    weight: Int
    bias: Int | None
    threshold: Int
    current_decay: int
    voltage_decay: int
    geometry: dict[str, Any]


def layers_of(program: QuantizedGraph) -> tuple[list[Layer], list[CompileError]]:
    """The layers in order, and everything that netx would refuse or compute differently."""
    errors = [error for node in program.populations for error in _of_population(program, node)]
    errors += _of_chain(program)
    if not errors and program.latency + 1 >= program.window.n_steps:
        errors.append(
            _refusal(
                program.readouts[0],
                f"windows of {program.window.n_steps} steps for {program.latency} layers: netx"
                " resets layers one step after the other, each within the window",
                hint=f"use at least {program.latency + 2} --timesteps",
            )
        )
    if errors:
        return [], errors
    chain = [(node, program.synapses_into(node)[0]) for node in program.populations]
    # netx has no way back from vectors to maps: a dense layer makes all that follow dense.
    last_conv = max((i for i, (_, g) in enumerate(chain) if not _fits_dense(g)), default=-1)
    layers = [_layer(program, node, g, dense=i > last_conv) for i, (node, g) in enumerate(chain)]
    return layers, []


def _refusal(node: Any, message: str, hint: str = "") -> UnsupportedError:
    hint = hint or "emit for lava instead"
    return UnsupportedError(f"'{node.id}': {message}", code="netx", origin=node.origin, hint=hint)


def _of_chain(program: QuantizedGraph) -> list[CompileError]:
    """Netx connects each layer to the one before it."""
    errors: list[CompileError] = [
        _refusal(given, "is a further input; netx has one") for given in program.inputs[1:]
    ]
    before: Any = program.inputs[0]
    for node in program.populations:
        groups = program.synapses_into(node)
        if len(groups) > 1 or groups[0].inputs[0] != before.id:
            errors.append(
                _refusal(
                    node, "does not read the layer before it alone; netx has only chains", CHAIN
                )
            )
        before = node
    for readout in program.readouts[1:]:
        errors.append(_refusal(readout, "is a second output; netx has one"))
    return errors


def _of_population(program: QuantizedGraph, node: Population) -> list[CompileError]:
    reason = _not_stock(program, node)
    if reason:
        return [_refusal(node, reason, STOCK)]
    wide = [_refusal(node, text, NARROWER) for text in _of_range(program, node)]
    shifts = any(group.exponent < 0 for group in program.synapses_into(node))
    rounds = [_refusal(node, "its sums drop low bits; netx drops none", FEWER)] if shifts else []
    return [*wide, *rounds, *(_refusal(node, text) for text in _of_synapses(program, node))]


def _not_stock(program: QuantizedGraph, node: Population) -> str:
    """Why netx does not build these neurons."""
    if isinstance(node, CubaLIFNeurons):
        return "" if node.is_stock else "stock LIF only resets to zero, and has no filtered bias"
    if type(node) in (Readout, ProbedReadout):
        return ""
    if not isinstance(node, IFNeurons):
        if isinstance(node, SigmaDeltaNeurons | SigmaDeltaReadout):
            return "netx's SigmaDelta has no multiplier and drops bits: its messages would differ"
        if isinstance(node, ThresholdDeltaNeurons):
            return "netx never resets neurons that send changes, as each sample here does"
        return f"netx has no neuron like {node.model}"
    if node.burst > 1:
        return "netx has no neuron that sends several spikes at once (--burst)"
    if node.initial_potential.values.any():
        return "netx starts every window at 0, without an initial potential"
    if node.reset is Reset.SUBTRACT:
        highest = bounds.potential(program.graph, node, program.window.n_steps).high
        if (highest > node.threshold.values).any():
            return "netx has no reset by subtraction"
    return ""


def _of_range(program: QuantizedGraph, node: Population) -> list[str]:
    """Quantities that would wrap, saturate or not fit a field."""
    found = []
    if bounds.current(program.graph, node).magnitude >= CURRENT:
        found.append("its input could exceed 18 bits, where stock LIF wraps")
    if not isinstance(node, CubaLIFNeurons | IFNeurons | Readout):
        return found
    bias = node.bias.values
    if isinstance(node, CubaLIFNeurons):
        if (bias % 64).any():
            found.append("its bias has fraction bits; netx's has none")
        bias = bias >> 6
    else:
        potential = bounds.potential(program.graph, node, program.window.n_steps)
        lowest = int(potential.low.min())
        if lowest <= -CURRENT or (isinstance(node, Readout) and potential.magnitude >= CURRENT):
            found.append("its potential could exceed 18 bits, where stock LIF saturates")
    if np.abs(bias).max(initial=0) > MAX_BIAS:
        found.append("its bias needs more than 16 bits")
    if not isinstance(node, Readout) and int(node.threshold.values.max()) >= CURRENT:
        found.append("its threshold needs more than 17 bits")
    return found


def _of_synapses(program: QuantizedGraph, node: Population) -> list[str]:
    found = []
    for group in program.synapses_into(node):
        source = program.graph[group.inputs[0]].shape
        if isinstance(group, ConvSynapses):
            top, left, bottom, right = group.geometry.padding
            if (top, left) != (bottom, right) or min(top, left) < 0:
                found.append("netx requires symmetric padding")
        elif not isinstance(group, DenseSynapses):
            found.append("netx has no sparse synapses")
        elif prod(node.shape[1:]) != 1 or len(source) not in (1, 3):
            found.append("a dense layer of maps; netx makes vectors")
    return found


def _fits_dense(group: Synapses) -> bool:
    """Whether netx's choice of weight bits and exponent preserves a dense layer's weights.

    It shifts them up into 8 bits and a sign: weights of both signs must be at most 127, weights of
    one sign at most 255; with no positive ones, -256 would become -255.
    """
    if not isinstance(group, DenseSynapses):
        return False
    weight = group.weight.values * 2**group.exponent
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    return (low < 0 < high and -127 <= low and high <= 127) or (low == 0 and 0 < high <= 255)


def _layer(program: QuantizedGraph, node: Population, group: Synapses, *, dense: bool) -> Layer:
    source = program.graph[group.inputs[0]]
    weight, geometry, shape = group.weight.values * 2**group.exponent, {}, node.shape
    if isinstance(group, ConvSynapses):
        form = group.geometry
        geometry = {
            "stride": form.stride,
            "padding": form.padding[:2],
            "dilation": form.dilation,
            "groups": form.groups,
        }
    elif dense:
        weight, shape = weight.reshape(prod(node.shape), prod(source.shape)), (prod(node.shape),)
    else:
        # A kernel of the size of the map: netx keeps its weights unchanged.
        maps = source.shape if len(source.shape) == 3 else (source.shape[0], 1, 1)
        weight, shape = weight.reshape(prod(node.shape), *maps), (prod(node.shape), 1, 1)
        geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    if geometry:
        geometry["kernelSize"] = tuple(int(n) for n in weight.shape[2:])
    threshold, decays = _neurons(node)
    return Layer(
        node,
        "dense" if dense else "conv",
        shape,
        weight,
        _bias(node, shape),
        _uniform(along_channels(threshold, node.shape).reshape(shape)),
        *decays,
        geometry,
    )


def _neurons(node: Population) -> tuple[Int, tuple[int, int]]:
    """vThMant, and iDecay and vDecay. A spike is strict there: V >= T is V > T - 1."""
    match node:
        case CubaLIFNeurons():
            return node.threshold.values, (node.current_decay + 1, node.voltage_decay)
        case IFNeurons():
            return node.threshold.values - 1, (4096, 0)
    return np.full(node.shape[0], NEVER), (4096, 0)


def _bias(node: Population, shape: Shape) -> Int | None:
    bias = node.bias.values >> 6 if isinstance(node, CubaLIFNeurons) else node.bias.values
    if not bias.any():
        return None
    full = along_channels(bias, node.shape).reshape(shape)
    by_channel = full.reshape(shape[0], -1)
    return by_channel[:, 0] if (by_channel == by_channel[:, :1]).all() else full


def _uniform(values: Int) -> Int:
    """One number if all are equal."""
    return values.ravel()[0] if (values == values.ravel()[0]).all() else values
