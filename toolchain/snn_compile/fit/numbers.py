"""Units and ranges of the partial sums and relays that splitting adds."""

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
    """The split network with numbers for its partial sums and relays, before the proof."""
    program, numbers = split.program, dict(quantization.numbers)
    for population in program.populations:
        name = population.id
        if name in split.sums:
            numbers[name] = _sum_numbers(
                numbers[split.sums[name].reader], population, split.sums[name]
            )
        elif name in split.relay_sources:
            (synapses,) = program.synapses_into(population)
            bits = synapses.weight.format.bits
            numbers[name] = _relay_numbers(quantization, split.relay_sources[name], bits)
    return replace(quantization, program=program, numbers=numbers)


def _sum_numbers(reader: LayerNumbers, population: Population, sums: Sums) -> LayerNumbers:
    """The numbers of the reader, with its unit divided by the group's ``2**exponent``."""
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


def _relay_numbers(quantization: Quantization, source: NodeId, bits: int) -> LayerNumbers:
    """The numbers of a relay, whose potential has the unit of the source's messages."""
    sending = quantization.network.graph[source]
    if not isinstance(sending, spiking.Neurons):
        raise TypeError(f"'{source}' sends no messages")
    return LayerNumbers(sending.unit, bits, 0, 0.0, 0, np.zeros(1))
