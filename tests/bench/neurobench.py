"""The report's NeuroBench metrics against the package that defines them.

    python tests/bench/neurobench.py [--python INTERPRETER]

The package (with torch, which is large) runs in an environment of its own, made here unless
``--python`` names one that has it. It is given the integer weights of a network in layers of torch,
and activations that replay the messages of our simulator: what is compared is the counting.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from network_builder import INPUT, Builder
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import ConvSynapses, Neurons, QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.report.layers import Activity
from snn_compile.report.neurobench import neurobench
from snn_compile.sim import engine
from snn_compile.sim.reference import encode_input

PACKAGES = ("torch==2.13.0", "numpy", "tqdm")
WITHOUT_DEPENDENCIES = ("neurobench==2.3.0", "snntorch")

RUN = """
import json, sys
import numpy as np, torch
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import TorchModel

given = np.load(sys.argv[1])
layers = json.loads(str(given["layers"]))

class Replay(torch.nn.Module):
    def __init__(self, messages):
        super().__init__()
        self.messages, self.step = messages, 0
    def forward(self, x):
        self.step += 1
        return self.messages[:, self.step - 1]

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = torch.nn.ModuleList()
        for index, layer in enumerate(layers):
            weight = torch.tensor(given[f"weight{index}"]).double()
            if weight.dim() == 4:
                made = torch.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:],
                                       stride=layer["stride"], padding=layer["padding"], bias=False)
            else:
                made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            made.weight.data = weight
            self.stages.append(made)
            if f"messages{index}" in given:
                self.stages.append(Replay(torch.tensor(given[f"messages{index}"]).double()))
    def forward(self, x):
        for step in range(x.shape[1]):
            y = x[:, step]
            for stage in self.stages:
                y = stage(y.flatten(1) if isinstance(stage, torch.nn.Linear) else y)
        return y

net = Network()
model = TorchModel(net)
model.add_activation_module(Replay)
model.register_hooks()
x = torch.tensor(given["input"]).double()
with torch.no_grad():
    answer = model(x)
    found = {
        "footprint": Footprint()(model) * layers[0]["bits"] / 64,
        "connection_sparsity": ConnectionSparsity()(model),
        "activation_sparsity": ActivationSparsity()(model, answer, (x, None)),
        **SynapticOperations()(model, answer, (x, None)),
    }
json.dump(found, open(sys.argv[2], "w"))
"""


def networks() -> Iterator[tuple[str, QuantizedGraph, np.ndarray]]:
    """A convolution and two dense layers, with payloads and with spikes."""
    padded = Geometry(stride=(2, 1), padding=(1, 1, 1, 1))
    for kind, n_steps, coding, high in (
        ("graded", 1, InputCoding.GRADED, 255),
        ("zero", 6, InputCoding.POISSON, 15),
    ):
        net = Builder(3, (2, 7, 9), n_steps=n_steps, coding=coding, high=high)
        hidden = net.neurons(kind, net.conv(INPUT, 5, geometry=padded))
        hidden = net.neurons(kind, net.dense(hidden, 12))
        net.neurons("readout", net.dense(hidden, 4))
        yield kind, net.build(), net.frames(8)


def ours(program: QuantizedGraph, frames: np.ndarray) -> dict[str, float]:
    """The report's metrics, flat; of the footprint what the weights take."""
    counts = engine.run(program, frames).activity
    found = neurobench(program, Activity(counts, len(frames)), [])
    weights = sum(
        group.weight.values.size * group.weight.format.bits / 8
        for node in program.populations
        for group in program.synapses_into(node)
    )
    return {
        "footprint": weights,
        "connection_sparsity": found["connection_sparsity"],
        "activation_sparsity": found["activation_sparsity"],
        **found["synaptic_operations"],
    }


def theirs(python: Path, program: QuantizedGraph, frames: np.ndarray) -> dict[str, float]:
    """The package's metrics of the same network and messages."""
    messages = engine.run(program, frames, record=True).messages
    layers: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for index, node in enumerate(program.populations):
        (group,) = program.synapses_into(node)
        arrays[f"weight{index}"] = group.weight.values
        layer: dict[str, Any] = {"bits": group.weight.format.bits}
        if isinstance(group, ConvSynapses):
            top, left, *_ = group.geometry.padding
            layer |= {"stride": group.geometry.stride, "padding": (top, left)}
        layers.append(layer)
        if isinstance(node, Neurons):
            arrays[f"messages{index}"] = messages[node.id]
    arrays["input"] = encode_input(program.input, frames, program.window.n_steps, 0)
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "given.npz", Path(folder) / "answer.json"
        np.savez(given, layers=json.dumps(layers), **arrays)  # type: ignore[arg-type]
        command = [str(python), "-W", "ignore", "-c", RUN, str(given), str(answer)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if ran.returncode:
            raise SystemExit(f"neurobench failed:\n{ran.stderr[-2000:]}")
        found: dict[str, float] = json.loads(answer.read_text())
    return found


def interpreter(folder: Path) -> Path:
    """A Python of an environment of its own, with the package."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    for arguments in (PACKAGES, ("--no-deps", *WITHOUT_DEPENDENCIES)):
        install = [str(python), "-m", "pip", "install", "-q", *arguments]
        ran = subprocess.run(install, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(f"neurobench cannot be installed: {ran.stderr.strip()[-500:]}")
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, help="an interpreter with neurobench")
    arguments = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        python = arguments.python or interpreter(Path(folder) / "neurobench")
        print("| network | metric | neurobench | ours |\n|---|---|---:|---:|")
        for name, program, frames in networks():
            mine, package = ours(program, frames), theirs(python, program, frames)
            for metric, value in package.items():
                print(f"| {name} | {metric} | {value:.6g} | {mine[metric]:.6g} |")
                # The package rounds connection sparsity to four digits.
                different += abs(value - mine[metric]) > 1e-9 * abs(value) + 5e-5
    raise SystemExit(f"{different} metrics differ" if different else 0)


if __name__ == "__main__":
    main()
