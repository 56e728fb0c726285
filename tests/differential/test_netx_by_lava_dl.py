"""netx files, read and run by lava-dl's own reader: every spike equals the reference's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import networks
from snn_backends.netx import NetxBackend
from snn_compile import compile_model
from snn_compile.cli import main
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import reference

READER = Path(__file__).parent.parent / "netx_reader.py"


def conv(kind, seed):
    """Strides, padding, groups, a bias for every neuron, weights beyond and within 8 bits."""
    net = networks.Builder(seed, (2, 7, 6), n_steps=12, coding=InputCoding.EVENTS, high=1)
    form = Geometry(padding=(1, 0, 1, 0), stride=(2, 1))
    first = net.neurons(kind, net.conv(networks.INPUT, 4, (3, 2), geometry=form, exponent=1))
    second = net.neurons(
        kind, net.conv(first, 4, (2, 2), geometry=Geometry(groups=2)), per_element_bias=True
    )
    third = net.neurons(kind, net.dense(second, 9, exponent=2 * (seed % 2), bits=7))
    fourth = net.neurons(kind, net.dense(third, 8, bits=6))
    net.neurons("readout", net.dense(fourth, 5, bits=6))
    return net.build(), net.random.integers(0, 2, (4, 12, 2, 7, 6))


def mlp(kind, seed):
    """A vector of payloads as input, the same at every step."""
    net = networks.Builder(seed, (11,), n_steps=9, coding=InputCoding.CURRENT, low=-3, high=9)
    hidden = net.neurons(kind, net.dense(networks.INPUT, 9, bits=7))
    net.neurons("readout", net.dense(hidden, 5, bits=6))
    return net.build(), net.frames(4)


def assert_equal(program, frames, python, tmp_path):
    backend, folder = NetxBackend(), tmp_path / "netx"
    folder.mkdir()
    assert [str(error) for error in backend.check(program)] == []
    backend.emit(program, folder)
    messages = reference.input_messages(program, frames)
    np.savez(tmp_path / "in.npz", messages=messages)
    command = [python, READER, folder, tmp_path / "in.npz", tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    run = reference.run(program, frames, record=True)
    with np.load(tmp_path / "out.npz") as found:
        for node in program.populations[:-1]:
            expected = run.messages[node.id]
            assert expected.any()
            actual = found[f"spikes/{node.id}"].reshape(expected.shape)
            assert np.array_equal(actual, expected), node.id
        (output,) = run.outputs.values()
        assert np.array_equal(found["potential"].ravel(), output[0].ravel())


@pytest.mark.parametrize(
    ("make", "kind", "seed"),
    [(conv, "stock", 0), (conv, "stock", 1), (conv, "leaky", 2), (mlp, "stock", 3)],
)
def test_random_networks(make, kind, seed, netx_python, tmp_path):
    program, frames = make(kind, seed)
    assert_equal(program, frames, netx_python, tmp_path)


def test_a_compiled_network(netx_python, examples, tmp_path):
    """From ONNX: potentials that stock LIF can hold, and input spikes."""
    with np.load(examples / "digits_evaluate.npz") as data:
        x = data["x"][:3]
    options = {"coding": "rate", "reset": "zero", "timesteps": 16, "input": "poisson"}
    narrow = {"state_bits": 18, "weight_bits": 6, "emit": ()}
    compiled = compile_model(examples / "digits_mlp.onnx", calibrate=x, **options, **narrow)
    assert_equal(compiled.program, compiled.encoding(x), netx_python, tmp_path)


def test_the_page_shows_how_to_read_a_file(netx_python, examples, tmp_path):
    """The lines of ``docs/reference/netx.md``, as they stand."""
    page = (examples.parent / "docs" / "reference" / "netx.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    words = "--coding rate --reset zero --input poisson --weight-bits 6 -T 16 --state-bits 18"
    folder = ["--emit", "netx", "-q", "-o", str(tmp_path / "mlp.snn")]
    assert main([str(examples / "digits_mlp.onnx"), *words.split(), *folder]) == 0
    done = subprocess.run(
        [netx_python, "-W", "ignore", "-c", f"{lines}\nprint(len(net.layers))"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "3"
