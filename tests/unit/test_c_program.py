"""The C backend: what it writes, what it refuses, and that a wrong program does not verify."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import networks
from hil_networks import network
from snn_backends.c import CBackend, emission, golden, machines, memory, sizes
from snn_backends.c.arrays import packed, packed_bits
from snn_backends.c.integers import CType, holding, literal
from snn_backends.c.layers import harmless
from snn_backends.c.planner import make_plan
from snn_compile.cli import main
from snn_compile.errors import CapacityError, CompileErrors, DeviceError, UsageError
from snn_compile.ir.fixedpoint import Overflow, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import LeakyReadout, QuantizedGraph
from snn_compile.ir.spiking import InputCoding


def emitted(program, folder, **options):
    folder.mkdir()
    CBackend().emit(program, folder, options=options)
    return folder


def verified(program, folder, frames, **more):
    return CBackend().verify(program, folder, frames, emulators=False, **more)


def changed(program, **parts):
    """The network with other populations, by their ids."""
    return QuantizedGraph(Graph([parts.get(n.id, n) for n in program.graph]), program.window)


# Widths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [
        (0, 255, "uint8_t"),
        (0, 256, "uint16_t"),
        (-1, 127, "int8_t"),
        (-129, 0, "int16_t"),
        (0, 65536, "int32_t"),
        (0, 1 << 31, "int64_t"),
    ],
)
def test_the_narrowest_type(low, high, name):
    assert holding(low, high).name == name


def test_beyond_64_bits_is_no_type():
    with pytest.raises(OverflowError):
        holding(0, 1 << 63)


@pytest.mark.parametrize(("low", "bits"), [(-2, 2), (-8, 4), (-9, 8)])
def test_weights_share_bytes(low, bits):
    weights = np.resize(np.arange(low, -low), 13)
    array = packed("w", weights)
    assert packed_bits(weights) == bits
    assert array.bytes == -(-13 * bits // 8)
    if bits < 8:
        places = (array.values[:, None] >> (bits * np.arange(8 // bits))) & ((1 << bits) - 1)
        signed = np.where(places >> (bits - 1), places - (1 << bits), places)
        assert signed.ravel()[:13].tolist() == weights.tolist()


def test_constants_have_a_type_that_holds_them():
    assert literal(-32768) == "INT32_C(-32768)"
    assert literal(1 << 31) == "INT64_C(2147483648)"
    assert literal(-(1 << 63)) == "INT64_MIN"


# Memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_buffers_that_live_together_lie_apart(seed):
    random = np.random.default_rng(seed)
    buffers = [
        memory.Buffer(
            f"b{k}",
            CType(int(random.choice([8, 16, 32]))),
            int(random.integers(1, 40)),
            (int(first := random.integers(0, 9)), int(first + random.integers(0, 4))),
        )
        for k in range(25)
    ]
    arena = memory.allocate(buffers, ())
    for one in buffers:
        type, start = arena.places[one.name]
        assert start + one.size <= arena.sizes[type.bits]
        for other in buffers:
            if other is one or other.type.bits != type.bits:
                continue
            if one.life[0] <= other.life[1] and other.life[0] <= one.life[1]:
                place = arena.places[other.name][1]
                assert start + one.size <= place or place + other.size <= start
    # Where nothing lives long, memory is shared.
    assert arena.bytes < sum(one.size * one.type.bytes for one in buffers)


# The folder --------------------------------------------------------------------------------------


def test_the_command_writes_and_verifies(digits_folder, capsys, monkeypatch):
    monkeypatch.setattr(machines, "others", list)  # emulators take their time
    folder = digits_folder("--emit", "c")
    capsys.readouterr()
    stated = json.loads((folder / "c" / "sizes.json").read_text())
    assert stated["data"] + stated["code"] < 64 << 10
    assert stated["ram"] + stated["stack"] < 16 << 10
    assert f"SNN_RAM_BYTES {stated['ram']}\n" in (folder / "c" / "network.h").read_text()
    assert main(["verify", str(folder), "--against", "c", "--stimuli", "2", "-q", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["compared"] >= 2 * (2 * 1024 + 2 * 10)
    assert outcome["equal"] is True
    assert any("0 of 40 values differ" in line for line in outcome["details"])
    assert any("2,048 of RAM" in line for line in outcome["details"])
    assert "2,048 of RAM" in outcome["mode"]


def test_the_same_network_is_the_same_program(tmp_path):
    program, _ = networks.structures(3, "subtract", 5)
    one, two = emitted(program, tmp_path / "one"), emitted(program, tmp_path / "two")
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def edited(folder):
    path = folder / "network.c"
    path.write_text(path.read_text() + "\n")


def added(folder):
    (folder / "stdint.h").write_text("")


def linked(folder):
    (folder / "network.h").rename(folder.parent / "network.h")
    (folder / "network.h").symlink_to(folder.parent / "network.h")


def missing(folder):
    (folder / "selftest.c").unlink()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edited, "network.c"),
        (added, "stdint.h is not an emitted file"),
        (linked, "network.h is not an emitted file"),
        (missing, "selftest.c is missing"),
    ],
)
def test_a_changed_folder_is_refused_before_anything_runs(tmp_path, monkeypatch, edit, said):
    program, frames = networks.mlp()
    folder = emitted(program, tmp_path / "c")
    edit(folder)
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(machines, "host", lambda: None)
    outcome = verified(program, folder, frames)
    assert outcome.equal is False
    assert outcome.compared == 0
    assert any(said in line for line in outcome.details)


HOSTILE = '*/ #include "/etc/passwd" \\ ??/ int main(void) { return 0; } /* é'


def test_names_of_files_are_harmless(tmp_path):
    program, frames = networks.mlp()
    names = {node.id: NodeId(f"{node.id} {HOSTILE}") for node in program.graph}
    nodes = [
        node.changed(id=names[node.id], inputs=tuple(names[n] for n in node.inputs))
        for node in program.graph
    ]
    renamed = QuantizedGraph(Graph(nodes), program.window)
    folder = emitted(renamed, tmp_path / "c")
    assert verified(renamed, folder, frames[:2]).equal
    for path in folder.iterdir():
        assert 'etc/passwd"' not in path.read_text()
        assert path.read_text().isascii()


def test_a_harmless_name_ends_no_comment():
    assert "*/" not in harmless("a*/b")
    assert "\n" not in harmless("a\nb")
    assert len(harmless("x" * 1000)) < 70


# What it takes -----------------------------------------------------------------------------------


def test_a_network_that_is_too_large_is_refused_by_numbers(tmp_path):
    program, _ = network("graded")
    stated = sizes.sizes_of(make_plan(program))
    with pytest.raises(CompileErrors) as caught:
        emitted(program, tmp_path / "c", flash=stated.flash - 1, ram=stated.stack)
    flash, ram = caught.value.errors
    assert isinstance(flash, CapacityError)
    assert f"{stated.flash:,} bytes of flash, of {stated.flash - 1:,}" in flash.message
    assert f"of RAM, of {stated.stack:,}" in ram.message
    assert not list((tmp_path / "c").iterdir())
    emitted(program, tmp_path / "fits", flash=stated.flash, ram=stated.ram + stated.stack)


@pytest.mark.parametrize("options", [{"prefix": "x"}, {"ram": 0}, {"flash": "64k"}, {"ram": True}])
def test_wrong_options(tmp_path, options):
    with pytest.raises(UsageError):
        emitted(networks.mlp()[0], tmp_path / "c", **options)


def test_memory_of_a_limit_in_c(tmp_path):
    """The program itself says when a microcontroller has too little."""
    folder = emitted(networks.mlp()[0], tmp_path / "c")
    with pytest.raises(DeviceError, match="exceed SNN_RAM_LIMIT"):
        machines.host().compile(folder, "-DSNN_RAM_LIMIT=100", "-fsyntax-only", "network.c")
    machines.host().compile(folder, "-DSNN_RAM_LIMIT=16384", "-fsyntax-only", "network.c")


# What is refused ---------------------------------------------------------------------------------


def test_layers_that_differ_in_time():
    program, _ = network("sync")
    first = program.populations[0]
    at_once, _ = network("graded")
    other = at_once.populations[0]
    mixed = changed(program, **{first.id: other.changed(id=first.id, inputs=first.inputs)})
    assert [error.code for error in CBackend().check(mixed)] == ["c-timing"]


def test_windows_of_an_input_that_is_sent_again():
    program, _ = network("sync")
    again = changed(program, input=replace(program.input, coding=InputCoding.CURRENT))
    assert [error.code for error in CBackend().check(again)] == ["c-timing"]


def test_a_threshold_that_divides_nothing():
    program, _ = network("sync")
    first = program.populations[0]
    zero = first.changed(threshold=QTensor.of(np.zeros_like(first.threshold.values)))
    (error,) = CBackend().check(changed(program, **{first.id: zero}))
    assert error.code == "c-neuron"
    assert "less than 1" in error.message


def test_a_multiplier_that_turns_payloads_around():
    program, _ = network("graded")
    first = program.populations[0]
    turned = first.changed(multiplier=QTensor.of(-first.multiplier.values))
    (error,) = CBackend().check(changed(program, **{first.id: turned}))
    assert error.code == "c-neuron"


def test_strides_and_dilations_that_move_nothing(tmp_path):
    """A file may state any number for them."""
    net = networks.Builder(1, (2, 5, 6), n_steps=3, coding=InputCoding.CURRENT, low=-3, high=9)
    hidden = net.neurons("subtract", net.conv(networks.INPUT, 4, (1, 1), geometry=FAR))
    shape = Geometry(padding=(1, -1, 2, 3), stride=(10**10, 2))
    hidden = net.neurons("subtract", net.conv(hidden, 4, geometry=shape))
    net.neurons("readout", net.dense(hidden, 3))
    program, frames = net.build(), net.frames(2)
    assert verified(program, emitted(program, tmp_path / "c"), frames).equal


FAR = Geometry(dilation=(10**12, 10**11))


def test_numbers_beyond_64_bits():
    program, _ = network("graded")
    first = program.populations[0]
    steep = first.changed(
        state=replace(first.state, bits=63),
        overflow=Overflow.WRAP,
        multiplier=QTensor.of(np.full_like(first.multiplier.values, 1 << 30)),
    )
    far = {node.id: node.changed(exponent=32) for node in program.synapses_into(first)}
    (error,) = CBackend().check(changed(program, **{first.id: steep}, **far))
    assert error.code == "c-width"


# Models without a conformance vector -------------------------------------------------------------


@pytest.mark.parametrize("decays", [(4095, 0), (700, 90)])
def test_an_output_that_leaks(tmp_path, decays):
    program, frames = networks.mlp(4, "leaky", 6)
    (out,) = program.readouts
    du, dv = decays
    leaky = LeakyReadout(**out.common_fields, bias=out.bias, current_decay=du, voltage_decay=dv)
    program = changed(program, **{out.id: leaky})
    outcome = verified(program, emitted(program, tmp_path / "c"), frames[:3])
    assert outcome.equal, outcome.details


# What is noticed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coding", "pattern", "by"),
    [
        ("rate", r"v -= q", "v -= 2 * q"),
        ("sync", r"t < count", "t <= count"),
        ("graded", r"q > 255 \? 255", "q > 99 ? 99"),
    ],
)
def test_a_wrong_program_does_not_verify(tmp_path, monkeypatch, coding, pattern, by):
    program, frames = network(coding, n_stimuli=4)
    folder = emitted(program, tmp_path / "c")
    source = emission.source

    def wrong(plan):
        text, count = re.subn(pattern, by, source(plan))
        assert count
        return text

    monkeypatch.setattr(emission, "source", wrong)
    monkeypatch.setattr(emission, "differences", lambda plan, folder: [])
    outcome = verified(program, folder, frames)
    assert outcome.equal is False
    assert outcome.first_divergence is not None


def test_a_program_that_takes_more_than_it_states(tmp_path, monkeypatch):
    program, frames = networks.mlp()
    folder = emitted(program, tmp_path / "c")
    monkeypatch.setattr(sizes, "STACK", 1)
    monkeypatch.setattr(emission, "differences", lambda plan, folder: [])
    outcome = verified(program, folder, frames[:1])
    assert outcome.equal is False
    assert "were stated" in outcome.details[0]


def test_without_a_compiler(tmp_path, monkeypatch):
    program, frames = networks.mlp()
    folder = emitted(program, tmp_path / "c")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(DeviceError, match="no C compiler: no-such-compiler") as caught:
        verified(program, folder, frames)
    assert caught.value.code == "c-compiler"


@pytest.mark.parametrize(
    ("text", "mode", "code"),
    [("#!/bin/sh\n", 0o600, "c-failed"), ("#!/bin/sh\nsleep 9\n", 0o700, "device-timeout")],
)
def test_programs_that_do_not_start_or_end_are_complaints(tmp_path, text, mode, code):
    """Such as where no program may be run from the folder for temporary files."""
    path = tmp_path / "selftest"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(DeviceError, match="selftest") as caught:
        machines.call([str(path)], 0.2)
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)


STUB = """
#include <stdint.h>
#include <unistd.h>
void snn_trace(int32_t a, const void *b, int32_t c, int32_t d, int32_t e);
void snn_trace(int32_t a, const void *b, int32_t c, int32_t d, int32_t e)
{
    (void)a, (void)b, (void)c, (void)d, (void)e;
}
int main(void) { %s }
"""


@pytest.mark.parametrize(
    ("does", "code", "said"),
    [
        ("return 3;", "c-failed", "exit status 3"),
        ("sleep(60); return 0;", "device-timeout", "within 0.1 s"),
    ],
)
def test_a_program_that_fails(tmp_path, monkeypatch, does, code, said):
    program, frames = networks.mlp()
    folder = emitted(program, tmp_path / "c")
    monkeypatch.setattr(emission, "trace_program", lambda: STUB % does)
    with pytest.raises(DeviceError, match=said) as caught:
        verified(program, folder, frames, time_limit=0.1 if "sleep" in does else 60)
    assert caught.value.code == code


def test_golden_stimuli_are_within_range_and_answered():
    program, _ = networks.structures(5, "subtract", 4, poisson=True)
    found = golden.golden(make_plan(program))
    assert found.shown.min() == -1
    assert found.shown.max() == 1
    frames = golden.stimuli(program, 4)
    assert frames.min() >= program.input.low
    assert frames.max() <= program.input.high
    assert len(np.unique(found.outputs)) > 4
