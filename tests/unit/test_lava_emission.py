"""What the Lava backend writes: always the same, self-contained, and every change is noticed."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import lif_networks
import networks
import spread_networks
from snn_backends.lava import LavaBackend, emission
from snn_backends.lava.neurons import neuron_process, split_bias, trace_form
from snn_backends.lava.plan import make_plan
from snn_backends.lava.traces import read_trace
from snn_compile.errors import CompileError, UsageError
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import CubaLIFNeurons, IFNeurons
from snn_compile.ir.schedule import integer_network, schedule
from snn_compile.ir.spiking import Window
from snn_compile.sim import reference
from snn_compile.sim.reference import input_messages

TEMPLATES = Path(emission.__file__).parent / "templates"
ALLOWED = {"lava", "numpy", "scipy", "layout", "network", "processes", "probing", "streams"}


@pytest.fixture
def emitted(tmp_path):
    program, _ = networks.structures(0, "subtract", 4)
    LavaBackend().emit(program, tmp_path, options={})
    return make_plan(program), tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def change_array(folder: Path, key: str, index, by: int = 1) -> None:
    with np.load(folder / emission.ARRAYS) as file:
        arrays = dict(file)
    arrays[key][index] += by
    np.savez_compressed(folder / emission.ARRAYS, **arrays)


def test_emission_is_deterministic(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        program, _ = networks.structures(5, "zero", 3)
        LavaBackend().emit(program, folder, options={"synapses": "conv"})
    assert contents(folders[0]) == contents(folders[1])
    assert len(list((folders[0] / "processes").iterdir())) == 2


def test_emitted_code_imports_lava_and_numpy_only(emitted):
    _, folder = emitted
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                top = name.partition(".")[0]
                assert top in ALLOWED or top in sys.stdlib_module_names, (path.name, name)


def test_arrays_are_integers_and_load_without_pickling(emitted):
    _, folder = emitted
    with np.load(folder / emission.ARRAYS, allow_pickle=False) as file:
        assert all(np.issubdtype(file[key].dtype, np.integer) for key in file.files)


def test_manifest_says_what_runs_where(emitted):
    plan, folder = emitted
    manifest = json.loads((folder / emission.MANIFEST).read_text(encoding="utf-8"))
    kinds = {entry["name"]: entry["kind"] for entry in manifest["layers"]}
    assert set(kinds.values()) == {"stock", "custom"}
    assert manifest["synapses"] == "sparse"
    assert manifest["drain"] == max(plan.program.depth.values())
    assert set(manifest["arrays"]) == set(plan.arrays)


def test_nothing_differs_in_a_fresh_folder(emitted):
    assert emission.differences(*emitted) == []


@pytest.mark.parametrize(
    ("suffix", "index"),
    [
        ("weight", (0, 0, 0, 0)),
        ("threshold", (1,)),
        ("initial_potential", (2, 0, 0)),
        ("bias", (0,)),
    ],
)
def test_a_changed_element_is_named(emitted, suffix, index):
    plan, folder = emitted
    key = next(
        k for k, v in plan.arrays.items() if k.endswith(f".{suffix}") and v.ndim == len(index)
    )
    change_array(folder, key, index)
    (found,) = emission.differences(plan, folder)
    owners = {o.name: o.node.id for o in (*plan.synapses, *plan.populations)}
    assert f"layer '{owners[key.rpartition('.')[0]]}', array '{suffix}' {list(index)}" in found


@pytest.mark.parametrize("name", ["network.py", "processes/neurons.py", "layout.py", "README.md"])
def test_a_changed_file_is_named(emitted, name):
    plan, folder = emitted
    text = (folder / name).read_text(encoding="utf-8").split("\n")
    text[4] += "  "
    (folder / name).write_text("\n".join(text), encoding="utf-8")
    assert emission.differences(plan, folder) == [f"{name} differs, line 5"]


def test_missing_and_superfluous_things_are_named(emitted):
    plan, folder = emitted
    (folder / "layout.py").unlink()
    (folder / "processes" / "more.py").write_text("")
    (folder / "numpy").mkdir()
    (folder / "notes.txt").write_text("dear")
    (folder / emission.MANIFEST).write_text("[]")
    (folder / emission.ARRAYS).write_bytes(b"nonsense")
    found = emission.differences(plan, folder)
    assert [line.split()[0] for line in found] == [
        "layout.py",
        "notes.txt",
        "numpy",
        "processes/more.py",
        emission.ARRAYS,
        emission.MANIFEST,
    ]


def test_only_an_empty_folder_is_written_to(emitted):
    plan, folder = emitted
    with pytest.raises(UsageError, match="not an empty folder"):
        LavaBackend().emit(plan.program, folder, options={})


def test_unknown_options_are_refused(tmp_path):
    program, _ = networks.mlp()
    with pytest.raises(UsageError, match="fold"):
        LavaBackend().emit(program, tmp_path, options={"fold": 1})


@pytest.mark.parametrize(
    ("bias", "exponent", "expected"),
    [
        ([1, -2], 0, ([1, -2], 0)),
        ([1 << 15, -(1 << 16)], 0, ([1 << 11, -(1 << 12)], 4)),
        ([1 << 15, 1], 0, None),
        ([32767, -32768], 6, ([32767, -32768], 6)),
    ],
)
def test_bias_is_split_only_without_loss(bias, exponent, expected):
    found = split_bias(np.array(bias), exponent)
    if expected is None:
        assert found is None
    else:
        mantissa, shift = found
        assert shift <= expected[1]
        assert (mantissa << (shift - exponent)).tolist() == bias


@pytest.mark.parametrize(("coding", "n_steps"), spread_networks.CODINGS)
def test_windows_start_a_lag_apart(tmp_path, coding, n_steps):
    program, _ = spread_networks.structures(1, coding, n_steps)
    LavaBackend().emit(program, tmp_path, options={})
    plan = make_plan(program)
    lag = n_steps if coding == "sync" else 1
    for population in plan.populations:
        assert population.first_row == lag * population.depth
        assert population.constants["first_row"] == population.first_row
        for group in population.synapses:
            held_back = population.depth - 1 if group.source in plan.input_names else 0
            assert group.delay == lag * held_back
    manifest = json.loads((tmp_path / emission.MANIFEST).read_text(encoding="utf-8"))
    deepest = max(program.depth.values())
    assert manifest["drain"] == manifest["latency"] == lag * deepest
    assert manifest["rows"] == f"n_stimuli * {n_steps} + {lag * deepest}"
    rows = {entry["name"]: entry["first_row"] for entry in manifest["layers"] if "trace" in entry}
    assert rows == {p.name: p.first_row for p in plan.populations}
    assert_timing(manifest["timing"], program, {p.name: p.node for p in plan.populations})


def assert_timing(timing, program, nodes):
    """Rows are those of the reference's clock, and the answer is there in its row."""
    window, n_steps = program.window, program.window.n_steps
    first = {entry["name"]: entry["first_row"] for entry in timing["layers"]}
    for entry in timing["layers"]:
        node = nodes[entry["name"]]
        assert entry["first_row"] == reference.row_of(program, node.id, 0, 0)
        assert entry["last_row"] == reference.row_of(program, node.id, 0, n_steps - 1)
    assert timing["rows_of_one_stimulus"] == max(e["last_row"] for e in timing["layers"]) + 1
    assert timing["every"] == n_steps
    frames = np.full((1, *program.input.shape), program.input.high)
    run = reference.run(program, frames, record=True)
    answers = {entry["name"]: entry for entry in timing["answers"]}
    assert {nodes[name].id for name in answers} == {node.id for node in program.readouts}
    for name, entry in answers.items():
        messages = run.messages[nodes[name].id][0]
        outputs = run.outputs[nodes[name].id][0]
        assert np.array_equal(messages[entry["row"] - first[name]], outputs)
        if window.lag == 1:
            assert entry["row"] == first[name] + n_steps - 1


def test_a_stock_readout_is_a_neuron_that_is_read_and_not_heard(tmp_path):
    program, _ = lif_networks.chain(1, 0)
    LavaBackend().emit(program, tmp_path, options={})
    manifest = json.loads((tmp_path / emission.MANIFEST).read_text(encoding="utf-8"))
    layers = {entry["id"]: entry for entry in manifest["layers"]}
    assert {entry["kind"] for entry in layers.values()} == {"stock"}
    assert layers["out"]["process"] == "LIFReset"
    assert layers["out"]["recorded"] == "v >> 6"
    assert layers["one"]["recorded"] == "s_out"
    (answer,) = manifest["timing"]["answers"]
    assert answer["read"] == "v >> 6 after that row"
    assert layers["out"]["constants"]["vth"] == 131071
    assert emission.differences(make_plan(program), tmp_path) == []


@pytest.mark.parametrize(("coding", "n_steps"), spread_networks.CODINGS)
def test_nothing_differs_in_other_codings_either(tmp_path, coding, n_steps):
    program, _ = spread_networks.structures(1, coding, n_steps)
    LavaBackend().emit(program, tmp_path, options={})
    assert emission.differences(make_plan(program), tmp_path) == []


def test_integer_networks_must_be_spread_over_time_first():
    program = integer_network(spread_networks.structures(1, "sync", 3)[0])
    with pytest.raises(TypeError, match="ClipFloorNeurons"):
        make_plan(program)


@pytest.mark.parametrize(
    ("bits", "graded", "changes"),
    [(1, "bits", "i8"), (7, "u8", "i8"), (8, "u8", "i16"), (15, "u16", "i16"), (16, "u16", "i32")],
)
def test_traces_hold_every_message(bits, graded, changes):
    net = networks.Builder(0, (3,))
    net.neurons(
        "readout",
        net.dense(net.neurons("graded", net.dense(networks.INPUT, 2), payload_bits=bits), 2),
    )
    program = net.build()
    spread = schedule(program, Window("sigma-delta", 1))
    assert trace_form(program.populations[0]) == graded
    assert trace_form(spread.populations[0]) == changes
    assert trace_form(spread.populations[1]) == "i32"
    assert neuron_process(spread, spread.populations[0]).constants["payload_max"] == 2**bits - 1


@pytest.mark.parametrize(("form", "low", "high"), [("i8", -128, 127), ("i16", -(2**15), 2**15 - 1)])
def test_traces_of_signed_messages_are_read_back(tmp_path, form, low, high):
    values = np.array([[low, -1, 0], [1, 2, high], [3, low, 5], [6, 7, 8]])
    path = tmp_path / f"x.{form}"
    path.write_bytes(values.astype({"i8": "i1", "i16": "<i2"}[form]).tobytes())
    assert read_trace(path, form, (3,), 1, 1, 2).tolist() == values[1:3, None].tolist()


@pytest.fixture
def runner():
    """The emitted ``run.py`` as a module."""
    spec = importlib.util.spec_from_file_location("emitted_run", TEMPLATES / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("coding", "n_steps"), spread_networks.CODINGS)
def test_the_runner_sends_what_the_reference_says(runner, tmp_path, coding, n_steps):
    program, frames = spread_networks.structures(1, coding, n_steps)
    LavaBackend().emit(program, tmp_path, options={})
    manifest = json.loads((tmp_path / emission.MANIFEST).read_text(encoding="utf-8"))
    sent, hold, n_stimuli = runner.streamed({"frames": frames.astype(np.int32)}, manifest)
    assert (hold, n_stimuli) == (n_steps, len(frames))
    expected = input_messages(program, frames).reshape(len(frames), n_steps, -1)
    assert (sent == expected[:, 0]).all()
    again, hold, _ = runner.streamed({"messages": input_messages(program, frames)}, manifest)
    assert hold == 1
    assert (again == expected.reshape(len(frames) * n_steps, -1)).all()


def test_stock_neurons_are_used_where_they_are_exact():
    for kind, stock in (("stock", True), ("leaky", True), ("zero", False), ("subtract", False)):
        program, _ = networks.structures(3, kind, 5)
        plans = [p for p in make_plan(program).populations if not getattr(p.node, "relay", False)]
        neurons = [p for p in plans if isinstance(p.node, IFNeurons | CubaLIFNeurons)]
        assert neurons
        assert {p.stock for p in neurons} == {stock}
        assert all((p.process == "LIFReset") == p.stock for p in plans)


def test_relays_of_spikes_are_stock_whatever_their_reset():
    program, _ = networks.structures(3, "subtract", 5)
    relays = [p for p in make_plan(program).populations if getattr(p.node, "relay", False)]
    assert [p.process for p in relays] == ["LIFReset"]


def test_integrate_and_fire_outside_the_box_is_not_stock():
    net = networks.Builder(0, (400,), n_steps=4, coding=networks.InputCoding.CURRENT, high=255)
    net.neurons("readout", net.dense(net.neurons("stock", net.dense(networks.INPUT, 20)), 3))
    first = make_plan(net.build()).populations[0]
    assert first.process == "ZeroIF"
    assert "bits" in first.custom_reason


@pytest.mark.parametrize("position", [0.01, 0.2, 0.5, 0.7, 0.98])
def test_a_damaged_archive_is_named(emitted, position):
    plan, folder = emitted
    path = folder / emission.ARRAYS
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 0xFF
    path.write_bytes(content)
    assert emission.differences(plan, folder)


@pytest.mark.parametrize(
    ("geometry", "exponent", "reason"),
    [
        (Geometry(), 4, ""),
        (Geometry(padding=(0, 0, 1, 1)), 0, "pads both sides alike"),
        (Geometry(padding=(-1, 0, -1, 0)), 0, "crop"),
        (Geometry(), -1, "ignores the weight exponent"),
        (Geometry(groups=128), 0, "int8"),
        (Geometry(), 9, "wrap"),
    ],
)
def test_what_stock_conv_cannot_do_is_unrolled(geometry, exponent, reason):
    net = networks.Builder(0, (128, 5, 6), high=3)
    synapses = net.conv(networks.INPUT, 128, (2, 2), geometry=geometry, exponent=exponent)
    net.neurons("readout", net.dense(net.neurons("graded", synapses), 2))
    obstacle = make_plan(net.build()).synapses[0].conv_obstacle
    assert bool(obstacle) == bool(reason)
    assert reason in obstacle


def test_sums_over_32_bits_are_refused(tmp_path):
    net = networks.Builder(0, (700,), low=-255, high=255)
    net.neurons("readout", net.dense(networks.INPUT, 2, exponent=10))
    program = net.build()
    assert {error.code for error in LavaBackend().check(program)} == {"lava-accumulator"}
    with pytest.raises(CompileError, match="32 bits"):
        LavaBackend().emit(program, tmp_path, options={})
    assert not list(tmp_path.iterdir())
