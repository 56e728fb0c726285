"""``.net`` files run by lava-dl's own reader on Lava: every spike equals the reference's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import net_files
from net_files import CUBA, conv, dense, even
from snn_compile.options import CompileOptions
from snn_compile.plugins import frontend_for
from snn_compile.sim import reference

READER = Path(__file__).parent.parent / "netx_reader.py"
N_STEPS = 12


def assert_equal(path, python, folder, density=0.3, n_samples=2):
    """Every spike of every layer of samples, whose layers are reset one after the other."""
    found = frontend_for(path).read_fixed(path, CompileOptions(timesteps=N_STEPS))
    program = found.network(found.arrivals[0])
    folder.mkdir()
    shutil.copy(path, folder / "network.net")
    populations = [node for node in program.populations if node.model != "Delay"]
    (readout,) = program.readouts
    if readout.id.endswith(".sum"):  # of the spikes of the last layer
        populations.remove(readout)
    shape = found.input_shape
    how = {
        "file": "network.net",
        "arguments": {
            "input_message_bits": 0,
            "reset_interval": N_STEPS,
            "reset_offset": 1,
        },
        "input": {"flattened": len(shape) == 1},
        "latency": len(populations),
        "layers": [node.id for node in populations],
    }
    (folder / "network.json").write_text(json.dumps(how))
    random = np.random.default_rng(0)
    x = random.random((n_samples, N_STEPS, *program.input.shape)) < density
    np.savez(folder / "in.npz", messages=x.reshape(n_samples, N_STEPS, *shape))
    command = [python, READER, folder, folder / "in.npz", folder / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    run = reference.run(program, x.astype(np.int64), record=True)
    with np.load(folder / "out.npz") as theirs:
        for node in populations:
            ours = run.messages[node.id]
            assert ours.any()
            if node is readout:  # of the first sample, in units of a weight
                last = ours[0, -1] >> node.bits_below_weights
                np.testing.assert_array_equal(theirs["potential"].ravel(), last.ravel())
                continue
            np.testing.assert_array_equal(theirs[f"spikes/{node.id}"].reshape(ours.shape), ours)


@pytest.mark.parametrize("name", ["mnist", "oxford"])
def test_networks_of_lava_dl(name, netx_python, shared_data, tmp_path):
    path = shared_data / "lava_dl" / name / "network.net"
    if not path.exists():
        pytest.skip(f"no {path}")
    density = {"mnist": 0.3, "oxford": 0.02}[name]  # trained for as many spikes
    assert_equal(path, netx_python, tmp_path / name, density)


def test_convolutions_biases_and_odd_weights(netx_python, tmp_path):
    rng = np.random.default_rng(4)
    path = net_files.write(
        tmp_path / "n.net",
        {"type": "input", "shape": (2, 6, 5)},
        conv(
            even(rng, 4, 1, 3, 2),
            (4, 3, 4),
            stride=(2, 1),
            padding=(1, 0),
            groups=2,
            bias=np.array([2, -3, 4, 0]),
        ),
        conv(even(rng, 6, 4, 2, 2, most=100), (6, 2, 3), CUBA | {"vThMant": 200}),
        {"type": "flatten", "shape": (36, 1, 1)},
        dense(even(rng, 5, 36, most=60) + 1, CUBA | {"vThMant": 90}, bias=rng.integers(-9, 9, 5)),
        dense(even(rng, 3, 5, most=127), CUBA | {"iDecay": 4096, "vDecay": 0}),
    )
    assert_equal(path, netx_python, tmp_path / "net", density=0.5)


def test_delays(netx_python, tmp_path):
    """Of one sample: there, what is late at its end arrives in the next; here it is lost."""
    rng = np.random.default_rng(7)
    path = net_files.write(
        tmp_path / "n.net",
        dense(even(rng, 6, 5, most=90), CUBA),
        dense(even(rng, 4, 6, most=127), CUBA, delay=np.array([0, 3, 1, 3]), bias=np.arange(4)),
        dense(even(rng, 3, 4, most=127), CUBA, delay=2),
        dense(even(rng, 2, 3), CUBA | {"vThMant": (1 << 18) - 1}, bias=np.array([7, -2])),
    )
    assert_equal(path, netx_python, tmp_path / "net", density=0.5, n_samples=1)
