"""nengo-loihi and brian2-loihi compute, inside the box, what the reference computes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lif_networks
from snn_backends.oracles import Brian2LoihiDevice, NengoLoihiDevice
from snn_backends.oracles.network import refusals, unroll
from snn_compile.cli import main
from snn_compile.errors import CompileErrors, DeviceError
from snn_compile.sim import reference
from snn_compile.sim.portability import portability

DEVICES = {"nengo-loihi": NengoLoihiDevice, "brian2-loihi": Brian2LoihiDevice}


@pytest.fixture(params=DEVICES)
def device(request, emulators):
    if request.param not in emulators:
        variable = DEVICES[request.param].variable
        pytest.skip(f"no {request.param}: {variable} names no Python (docs/reference/cli.md)")
    return DEVICES[request.param]()


def differing(device, program, frames, tmp_path):
    """Layers whose messages differ, and how many messages other than 0 there are."""
    device.load(program, tmp_path)
    (measured,) = device.run(frames, 120.0)
    expected = reference.run(program, frames, record=True).messages
    assert measured.messages.keys() == expected.keys()
    found = [k for k, v in expected.items() if not np.array_equal(measured.messages[k], v)]
    return found, sum(int((v != 0).sum()) for v in expected.values())


@pytest.mark.parametrize(
    ("seed", "size"),
    [(1, 0), (3, 2), *(pytest.param(s, 2, marks=pytest.mark.slow) for s in range(10, 20))],
)
def test_inside_the_box_every_message_is_equal(device, seed, size, tmp_path):
    program, frames = lif_networks.chain(seed, size)
    if not portability(program, frames).portable:
        pytest.skip("this one leaves the box")
    found, sent = differing(device, program, frames, tmp_path)
    assert found == []
    assert sent > 100, "a network that says nothing proves nothing"


def test_outside_the_box_the_comparison_sees_it(device, tmp_path):
    """Emulators shift every weight, Lava the sum: the box says so, and the messages differ."""
    program, frames = lif_networks.chain(5, 0, exponent=-2)
    leaves = portability(program, frames).leaves
    assert "right shift of sums" in {leaving.condition for leaving in leaves}
    found, _ = differing(device, program, frames, tmp_path)
    assert found


def test_a_compiled_stock_network_on_the_command_line(device, examples, tmp_path, capsys):
    folder = tmp_path / "mlp.snn"
    line = [str(examples / "digits_mlp.onnx"), "-o", str(folder), "--quiet", "--emit", "lava"]
    options = ["--neurons", "stock", "--input", "poisson", "-T", "8"]
    assert main([*line, *options, "--state-bits", "16", "--weight-bits", "4"]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert report["portability"]["portable"]
    capsys.readouterr()
    words = ["--device", device.name, "--stimuli", "6", "--json", "-q"]
    assert main(["hil", str(folder), *words]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True


@pytest.mark.parametrize("kind", DEVICES.values())
@pytest.mark.parametrize("python", ["", "/nonexistent/python"])
def test_without_an_interpreter_it_is_missing(kind, python, monkeypatch, tmp_path):
    monkeypatch.setenv(kind.variable, python)
    program, _ = lif_networks.chain(1, 0)
    with pytest.raises(DeviceError, match=kind.package) as caught:
        kind().load(program, tmp_path)
    assert caught.value.code == "oracle-missing"
    assert kind.variable in caught.value.hint


def test_what_the_emulators_have_no_form_for_is_refused_all_at_once(tmp_path):
    program, _ = lif_networks.subtracting()
    with pytest.raises(DeviceError, match="reset by subtraction") as caught:
        NengoLoihiDevice().load(program, tmp_path)
    assert caught.value.code == "not-expressible"
    payloads, _ = lif_networks.chain(1, 0, high=255)
    assert "spikes, 0 or 1" in str(refusals(payloads)[0])
    assert not isinstance(caught.value, CompileErrors)


def test_unrolled_synapses_add_up_to_the_group():
    program, _ = lif_networks.chain(7, 0)
    for node in program.populations:
        for group in program.synapses_into(node):
            source = program.graph[group.inputs[0]].shape
            pre, post, weight = unroll(group, source)
            assert (np.diff(pre) >= 0).all()
            matrix = np.zeros((int(np.prod(group.shape)), int(np.prod(source))), np.int64)
            matrix[post, pre] = weight
            s = np.random.default_rng(0).integers(0, 2, (*source, 1, 3))
            sums = reference.SynapseOperator(group, (0, 1))(s)
            assert np.array_equal((matrix @ s.reshape(-1, 3)).reshape(sums.shape), sums)
