"""The rules of a chip, checked synapse by synapse.

Written from docs/reference/targets.md alone: it knows nothing of how networks are placed, and makes
every synapse of a convolution one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, Input, Neurons, QuantizedGraph

RESET_WEIGHT_BITS = 8


def unrolled(group: Any, source: tuple[int, ...]) -> np.ndarray:
    """(S, 3): the source, the neuron and the position in the tensor of each weight other than 0."""
    weight = group.weight.values
    if isinstance(group, DenseSynapses):
        neuron, read = np.nonzero(weight)
        return np.stack([read, neuron, neuron * weight.shape[1] + read], axis=1)
    if not isinstance(group, ConvSynapses):
        neuron = np.repeat(np.arange(len(group.indptr) - 1), np.diff(group.indptr))
        every = np.stack([group.indices, neuron, np.arange(len(weight))], axis=1)
        return every[weight != 0]
    geometry, found = group.geometry, []
    n_out, n_in, kh, kw = weight.shape
    _, height, width = group.shape
    for o, i, ky, kx in np.argwhere(weight):
        channel = (o // (n_out // geometry.groups)) * n_in + i
        for y in range(height):
            for x in range(width):
                row = y * geometry.stride[0] - geometry.padding[0] + ky * geometry.dilation[0]
                column = x * geometry.stride[1] - geometry.padding[1] + kx * geometry.dilation[1]
                if 0 <= row < source[1] and 0 <= column < source[2]:
                    read = (channel * source[1] + row) * source[2] + column
                    position = ((o * n_in + i) * kh + ky) * kw + kx
                    found.append((read, (o * height + y) * width + x, position))
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def broken_rules(program: QuantizedGraph, target: Any, placements: Sequence[Any]) -> list[str]:
    """What a placement breaks, in words."""
    return [*_of_network(program, target), *_of_cores(program, target, placements)]


def _of_network(program: QuantizedGraph, target: Any) -> Iterator[str]:
    if target.codings.value is not None and program.window.coding not in target.codings.value:
        yield "the coding"
    for node in program.graph:
        if hasattr(node, "weight") and node.weight.format.bits not in target.weight_bits.value:
            yield f"the weight bits of {node.id}"
        if hasattr(node, "state") and node.state.bits > (target.state_bits.value or 64):
            yield f"the state of {node.id}"
        if isinstance(node, Neurons | Input) and target.payload_bits.value is not None:
            low, high = node.messages
            bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + (low < 0)
            on_chip = not (isinstance(node, Input) and node.coding.value in ("current", "poisson"))
            if on_chip and (low < 0 or high > 1) and bits > target.payload_bits.value:
                yield f"the payloads of {node.id}"


def _of_cores(program: QuantizedGraph, target: Any, placements: Sequence[Any]) -> Iterator[str]:
    home = {p.id: np.full(prod(p.shape), -1) for p in program.populations}
    block = {p.id: np.full(prod(p.shape), -1) for p in program.populations}
    for number, placement in enumerate(placements):
        name = placement.population
        shape = program.graph[name].shape
        inside = np.arange(prod(shape)).reshape(shape if len(shape) == 3 else (shape[0], 1, 1))
        spans = (placement.block.channels, placement.block.rows, placement.block.columns)
        neurons = inside[tuple(slice(*span) for span in spans)].ravel()
        if (home[name][neurons] != -1).any():
            yield f"neurons of {name} twice"
        home[name][neurons], block[name][neurons] = placement.core, number
        per_chip = target.cores_per_chip.value
        if per_chip is not None and placement.chip != placement.core // per_chip:
            yield f"core {placement.core} on chip {placement.chip}"
    if any((cores == -1).any() for cores in home.values()):
        yield "neurons on no core"
    n_cores = 1 + max(placement.core for placement in placements)
    if target.cores is not None and n_cores > target.cores:
        yield "cores"
    neurons, memory, inputs, outputs = np.zeros((4, n_cores))
    for population in program.populations:
        cores = home[population.id]
        soft = population.soft_reset
        takes = target.neurons_per_soft_reset_neuron.value if soft else 1
        recurrent = target.synapses_per_soft_reset_neuron.value if soft else 0
        one = RESET_WEIGHT_BITS + target.index_bits.value + target.entry_overhead_bits.value
        one = _in_words(one, target)
        np.add.at(neurons, cores, takes)
        np.add.at(inputs, cores, recurrent)
        np.add.at(outputs, cores, recurrent)
        np.add.at(memory, cores, recurrent * one)
        for group in program.synapses_into(population):
            (source,) = group.inputs
            synapses = unrolled(group, program.graph[source].shape)
            to_block = block[population.id][synapses[:, 1]]
            axons = np.unique(np.stack([synapses[:, 0], to_block], axis=1), axis=0)
            core_of = {number: p.core for number, p in enumerate(placements)}
            at = np.array([core_of[b] for b in axons[:, 1].tolist()], dtype=np.int64)
            np.add.at(inputs, at, 1)
            if source in home:
                np.add.at(outputs, home[source][axons[:, 0]], 1)
            for number in np.unique(to_block).tolist():
                there = synapses[to_block == number]
                memory[core_of[number]] += _least_bits(group, there, target)
    for what, used, limit in (
        ("neurons", neurons, target.neurons_per_core.value),
        ("synapse memory", memory, target.synapse_memory_per_core.value),
        ("input axons", inputs, target.input_axons_per_core.value),
        ("output axons", outputs, target.output_axons_per_core.value),
    ):
        if limit is not None and used.max() > limit:
            yield f"{what}: {used.max():,.0f} of {limit:,} on core {used.argmax()}"


def _least_bits(group: Any, synapses: np.ndarray, target: Any) -> int:
    """The fewest bits that the synapses onto a block can take."""
    if target.word_bits.value is not None:
        return _least_words(group, synapses, target)
    width = group.weight.format.bits
    with_index = width + target.index_bits.value
    if isinstance(group, ConvSynapses) and target.shared_kernels.value:
        return len(np.unique(synapses[:, 2])) * width
    _, lengths = np.unique(synapses[:, 0], return_counts=True)
    entries = int(np.ceil(lengths / target.synapses_per_entry.value).sum())
    each = width if isinstance(group, DenseSynapses) else with_index
    return len(synapses) * each + entries * target.entry_overhead_bits.value


def _in_words(bits: int, target: Any) -> int:
    word = target.word_bits.value or 1
    return -(-bits // word) * word


def _least_words(group: Any, synapses: np.ndarray, target: Any) -> int:
    """The same in lists of whole words, of the weights that are not 0."""
    weights = group.weight.values
    common = 1
    while weights.any() and not (weights % (2 * common)).any():
        common *= 2
    low, high = int(weights.min()) // common, int(weights.max()) // common
    signs = 1 if low < 0 else 0
    width = 1
    while not (-(1 << width - 1) if signs else 0) <= low <= high < 1 << width - signs:
        width += 1
    if isinstance(group, ConvSynapses) and target.shared_kernels.value:
        stride = group.geometry.stride[1]
        while stride > 1:
            width, stride = width + target.stride_bits.value, -(-stride // 2)
        positions = np.unique(synapses[:, 2])
        channel, tap = np.divmod(positions, weights[0].size)
        lists = (channel // (len(weights) // group.geometry.groups)) * weights[0].size + tap
    else:
        width += target.index_bits.value
        lists = synapses[:, 0]
    _, lengths = np.unique(lists, return_counts=True)
    headers = np.ceil(lengths / target.synapses_per_entry.value).astype(np.int64)
    bits = lengths * width + headers * target.entry_overhead_bits.value
    return sum(_in_words(int(each), target) for each in bits)
