"""The equations of ``ir/quantized.py``, neuron by neuron, in Python's own integers.

Slow, plain, and independent of the simulator: it knows nothing of ``snn_compile.sim``. It walks the
device's clock row by row. In every row each synapse group delivers what it made of the messages of
the row before, each population answers at once, and all stimuli follow each other without a gap, so
that every layer works on another stimulus than its neighbours. Neurons run in every row, also
before their first window, as they would on the device: that nothing of it survives the reset at the
start of a window is part of what is tested. Layer-synchronous neurons have their windows from the
first row on; sigma-delta neurons, which never start anew, start with their first frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise, product
from math import prod

import numpy as np

from snn_compile.ir.fixedpoint import Overflow, QTensor
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    ConvSynapses,
    CubaLIFNeurons,
    DelayNeurons,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Input,
    LeakyReadout,
    PiecewiseLinearDeltaNeurons,
    PiecewiseLinearNeurons,
    PiecewiseLinearWindowNeurons,
    ProductDeltaNeurons,
    ProductNeurons,
    QuantizedGraph,
    RadixIFNeurons,
    Readout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
    SignedIFNeurons,
    SparseSynapses,
    SyncIFNeurons,
    SyncReadout,
    ThresholdDeltaNeurons,
)
from snn_compile.ir.spiking import InputCoding, Reset

LIMIT = 2**23 - 1


@dataclass
class Trace:
    """What happened: per population and stimulus, its messages (a readout: potentials) per step."""

    messages: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    highest: dict = field(default_factory=dict)
    """Largest potential of each neuron before its threshold was looked at, per population."""
    lowest: dict = field(default_factory=dict)


def transcribe(program: QuantizedGraph, frames: np.ndarray) -> Trace:
    """Stream the frames, one window after the other."""
    n_steps, n_frames = program.window.n_steps, len(frames)
    sent = {node.id: host(node, own, n_steps) for node, own in each_input(program, frames)}
    synchronous = any(isinstance(node, SyncReadout) for node in program.graph)
    lag = n_steps if synchronous else 1
    depths = {key: depth * lag for key, depth in depths_of(program).items()}
    wires = {node.id: wired(program, node) for node in program.graph if hasattr(node, "exponent")}
    arriving = {key: [0] * len(targets) for key, targets in wires.items()}
    populations = [node for node in program.graph if node.id in depths]
    cells = {node.id: Cells(node) for node in populations}
    trace = Trace()
    for row in range(n_frames * n_steps + max(depths.values())):
        now = {}
        for node in populations:
            cell, local = cells[node.id], row - depths[node.id]
            a = [sum(parts) for parts in zip(*(arriving[s] for s in node.inputs), strict=True)]
            inside = 0 <= local < n_frames * n_steps
            if local % n_steps == 0 and (inside or synchronous):
                cell.restart()
            if local == 0:
                cell.start()
            now[node.id] = cell.step(a)
            if inside:
                trace.messages.setdefault(node.id, []).append(now[node.id])
                keep(trace.highest, node.id, cell.potential, max)
                keep(trace.lowest, node.id, cell.potential, min)
                if isinstance(node, Readout) and local % n_steps == n_steps - 1:
                    trace.outputs.setdefault(node.id, []).append(now[node.id])
        for key, targets in wires.items():
            group = program.graph[key]
            source = program.graph[group.inputs[0]]
            if isinstance(source, Input):
                # The host sends to each depth when that depth is ready for it.
                (reader,) = (node for node in populations if key in node.inputs)
                step = row - (depths[reader.id] - lag)
                rows = sent[source.id]
                s = rows[step] if 0 <= step < len(rows) else [0] * prod(source.shape)
            else:
                s = now[source.id]
            arriving[key] = [shifted(sum(w * s[i] for i, w in t), group.exponent) for t in targets]
    return trace


def keep(record: dict, key: str, values: list[int], which) -> None:
    """The extreme of what was and what is."""
    record[key] = [which(pair) for pair in zip(record.get(key, values), values, strict=True)]


def depths_of(program: QuantizedGraph) -> dict:
    """One more than the deepest source, for every population."""
    inputs = {node.id for node in program.graph if isinstance(node, Input)}
    depths = dict.fromkeys(inputs, 0)
    for node in program.graph:
        if not isinstance(node, Input) and not hasattr(node, "exponent"):
            sources = [program.graph[s].inputs[0] for s in node.inputs]
            depths[node.id] = max(depths[s] for s in sources) + 1
    return {key: depth for key, depth in depths.items() if key not in inputs}


def each_input(program: QuantizedGraph, frames: np.ndarray):
    """Every input with its own part of the frames: of several, they lie in a row one by one."""
    nodes = [node for node in program.graph if isinstance(node, Input)]
    if len(nodes) == 1:
        yield nodes[0], frames
        return
    start = 0
    for node in nodes:
        stop = start + prod(node.shape)
        yield node, frames[..., start:stop]
        start = stop


def host(node: Input, frames: np.ndarray, n_steps: int) -> list[list[int]]:
    """What the host sends in each row, flat."""
    rows = []
    for index, frame in enumerate(frames):
        flat = [int(v) for v in frame.ravel()]
        if node.coding is InputCoding.EVENTS:
            rows += frame.reshape(n_steps, -1).astype(int).tolist()
        elif node.coding is InputCoding.POISSON:
            full = max(abs(node.low), abs(node.high), 1)
            random = np.random.Generator(np.random.Philox(key=[node.seed, index]))
            draws = random.integers(0, full, size=(n_steps, *node.shape)).reshape(n_steps, -1)
            for draw in draws.tolist():
                rows.append(
                    [
                        (v > 0) - (v < 0) if d < abs(v) else 0
                        for v, d in zip(flat, draw, strict=True)
                    ]
                )
        elif node.coding is InputCoding.FRAME:
            rows += [flat] + [[0] * len(flat)] * (n_steps - 1)
        elif node.coding is InputCoding.CHANGES:
            before = frames[index - 1].ravel() if index else [0] * len(flat)
            rows.append([v - int(w) for v, w in zip(flat, before, strict=True)])
        else:
            rows += [flat] * n_steps
    return rows


def shifted(total: int, exponent: int) -> int:
    """``floor(total * 2**exponent)``."""
    return total * 2**exponent if exponent >= 0 else total // 2**-exponent


def wired(program: QuantizedGraph, node) -> list[list[tuple[int, int]]]:
    """For every target, its synapses: (flat source, weight)."""
    weight = node.weight.values.tolist()
    if isinstance(node, DenseSynapses):
        return [list(enumerate(row)) for row in weight]
    if isinstance(node, SparseSynapses):
        ends, indices = node.indptr.tolist(), node.indices.tolist()
        return [list(zip(indices[a:b], weight[a:b], strict=True)) for a, b in pairwise(ends)]
    assert isinstance(node, ConvSynapses)
    n_in, height, width = program.graph[node.inputs[0]].shape
    n_out, per_group, kh, kw = node.weight.shape
    geometry, targets = node.geometry, []
    top, left, bottom, right = geometry.padding
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    assert per_group * geometry.groups == n_in
    for o in range(n_out):
        group = o // (n_out // geometry.groups)
        for y0 in range(-top, height + bottom - dy * (kh - 1), sy):
            for x0 in range(-left, width + right - dx * (kw - 1), sx):
                synapses = []
                for i, a, b in product(range(per_group), range(kh), range(kw)):
                    y, x = y0 + a * dy, x0 + b * dx
                    # Negative padding crops, so that a place outside the cropped map reads nothing.
                    inside = max(0, -top) <= y < height - max(0, -bottom)
                    inside &= max(0, -left) <= x < width - max(0, -right)
                    if inside:
                        channel = group * per_group + i
                        flat = (channel * height + y) * width + x
                        synapses.append((flat, weight[o][i][a][b]))
                targets.append(synapses)
    assert len(targets) == prod(node.shape)
    return targets


def per_neuron(tensor, shape: tuple[int, ...]) -> list[int]:
    """A parameter, (C,) or broadcastable, for every neuron."""
    values = tensor.values.tolist()
    flat = []
    for place in product(*(range(n) for n in shape)):
        at = values
        if tensor.values.ndim == 1:
            at = values[place[0] if len(values) > 1 else 0]
        else:
            for k in place:
                at = at[k if len(at) > 1 else 0]
        flat.append(at)
    return flat


def toward_zero(x: int) -> int:
    """``sign(x) * (abs(x) >> 12)``."""
    return (abs(x) >> 12) * (1 if x >= 0 else -1)


def clipped(node, x: int) -> int:
    """A potential within its format: cut off, at +-(2**23 - 1) at most, or wrapped."""
    if getattr(node, "overflow", Overflow.SATURATE) is Overflow.WRAP:
        span = 2**node.state.bits
        return (x + span // 2) % span - span // 2
    limit = min(2 ** (node.state.bits - 1) - 1, LIMIT)
    return max(-limit, min(limit, x))


class Cells:
    """The neurons of one population, with their state."""

    def __init__(self, node) -> None:
        self.node, self.n = node, prod(node.shape)
        self.bias = per_neuron(node.bias, node.shape)
        for name in ("threshold", "initial_potential", "multiplier", "shift", "drop"):
            given = getattr(node, name, None)
            if isinstance(given, QTensor) and not hasattr(node, "breakpoints"):
                setattr(self, name, per_neuron(given, node.shape))
        if isinstance(node, ThresholdDeltaNeurons):
            self.told = per_neuron(node.sent, node.shape)
        self.potential = [0] * self.n
        self.collected = [0] * self.n
        self.start()
        self.restart()

    def start(self) -> None:
        """The start of a stream."""
        streams = (
            SigmaDeltaNeurons
            | SigmaDeltaReadout
            | PiecewiseLinearDeltaNeurons
            | ProductDeltaNeurons
        )
        if isinstance(self.node, streams):
            self.collected = [0] * self.n
        self.q = [0] * self.n

    def restart(self) -> None:
        """The start of a window."""
        self.u, self.sent = [0] * self.n, [0] * self.n
        self.waiting = [[] for _ in range(self.n)]
        self.total, self.known = [0] * self.n, list(getattr(self, "told", [0] * self.n))
        self.v = list(getattr(self, "initial_potential", [0] * self.n))
        self.opens = [True] * self.n
        self.place = [0] * self.n

    def step(self, a: list[int]) -> list[int]:
        """One step of all neurons."""
        return [self.one(k, a[k]) for k in range(self.n)]

    def one(self, k: int, a: int) -> int:
        """One step of one neuron: what it sends."""
        node = self.node
        if isinstance(node, GradedNeurons):
            v = self.potential[k] = clipped(node, a + self.bias[k])
            return self.requantized(k, v)
        if isinstance(node, ProductNeurons):
            v = self.potential[k] = clipped(node, a + self.bias[k])
            return self.multiplied(k, v)
        if isinstance(node, ProductDeltaNeurons):
            self.collected[k] += a
            v = self.potential[k] = clipped(node, self.collected[k] + self.bias[k])
            before, self.q[k] = self.q[k], self.multiplied(k, v)
            return self.q[k] - before
        if isinstance(node, ClipFloorNeurons):
            v = self.potential[k] = clipped(node, a + self.bias[k])
            return max(0, min(v // self.threshold[k], node.levels))
        if isinstance(node, PiecewiseLinearNeurons):
            v = self.potential[k] = clipped(node, a + self.bias[k])
            return self.on_a_line(k, v)
        if isinstance(node, PiecewiseLinearDeltaNeurons):
            self.collected[k] += a
            v = self.potential[k] = clipped(node, self.collected[k] + self.bias[k])
            before, self.q[k] = self.q[k], self.on_a_line(k, v)
            return self.q[k] - before
        if isinstance(node, SigmaDeltaNeurons | SigmaDeltaReadout):
            self.collected[k] += a
            v = self.potential[k] = clipped(node, self.collected[k] + self.bias[k])
            if isinstance(node, SigmaDeltaReadout):
                return v
            before, self.q[k] = self.q[k], self.requantized(k, v)
            return self.q[k] - before
        if isinstance(node, PiecewiseLinearWindowNeurons):
            self.collected[k] += a
            if not self.opens[k]:
                return 0
            v = self.potential[k] = clipped(node, self.collected[k] + self.bias[k])
            self.collected[k], self.opens[k] = 0, False
            return self.on_a_line(k, v)
        if isinstance(node, SyncIFNeurons | RadixIFNeurons | SyncReadout):
            self.collected[k] += a  # the last of it arrives in the row in which the window opens
            if self.opens[k]:
                self.potential[k] = self.v[k] = clipped(node, self.collected[k] + self.bias[k])
                self.collected[k], self.opens[k] = 0, False
                self.place[k] = node.payload.bits if isinstance(node, RadixIFNeurons) else 0
            if isinstance(node, SyncReadout):
                return self.v[k]
            self.place[k] = max(self.place[k] - 1, 0)
            weight = 2 ** self.place[k]
            if self.v[k] < self.threshold[k] * weight:
                return 0
            self.v[k] -= self.threshold[k] * weight
            return weight
        if isinstance(node, CubaLIFNeurons | LeakyReadout):
            u = toward_zero(self.u[k] * (4096 - (node.current_decay + 1))) + a * 64
            filtered = getattr(node, "filtered_bias", False)
            u += self.bias[k] if filtered else 0
            if u > 2**23:
                u -= 2**24
            if u <= -(2**23):
                u += 2**24
            v = toward_zero(self.v[k] * (4096 - node.voltage_decay)) + u
            v += 0 if filtered else self.bias[k]
            self.u[k], v = u, clipped(node, v)
            self.potential[k] = v
            if isinstance(node, LeakyReadout):
                self.v[k] = v
                return v
            fired = v > self.threshold[k] * 64
            kept = 0 if node.drop is None else v - self.drop[k]
            self.v[k] = kept if fired else v
            return int(fired)
        if isinstance(node, DelayNeurons):
            self.waiting[k].append(a)
            late = len(self.waiting[k]) - 1 - node.delay
            return self.waiting[k][late] if late >= 0 else 0
        if isinstance(node, ThresholdDeltaNeurons):
            self.total[k] = a if node.of_frames else self.total[k] + a
            active = self.total[k] + self.bias[k]
            v = self.potential[k] = clipped(node, active if node.of_frames else max(active, 0))
            change = v - self.known[k]
            if abs(change) < self.threshold[k]:
                return 0
            self.known[k] = v
            return change // 2**node.shift
        v = self.potential[k] = self.v[k] = clipped(node, self.v[k] + a + self.bias[k])
        if isinstance(node, Readout):
            return v
        if isinstance(node, SignedIFNeurons):
            spike = 1 if v >= self.threshold[k] else -1 if v < 0 and self.sent[k] > 0 else 0
            self.v[k] -= spike * self.threshold[k]
            self.sent[k] += spike
            return spike
        assert isinstance(node, IFNeurons)
        fired = max(0, min(v // self.threshold[k], node.burst))
        if fired:
            self.v[k] = v - fired * self.threshold[k] if node.reset is Reset.SUBTRACT else 0
        return fired

    def on_a_line(self, k: int, v: int) -> int:
        """The payload that the channel's table has for a potential."""
        node, channel = self.node, k // prod(self.node.shape[1:])
        breakpoints, multiplier, offset, shift = (
            table.values[channel].tolist()
            for table in (node.breakpoints, node.multiplier, node.offset, node.shift)
        )
        line = 0
        while line < len(breakpoints) and v >= breakpoints[line]:
            line += 1
        payload = (v * multiplier[line] + offset[line]) // 2 ** shift[line]
        return min(max(payload, node.low), node.high)

    def requantized(self, k: int, v: int) -> int:
        """The payload for a potential."""
        top = 2**self.node.payload.bits - 1
        return min((max(v, 0) * self.multiplier[k]) // 2 ** self.shift[k], top)

    def multiplied(self, k: int, v: int) -> int:
        """The payload for two operands in one potential, v = 4096 x + y, -2048 <= y < 2048."""
        y = (v + 2048) % 4096 - 2048
        x = (v - y) // 4096
        shift = self.shift[k]
        # x y multiplier / 2**shift, rounded to the nearest; halves go up.
        q = (2 * x * y * self.multiplier[k] + 2**shift) // 2 ** (shift + 1)
        return max(self.node.low, min(q, self.node.high))


def assert_equal(run, program: QuantizedGraph, frames: np.ndarray) -> None:
    """Every message, output and count of a simulator's run is that of the transcription."""
    expected = transcribe(program, frames)
    for population in program.populations:
        shape = (len(frames), program.window.n_steps, *population.shape)
        messages = np.array(expected.messages[population.id]).reshape(shape)
        np.testing.assert_array_equal(run.messages[population.id], messages, population.id)
    for readout in program.readouts:
        outputs = np.array(expected.outputs[readout.id]).reshape(len(frames), *readout.shape)
        np.testing.assert_array_equal(run.outputs[readout.id], outputs)
    for name, activity in run.activity.items():
        if not isinstance(program.graph[name], Input):
            sent = np.array(expected.messages[name])
            if not isinstance(program.graph[name], ClipFloorNeurons):
                sent = sent != 0
            np.testing.assert_array_equal(activity.ravel(), sent.sum(axis=0), name)
