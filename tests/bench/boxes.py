"""The fewest input axons of a layer that is cut into boxes, beside the bound and what is used.

    python tests/bench/boxes.py [--target loihi2] [--coding graded] [MODEL ...]

The compiler's lower bound holds for cores with any set of neurons. Its placements give a core boxes
of channels, rows and columns. For each convolution that reads one population, every box that fits
on a core is tried: a linear program chooses shares of boxes that cover each neuron exactly once and
take the fewest axons, so no partition into such boxes takes fewer. "reached" says that the integer
program found a partition into whole boxes with as few. Other layers count with the compiler's
bound and are not printed. The last line of a network is the sum of all layers, in cores.

Kernels count as full if each weight is used by some channel. What a box with few channels might
save by weights of zero is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import ceil, inf

import numpy as np
from cores import ROOT, asked_for, network
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_array

from snn_compile.ir.quantized import ConvSynapses, QuantizedGraph
from snn_compile.mapping import map_program, resources
from snn_compile.options import CompileOptions
from snn_compile.targets.target import Target

RULE = "input axons"
MAX_BOXES = 200_000
SECONDS = 60
"""For an integer program."""


def spans(synapses: ConvSynapses, axis: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Every span of outputs along an axis, with the number of sources that it reads."""
    geometry = synapses.geometry
    taps = (synapses.weight.values.shape[2 + axis] - 1) * geometry.dilation[axis] + 1
    stride, padding = geometry.stride[axis], geometry.padding[axis]
    outputs = synapses.shape[1 + axis]
    for start in range(outputs):
        for stop in range(start + 1, outputs + 1):
            first = start * stride - padding
            last = (stop - 1) * stride - padding + taps
            yield start, stop, min(last, size) - max(first, 0)


def least_of_boxes(
    synapses: ConvSynapses, source: tuple[int, ...], target: Target
) -> tuple[float, bool] | None:
    """The fewest axons of boxes, and whether whole boxes reach it; None if there are too many."""
    channels, rows, columns = synapses.shape
    limit = target.input_axons_per_core.value or inf
    neurons = target.neurons_per_core.value or inf
    down, across = (list(spans(synapses, axis, source[1 + axis])) for axis in (0, 1))
    if len(down) * len(across) > MAX_BOXES * 10:
        return None
    places: list[np.ndarray] = []
    shares: list[float] = []
    costs: list[float] = []
    grid = np.arange(rows * columns).reshape(rows, columns)
    for top, bottom, high in down:
        for left, right, wide in across:
            size, axons = (bottom - top) * (right - left), high * wide * source[0]
            held = min(channels, neurons // size)
            if axons > limit or held < 1:
                continue
            places.append(grid[top:bottom, left:right].ravel())
            shares.append(held / channels)
            costs.append(axons)
    if not costs or len(costs) > MAX_BOXES:
        return None
    starts = np.concatenate([[0], np.cumsum([len(each) for each in places])])
    values = np.repeat(shares, np.diff(starts))
    covers = csc_array((values, np.concatenate(places), starts), (rows * columns, len(costs)))
    ones = np.ones(rows * columns)
    found = linprog(costs, A_eq=covers, b_eq=ones, method="highs").fun
    if min(shares) < 1 or len(costs) > MAX_BOXES // 10:
        return found, False
    whole = milp(
        costs,
        constraints=LinearConstraint(covers, 1, 1),
        integrality=np.ones(len(costs)),
        bounds=Bounds(0, 1),
        options={"time_limit": SECONDS},
    )
    return found, whole.fun is not None and whole.fun <= found + 0.5


def rows_of(program: QuantizedGraph, target: Target) -> Iterator[tuple[str, int, int, str]]:
    """Of such layers, and of all: axons used, the bound, and the least of boxes."""
    found = resources(map_program(program, target).graph).lower_bound
    total, limit = 0, target.input_axons_per_core.value or 1
    for population in program.populations:
        layer = next(x for x in found.layers if (x.layer, x.rule) == (population.id, RULE))
        least, said = layer.bound, ""
        groups = program.synapses_into(population)
        if len(groups) == 1 and isinstance(synapses := groups[0], ConvSynapses):
            source = program.graph[synapses.inputs[0]].shape
            kernels = synapses.weight.values
            if len(source) == 3 and synapses.geometry.groups == 1 and kernels.any(axis=0).all():
                boxes = least_of_boxes(synapses, source, target)
                if boxes is not None:
                    least = max(least, ceil(boxes[0] - 1e-6))
                    said = f"{least}, reached" if boxes[1] else f"{least}"
        total += least
        if said:
            yield population.id, layer.used, layer.bound, said
    yield "all, in cores", found.used, found.cores, str(ceil(total / limit - 1e-9))


def main(arguments: list[str]) -> None:
    """Print the table."""
    models, target, coding = asked_for(__doc__, arguments)
    models = models or [
        ROOT.parent / "shared" / "models" / f"{name}.onnx"
        for name in ("fashion_vggbn", "mnist_cnn_cntk")
    ]
    print("| network | layer | axons | bound | least of boxes |")
    print("|---|---|---:|---:|---:|")
    for path in models:
        program = network(path, CompileOptions(coding=coding))
        for layer, used, bound, least in rows_of(program, target):
            print(f"| {path.stem} | {layer} | {used} | {bound} | {least} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
