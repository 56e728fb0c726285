"""A network with functions, a gate and a normalization through the commands, compiled once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diagnoses import changed, diagnosed
from onnx_models import model, node
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.ir.models.piecewise_linear import TABLES, PiecewiseLinearNeurons
from snn_compile.ir.text import dump_text
from snn_compile.reduction.case import Case, read, write
from snn_compile.sim import reference

RNG = np.random.default_rng(3)


def real(*shape):
    return (RNG.normal(size=shape) * 0.5).astype(np.float32)


def network():
    """A SiLU, written as its gate, and a layer norm."""
    nodes = [
        node("Gemm", "x w", "a"),
        node("Sigmoid", "a", "s"),
        node("Mul", "a s", "silu"),
        node("LayerNormalization", "silu g b", "norm", axis=-1),
        node("Gemm", "norm v", "t"),
        node("Tanh", "t", "h"),
        node("Gemm", "h u", "y"),
    ]
    constants = {"w": real(6, 12), "g": real(12) + 1, "b": real(12), "v": real(12, 8)}
    return model(nodes, ("N", 6), constants | {"u": real(8, 3)}, opset=17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The network beside its data, compiled."""
    place = tmp_path_factory.mktemp("functions")
    (place / "net.onnx").write_bytes(network().SerializeToString())
    np.savez(place / "data.npz", x=real(48, 6) * 2, y=np.arange(48) % 3)
    data = str(place / "data.npz")
    line = [str(place / "net.onnx"), "--calibrate", data, "-q", "-o", str(place / "net.snn")]
    assert main([*line, "--evaluate", data]) == 0
    return place / "net.snn"


@pytest.fixture(scope="module")
def program(folder):
    return CompiledModel.load(folder).program


COMMANDS = {
    "inspect": (["inspect", "{}"], 0, "core"),
    "report": (["report", "{}"], 0, "report.html"),
    "run": (["run", "{}", "--data", "{}/../data.npz", "-o", "{}/../run.npz", "--trace"], 0, "run"),
    "record": (["hil", "{}", "--device", "engine", "--record", "{}/../trace.npz"], 0, "equal"),
    "diff": (["diff", "{}", "{}/../trace.npz"], 0, "equal"),
    "reproduce": (["reproduce", "{}", "--model", "{}/../net.onnx"], 0, "left out"),
    "fault": (["hil", "{}", "--device", "faulty:weight-bit"], 7, "of one weight is flipped"),
    "check": (["check", "{}/../net.onnx", "--target", "loihi2"], 0, "0 unsupported"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(folder, capsys, name):
    command, expected, printed = COMMANDS[name]
    if name == "diff" and not (folder.parent / "trace.npz").exists():
        assert main([p.format(folder) for p in COMMANDS["record"][0]]) == 0
    assert main([part.format(folder) for part in command]) == expected
    shown = capsys.readouterr()
    assert printed in shown.out + shown.err


def test_text_is_read_back(folder, program, tmp_path):
    frames = CompiledModel.load(folder).encoding(real(2, 6))
    write(tmp_path / "net.snt", Case(program, frames))
    assert dump_text(read(tmp_path / "net.snt").program) == dump_text(program)


def lines_of(program):
    """The populations with several lines."""
    kinds = [p for p in program.populations if isinstance(p, PiecewiseLinearNeurons)]
    return [p for p in kinds if p.breakpoints.values.size]


@pytest.mark.parametrize("table", TABLES)
def test_faults_in_a_table_are_located(folder, program, tmp_path, table):
    """One line of every channel is off: its layer is named, and no other."""
    frames = CompiledModel.load(folder).encoding(real(24, 6) * 2)
    population = lines_of(program)[-1]
    value = getattr(population, table)
    entries = value.values.copy()
    column = entries.shape[1] // 2
    much = np.maximum(np.abs(entries[:, column]).max() // 8, 1)
    entries[:, column] += -much if table == "multiplier" else much
    part = replace(population, **{table: replace(value, values=entries)})
    messages = reference.run(changed(program, part), frames, record=True).messages
    first, *others = diagnosed(tmp_path, program, frames, messages)
    assert not others
    assert first.layer == population.id
