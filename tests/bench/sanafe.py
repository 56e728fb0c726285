"""The bill of Loihi 1 against SANA-FE's, on the same networks with the same placement.

    python tests/bench/sanafe.py [--python INTERPRETER]

SANA-FE (GPL-3.0) is an external program: it runs in an environment of its own, made here with
``pip install sanafe`` unless ``--python`` names one that has it, and reads files. Each network is
mapped for loihi1 and written in SANA-FE's format, core for core; its neurons spike as SANA-FE
computes them, and the spikes that it reports go into our bill, so that both count the same events.

Three rows a network: our bill with the constants of loihi1.toml; our bill with the constants of
SANA-FE's loihi.yaml, so that what is left is the model; SANA-FE itself with its detailed timing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from network_builder import INPUT, Builder
from snn_compile import compile_model
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import ConvSynapses, IFNeurons, QuantizedGraph, Synapses
from snn_compile.ir.spiking import InputCoding
from snn_compile.mapping import Block, MappedProgram, Range, bill, map_program
from snn_compile.mapping.block import as_map
from snn_compile.mapping.counts import counts_of
from snn_compile.sim.reference import encode_input
from snn_compile.targets import Constant, Target, Times, load_target

VERSION = "2.2.9"
CORES_OF_A_TILE, CORES = 4, 128
NEVER = 1e12
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

RUN = """
import json, sys
import sanafe
arch = sanafe.load_loihi()
chip = sanafe.SpikingChip(arch)
chip.load(sanafe.load_net(sys.argv[1], arch))
found = chip.sim(int(sys.argv[2]), spike_trace=True)
spikes = [[each.group_name, each.neuron_offset] for step in found["spike_trace"] for each in step]
more = {key: found[key] for key in ("energy", "sim_time", "packets_sent", "neurons_updated")}
json.dump({**more, "spikes": spikes}, open(sys.argv[3], "w"))
"""


@dataclass(frozen=True)
class Outcome:
    """What SANA-FE says of a run."""

    energy: dict[str, float]
    seconds: float
    messages: dict[str, np.ndarray]


def networks() -> Iterator[tuple[str, QuantizedGraph, np.ndarray]]:
    """Three networks of neurons that reset to zero, with spikes for an input."""
    dense = Builder(1, (256,), n_steps=32, coding=InputCoding.POISSON, high=15)
    hidden = dense.neurons("zero", dense.dense(INPUT, 300))
    hidden = dense.neurons("zero", dense.dense(hidden, 100))
    dense.neurons("readout", dense.dense(hidden, 10))
    yield "dense 256-300-100-10", dense.build(), dense.frames(1)[0]
    maps = Builder(2, (2, 16, 16), n_steps=32, coding=InputCoding.POISSON, high=15)
    padded = Geometry(padding=(1, 1, 1, 1))
    hidden = maps.neurons("zero", maps.conv(INPUT, 16, geometry=padded))
    strided = replace(padded, stride=(2, 2))
    hidden = maps.neurons("zero", maps.conv(hidden, 24, geometry=strided))
    maps.neurons("readout", maps.dense(hidden, 10))
    yield "conv 2x16x16", maps.build(), maps.frames(1)[0]
    images = np.load(EXAMPLES / "digits_calibrate.npz")["x"]
    compiled = compile_model(
        EXAMPLES / "digits_cnn.onnx",
        calibrate=images,
        target="loihi1",
        coding="rate",
        timesteps=32,
        reset="zero",
        input="poisson",
        emit=(),
    )
    yield "digits_cnn", compiled.program, compiled.encoding(images[:1])[0]


def lines(mapped: MappedProgram, spikes: np.ndarray) -> Iterator[str]:
    """A mapped network in SANA-FE's format; ``spikes`` (T, *input shape) are its input's."""
    program = mapped.program
    trains = np.abs(spikes.reshape(len(spikes), -1)).T
    yield "network:\n  name: mapped\n  groups:"
    yield f"    - name: {INPUT}\n      neurons:"
    for index, train in enumerate(trains.tolist()):
        yield f"        - {index}: [spikes: {train}]"
    for node in program.populations:
        kind = {isinstance(group, ConvSynapses) for group in program.synapses_into(node)}
        unit = "conv" if kind == {True} else "dense"
        common = f"force_update: true, synapse_hw_name: loihi_{unit}_synapse, log_spikes: true"
        yield f"    - name: {node.id}\n      attributes: [{common}]\n      neurons:"
        for index, (threshold, bias) in enumerate(parameters(node)):
            yield f"        - {index}: [soma: {{threshold: {threshold}, bias: {bias}}}]"
    yield "  edges:"
    for node in program.populations:
        for group in program.synapses_into(node):
            source = group.inputs[0]
            for post, pre, weight in edges(group, program):
                yield f"    - {source}.{pre} -> {node.id}.{post}: [weight: {weight}]"
    yield "mappings:"
    free = range(mapped.cores, CORES)
    for index in range(len(trains)):
        at, unit = free[index % len(free)], index // len(free)
        yield f'  - {INPUT}.{index}: [core: {core(at)}, soma: "loihi_inputs[{unit}]"]'
    for placement in mapped.placements:
        name, at = placement.population, core(placement.core)
        for index in placement.block.flat(program.graph[name].shape).tolist():
            yield f"  - {name}.{index}: [core: {at}, soma: loihi_lif]"


def core(index: int) -> str:
    """A core of the board as SANA-FE numbers it."""
    return f"{index // CORES_OF_A_TILE}.{index % CORES_OF_A_TILE}"


def parameters(node: object) -> Iterator[tuple[float, float]]:
    """Threshold and bias of each neuron; SANA-FE fires above a threshold, we fire at it."""
    assert hasattr(node, "shape")
    if not isinstance(node, IFNeurons):
        yield from [(NEVER, 0.0)] * int(np.prod(node.shape))
        return
    if np.any(node.threshold.values < 1):
        raise ValueError(f"'{node.id}' has a threshold of 0")
    extra = (1,) * (len(node.shape) - 1)
    threshold = np.broadcast_to(node.threshold.values.reshape(-1, *extra), node.shape)
    bias = node.bias.values
    bias = bias.reshape(-1, *extra) if bias.ndim == 1 else bias
    bias = np.broadcast_to(bias, node.shape)
    yield from zip((threshold.ravel() - 0.5).tolist(), bias.ravel().tolist(), strict=True)


def edges(group: Synapses, program: QuantizedGraph) -> Iterator[tuple[int, int, float]]:
    """Every synapse of a group: target, source and weight, by the sources of each target."""
    shape = program.graph[group.inputs[0]].shape
    unit = 2.0**group.exponent
    counts, indices = counts_of(group, shape), np.arange(np.prod(shape)).reshape(as_map(shape))
    c, h, w = as_map(group.shape)
    for post, (o, y, x) in enumerate(np.ndindex(c, h, w)):
        box, reached = counts.onto(Block((o, o + 1), (y, y + 1), (x, x + 1)))
        pre = indices[box][reached > 0]
        for index, weight in zip(pre.tolist(), weights(group, post, pre, shape), strict=True):
            yield post, index, weight * unit


def weights(group: Synapses, post: int, pre: np.ndarray, shape: tuple[int, ...]) -> list[float]:
    """Weights of one target's synapses."""
    values = group.weight.values
    if not isinstance(group, ConvSynapses):
        return [float(each) for each in values.reshape(-1, values.shape[-1])[post, pre]]
    o, y, x = np.unravel_index(post, group.shape)
    channel, row, column = np.unravel_index(pre, shape)
    geometry = group.geometry
    ky = (row - (y * geometry.stride[0] - geometry.padding[0])) // geometry.dilation[0]
    kx = (column - (x * geometry.stride[1] - geometry.padding[1])) // geometry.dilation[1]
    channel = channel % values.shape[1]
    return [float(each) for each in values[o, channel, ky, kx]]


def simulated(python: Path, mapped: MappedProgram, spikes: np.ndarray) -> Outcome:
    """Run SANA-FE on a mapped network."""
    program, n_steps = mapped.program, len(spikes)
    with tempfile.TemporaryDirectory() as folder:
        network, answer = Path(folder) / "network.yaml", Path(folder) / "answer.json"
        network.write_text("\n".join(lines(mapped, spikes)) + "\n")
        command = [str(python), "-c", RUN, str(network), str(n_steps), str(answer)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(f"SANA-FE failed:\n{ran.stdout[-500:]}{ran.stderr[-2000:]}")
        found = json.loads(answer.read_text())
    sent = {
        node.id: np.zeros(int(np.prod(node.shape)))
        for node in program.populations
        if isinstance(node, IFNeurons)
    }
    for name, index in found["spikes"]:
        sent[name][index] += 1
    sent[program.input.id] = np.abs(spikes).sum(axis=0).ravel()
    return Outcome(found["energy"], found["sim_time"], sent)


def with_sanafes_constants(target: Target, *, conv: bool) -> Target:
    """loihi1 with the constants of SANA-FE's loihi.yaml."""

    def one(value: float, unit: str) -> Constant:
        base = target.synaptic_op or target.times.synaptic_op
        if base is None:
            raise ValueError(f"{target.name} states no energy")
        return replace(base, value=value, low=value, high=value, unit=unit, source="loihi.yaml")

    return replace(
        target,
        synaptic_op=one(24.0 if conv else 35.5, "pJ"),
        neuron_update=one(72.8, "pJ"),
        spike=one(180.3, "pJ"),
        times=Times(
            synaptic_op=one(3.1 if conv else 3.8, "ns"),
            neuron_update=one(9.7, "ns"),
            spike_out=one(30.0, "ns"),
            message_out=one(5.1, "ns"),
            message_in=one(16.0, "ns"),
            barrier=one(1800.0, "ns"),
        ),
    )


def interpreter(folder: Path) -> Path:
    """A Python of an environment of its own, with SANA-FE."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", f"sanafe=={VERSION}"]
    ran = subprocess.run(install, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"SANA-FE cannot be installed: {ran.stderr.strip()[-500:]}")
    return python


def table(python: Path) -> Iterator[str]:
    """The lines of the table, in Markdown."""
    target = load_target("loihi1")
    yield "| network | cores | model | energy, µJ | time of a step, µs |"
    yield "|---|---:|---|---:|---:|"
    for name, program, frame in networks():
        mapped = map_program(program, target).graph
        spikes = encode_input(program.input, frame[None], program.window.n_steps, 0)[0]
        theirs = simulated(python, mapped, spikes)
        conv = any(isinstance(node, ConvSynapses) for node in program.graph)
        fitted = replace(mapped, target=with_sanafes_constants(target, conv=conv))
        for label, each in (("ours, loihi1.toml", mapped), ("ours, loihi.yaml", fitted)):
            found = bill(each, theirs.messages, host=False)
            if found.step is None:
                raise SystemExit(f"{each.target.name} states no times")
            values = f"{shown(found.dynamic)} | {shown(found.step)}"
            yield f"| {name} | {mapped.cores} | {label} | {values} |"
        seconds = theirs.seconds / program.window.n_steps
        yield (
            f"| {name} | {mapped.cores} | SANA-FE {VERSION} | {theirs.energy['total'] * 1e6:.3g} |"
            f" {seconds * 1e6:.3g} |"
        )


def shown(quantity: Range) -> str:
    """A quantity in millionths, with its range of cited constants."""
    each = quantity * 1e6
    interval = f" ({each.low:.3g} to {each.high:.3g})" if each.low < each.high else ""
    return f"{each.value:.3g}{interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, help="an interpreter with SANA-FE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = arguments.python or interpreter(Path(folder) / "sanafe")
        print("\n".join(table(python)))


if __name__ == "__main__":
    main()
