"""What the integers of partial sums and relays stand for."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.fit.splitting import Split, Sums
from snn_compile.ir import spiking
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Population
from snn_compile.quantize.quantize import LayerNumbers, Quantization


def with_numbers(quantization: Quantization, split: Split) -> Quantization:
    """A split network with the numbers of what was added; the bounds are still to be proven."""
    program, numbers = split.program, dict(quantization.numbers)
    for population in program.populations:
        name = population.id
        if name in split.sums:
            numbers[name] = _of_sums(numbers[split.sums[name].reader], population, split.sums[name])
        elif name in split.relayed:
            (synapses,) = program.synapses_into(population)
            bits = synapses.weight.format.bits
            numbers[name] = _of_relay(quantization, split.relayed[name], bits)
    return replace(quantization, program=program, numbers=numbers)


def _of_sums(reader: LayerNumbers, population: Population, sums: Sums) -> LayerNumbers:
    """As those of the reader; a sum has a step's value before the exponent magnifies it."""
    shape = sums.group.shape
    channel = np.empty(prod(population.shape), dtype=np.int64)
    channel[sums.parts.neurons(shape)] = np.arange(prod(shape)) // prod(shape[1:])
    first = channel.reshape(population.shape[0], -1)[:, 0]
    return replace(
        reader,
        unit=np.ldexp(np.broadcast_to(reader.unit, shape[:1])[first], sums.group.exponent),
        saturated=0.0,
        bias=np.zeros(1),
    )


def _of_relay(quantization: Quantization, source: NodeId, bits: int) -> LayerNumbers:
    """A step of the potential is a message."""
    sending = quantization.network.graph[source]
    if not isinstance(sending, spiking.Neurons):
        raise TypeError(f"'{source}' sends nothing")
    return LayerNumbers(sending.unit, bits, 0, 0.0, 0, np.zeros(1))
