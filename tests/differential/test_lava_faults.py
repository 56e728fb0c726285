"""A comparison that cannot fail proves nothing: every fault that is put in is found, and where."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import networks
from snn_backends.lava import LavaBackend, emission, environment, runner
from snn_backends.lava.plan import make_plan
from snn_compile.errors import DeviceError
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.spiking import InputCoding

pytestmark = pytest.mark.lava


def network():
    """Small weights and thresholds, so that 1 more shows."""
    net = networks.Builder(1, (2, 5, 6), n_steps=5, coding=InputCoding.CURRENT, high=3)
    same = Geometry(padding=(1, 1, 1, 1))
    first = net.neurons("subtract", net.conv(networks.INPUT, 3, bits=3, geometry=same))
    second = net.neurons("subtract", net.conv(first, 3, bits=3, geometry=same))
    net.neurons("readout", net.dense(second, 4, bits=4))
    return net.build(), net.frames(10)


PROGRAM, FRAMES = network()
PLAN = make_plan(PROGRAM)
FIRST, SECOND, OUTPUT = PLAN.populations


@pytest.fixture
def emitted(tmp_path):
    LavaBackend().emit(PROGRAM, tmp_path, options={})
    return tmp_path


def change(folder: Path, key: str, edit) -> None:
    with np.load(folder / emission.ARRAYS) as file:
        arrays = dict(file)
    arrays[key] = np.ascontiguousarray(edit(arrays[key].copy()))
    np.savez_compressed(folder / emission.ARRAYS, **arrays)


def one_more(array):
    array.reshape(-1)[array.size // 2] += 1
    return array


def weight(folder):
    change(folder, f"{SECOND.synapses[0].name}.weight", one_more)


def threshold(folder):
    change(folder, f"{SECOND.name}.threshold", one_more)


def initial_potential(folder):
    change(folder, f"{FIRST.name}.initial_potential", lambda v: v + 1)


def flipped_kernel(folder):
    change(folder, f"{FIRST.synapses[0].name}.weight", lambda w: w[:, :, ::-1, ::-1])


def shifted_step(folder):
    path = folder / emission.MANIFEST
    manifest = json.loads(path.read_text())
    (entry,) = (layer for layer in manifest["layers"] if layer["name"] == SECOND.name)
    assert entry["constants"]["first_row"] == 2
    entry["constants"]["first_row"] = 3
    path.write_text(json.dumps(manifest))


FAULTS = [
    (weight, f"layer '{SECOND.synapses[0].node.id}', array 'weight' [", SECOND),
    (threshold, f"layer '{SECOND.node.id}', array 'threshold' [1]", SECOND),
    (initial_potential, f"layer '{FIRST.node.id}', array 'initial_potential' [0, 0, 0]", FIRST),
    (flipped_kernel, f"layer '{FIRST.synapses[0].node.id}', array 'weight' [0, ", FIRST),
    (shifted_step, "manifest.json: 'layers' differs", SECOND),
]


@pytest.mark.parametrize(("fault", "line", "where"), FAULTS)
def test_files_show_it(emitted, fault, line, where):
    fault(emitted)
    (found,) = emission.differences(PLAN, emitted)
    assert found.startswith(line)


@pytest.mark.parametrize(("fault", "line", "where"), FAULTS)
def test_lava_shows_it(lava_environment, monkeypatch, emitted, fault, line, where):
    wrong_where_it_runs(monkeypatch, fault)
    found = LavaBackend().verify(PROGRAM, emitted, FRAMES, time_limit=3000, conv_stimuli=0)
    assert not found.equal
    assert found.first_divergence is not None
    assert found.first_divergence.layer == where.node.id
    assert found.first_divergence.expected != found.first_divergence.actual
    probed = [d for d in found.details if d.startswith("synapses probed") and "expected" in d]
    if fault in (weight, flipped_kernel):
        assert f"layer '{where.synapses[0].node.id}'" in probed[0]
    else:
        assert not probed


def wrong_where_it_runs(monkeypatch, change):
    """As if the files were right and the device wrong: only the copy that is run has the fault."""
    write = emission.write

    def faulty(plan, folder, options):
        write(plan, folder, options)
        change(folder)

    monkeypatch.setattr(emission, "write", faulty)


def test_files_with_a_fault_are_not_run(monkeypatch, emitted):
    weight(emitted)
    monkeypatch.setattr(environment, "ensure", lambda: pytest.fail("Lava was asked for"))
    found = LavaBackend().verify(PROGRAM, emitted, FRAMES, time_limit=60, conv_stimuli=0)
    assert found.equal is False
    assert found.compared == 0
    assert "array 'weight'" in found.details[0]


def test_a_hanging_lava_is_ended_without_leftovers(lava_environment, monkeypatch, emitted):
    def hanging(folder):
        path = folder / "processes" / "neurons.py"
        start = "    def step(self, a):\n"
        path.write_text(path.read_text().replace(start, start + HANG))

    wrong_where_it_runs(monkeypatch, hanging)
    token = f"hang{os.getpid()}"
    monkeypatch.setattr(runner.secrets, "token_hex", lambda n: token)
    begin = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        LavaBackend().verify(PROGRAM, emitted, FRAMES, time_limit=5, conv_stimuli=0)
    assert caught.value.code == "lava-timeout"
    assert time.monotonic() - begin < HANG_SECONDS
    assert left_over(token) == []


HANG_SECONDS = 600
HANG = f"        import time; time.sleep({HANG_SECONDS})\n"


def test_a_failing_lava_is_an_error_without_leftovers(lava_environment, monkeypatch, emitted):
    def failing(folder):
        path = folder / "network.py"
        path.write_text(path.read_text() + "\nraise RuntimeError('broken on purpose')\n")

    wrong_where_it_runs(monkeypatch, failing)
    token = f"fail{os.getpid()}"
    monkeypatch.setattr(runner.secrets, "token_hex", lambda n: token)
    with pytest.raises(DeviceError, match="broken on purpose") as caught:
        LavaBackend().verify(PROGRAM, emitted, FRAMES, time_limit=300, conv_stimuli=0)
    assert caught.value.code == "lava-failed"
    assert left_over(token) == []


def test_a_good_run_leaves_nothing_and_changes_nothing(lava_environment, monkeypatch, emitted):
    before = {path: path.read_bytes() for path in emitted.rglob("*") if path.is_file()}
    token = f"good{os.getpid()}"
    monkeypatch.setattr(runner.secrets, "token_hex", lambda n: token)
    found = LavaBackend().verify(PROGRAM, emitted, FRAMES, time_limit=3000)
    assert found.equal, found.details
    assert left_over(token) == []
    assert {path: path.read_bytes() for path in emitted.rglob("*") if path.is_file()} == before


def left_over(token: str) -> list[str]:
    found = [str(path) for path in Path("/dev/shm").glob(f"psm_{token}_*")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode()
        except OSError:
            continue
        if token in text:
            found.append(text)
    return found


UNTOLD = """
import sys, threading, time

sys.path.insert(0, sys.argv[1])
import run

run.look_again()
from lava.magma.compiler.channels.pypychannel import CspSelector


class Channel:
    observer = None
    has_come = False

    def probe(self):
        return self.has_come


def come():
    time.sleep(0.5)
    channel.has_come = True  # and nobody is told


channel = Channel()
threading.Thread(target=come).start()
print(CspSelector().select((channel, lambda: "a command")))
"""


def test_a_process_that_was_not_told_of_a_command_finds_it(lava_environment, tmp_path):
    script = tmp_path / "untold.py"
    script.write_text(UNTOLD)
    command = [*lava_environment.command(script), Path(emission.__file__).parent / "templates"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "a command\n", done.stderr
