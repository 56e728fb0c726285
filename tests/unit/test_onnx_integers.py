"""ONNX files of integer operators: every integer is the reference's, in onnxruntime."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import engine_cases
import networks
import scheduled_networks
import several_inputs
import wide_networks
from onnx_files import run
from snn_backends.onnx_integers import OnnxBackend, assembly, file, network, verifier
from snn_backends.onnx_integers.assembly import INT32, INT64, Assembly, Value
from snn_compile import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileErrors, DeviceError, UnsupportedError
from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import ClipFloorNeurons, Population, QuantizedGraph, Synapses
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import reference

CASES = {
    name: (program, frames)
    for name, program, frames in engine_cases.random_networks(4)
    if not OnnxBackend().check(program)
}
SCRIPT = Path(__file__).parents[1] / "support" / "onnx_files.py"


def assert_equal(program: QuantizedGraph, frames: np.ndarray) -> None:
    compared, found = verifier.compare_integers(
        program, np.asarray(frames, np.int64), lambda n: None
    )
    assert found is None
    assert compared > 0


def operators(program: QuantizedGraph) -> set[str]:
    return {node.op_type for node in file.model(program).graph.node}


@pytest.mark.parametrize("seed", [124, 130, 146])
def test_wide_sums_beyond_32_bits(seed):
    """onnxruntime's own clip of int64 is wrong for these."""
    assert_equal(*wide_networks.wide(seed, 1, kinds=("graded", "clip-floor", "lines")))


@pytest.mark.parametrize("name", CASES)
def test_every_integer_is_the_references(name):
    assert_equal(*CASES[name])


def test_what_is_not_of_one_pass_is_left_out():
    assert len(CASES) >= 18


@pytest.mark.parametrize("kind", ["graded", "clip-floor"])
@pytest.mark.parametrize("seed", range(3))
def test_several_inputs(kind, seed):
    assert_equal(*several_inputs.random_network(seed, kind, 1, InputCoding.GRADED))


# Processors without dot products of 8 bits -------------------------------------------------------


def full_scale() -> tuple[QuantizedGraph, np.ndarray]:
    """Sums of the largest products of 8 bits, in matrices and convolutions."""
    net = networks.Builder(0, (8, 6, 6))
    wide = net.neurons("graded", net.conv("input", 16, geometry=Geometry(padding=(1, 1, 1, 1))))
    net.neurons("readout", net.dense(wide, (10,)))
    program = net.build()
    nodes = []
    for node in program.graph:
        if isinstance(node, Synapses):
            values = np.full(node.weight.shape, 127)
            values[1::2] = -128
            node = replace(node, weight=QTensor(values, node.weight.format))
        nodes.append(node)
    graph = type(program.graph)(nodes)
    return QuantizedGraph(graph, program.window), np.full((4, 8, 6, 6), 255)


def test_largest_products_are_exact_here():
    assert_equal(*full_scale())


def int8_model(program: QuantizedGraph) -> bytes:
    """The same with signed weights around 0: what must not be written."""
    made = file.model(program)
    for constant in made.graph.initializer:
        if constant.data_type == TensorProto.UINT8 and constant.name.endswith(":weight"):
            values = numpy_helper.to_array(constant).astype(np.int16) - 128
            constant.CopyFrom(numpy_helper.from_array(values.astype(np.int8), constant.name))
        elif constant.data_type == TensorProto.UINT8 and numpy_helper.to_array(constant) == 128:
            constant.CopyFrom(numpy_helper.from_array(np.array(0, np.int8), constant.name))
    return made.SerializeToString()


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["Haswell", "Nehalem"])
def test_on_processors_without_dot_products(processor, tmp_path):
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-x86_64 is not installed")
    program, frames = full_scale()
    made = file.model(program, every_message=True)
    files = {"uint8": made.SerializeToString(), "int8": int8_model(program)}
    np.savez(tmp_path / "in.npz", input=frames.astype(np.uint8))
    outputs = {}
    for name, content in files.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        line = [f"{tmp_path}/{name}.onnx", tmp_path / "in.npz", tmp_path / f"{name}.npz"]
        words = [emulator, "-cpu", processor, sys.executable, SCRIPT, *line]
        subprocess.run(words, check=True, capture_output=True)
        with np.load(tmp_path / f"{name}.npz") as arrays:
            outputs[name] = dict(arrays)
    expected = reference.run(program, frames, record=True).messages
    for layer, messages in expected.items():
        assert np.array_equal(outputs["uint8"][layer], messages[:, 0])
    (readout,) = program.readouts
    saturates = processor == "Haswell"
    assert np.array_equal(outputs["int8"][readout.id], expected[readout.id][:, 0]) != saturates


# Operators ---------------------------------------------------------------------------------------


def computed(asm: Assembly, value: Value, x: np.ndarray) -> np.ndarray:
    """What operators make of the tensor ``x``."""
    shape = [None] * x.ndim
    infos = [
        helper.make_tensor_value_info(name, assembly.onnx_type(np.dtype(dtype)), shape)
        for name, dtype in (("x", x.dtype), (value.name, value.dtype))
    ]
    constants = [numpy_helper.from_array(a, name) for name, a in asm.constants.items()]
    graph = helper.make_graph(asm.nodes, "g", infos[:1], infos[1:], constants)
    opset = helper.make_opsetid("", file.OPSET)
    made = helper.make_model(graph, ir_version=file.IR_VERSION, opset_imports=[opset])
    return run(made.SerializeToString(), {"x": x})[value.name]


@pytest.mark.parametrize("dtype", [INT32, INT64])
@pytest.mark.parametrize("most", [1, 7, 12, 31, 32, 62])
def test_shifts_round_down(dtype, most):
    random = np.random.default_rng(most)
    by = np.array([[0], [most // 2], [most]])
    x = random.integers(-(1 << 24), 1 << 24, (3, 64)).astype(dtype)
    x[:, :4] = [-(1 << 24), -1, 0, (1 << 24) - 1]
    asm = Assembly()
    asm.reserve(["x"])
    value = asm.shifted(Value("x", (64,), dtype, int(x.min()), int(x.max())), by, "y")
    assert np.array_equal(computed(asm, value, x), x.astype(np.int64) >> by)
    assert value.low <= (x.astype(np.int64) >> by).min()
    assert (x.astype(np.int64) >> by).max() <= value.high


@pytest.mark.parametrize("dtype", [INT32, INT64])
@pytest.mark.parametrize(("low", "high"), [(-8388607, 8388607), (0, 255), (-(1 << 40), -5)])
def test_clips_of_numbers_of_any_size(dtype, low, high):
    random = np.random.default_rng(0)
    bits = [8, 24, 31] if dtype == INT32 else [8, 24, 31, 32, 33, 40, 61]
    x = np.concatenate([random.integers(-(1 << k) + 1, 1 << k, 500) for k in bits]).astype(dtype)
    asm = Assembly()
    asm.reserve(["x"])
    value = asm.clipped(Value("x", (), dtype, int(x.min()), int(x.max())), low, high, "y")
    assert np.array_equal(computed(asm, value, x), np.clip(x.astype(np.int64), low, high))


def test_a_number_beyond_64_bits_is_refused():
    with pytest.raises(assembly.BeyondError):
        assembly.type_for(0, 1 << 63)


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (-3, 255), (0, 256), (-40000, 70000)])
@pytest.mark.parametrize("layer", ["conv", "dense", "sparse", "one to one"])
def test_wide_messages_in_planes(low, high, layer):
    net = networks.Builder(high, (2, 5, 4), low=low, high=high)
    match layer:
        case "conv":
            geometry = Geometry((2, 1), (1, 0, 2, 1), (1, 2))
            group = net.conv("input", 3, (2, 2), geometry=geometry)
        case "dense":
            group = net.dense("input", (4,))
        case "sparse":
            group = net.sparse("input", (4,))
        case _:
            group = net.conv("input", 2, (1, 1), geometry=Geometry(groups=2))
    net.neurons("readout", group)
    program = net.build()
    frames = net.frames(4)
    frames[0], frames[1] = low, high
    assert_equal(program, frames)
    assert ("ConvInteger" in operators(program)) == (layer == "conv")
    assert ("MatMulInteger" in operators(program)) == (layer == "dense")


def test_cropping():
    net = networks.Builder(3, (2, 6, 7), low=-5, high=300)
    geometry = Geometry(padding=(-1, 2, 1, -2))
    net.neurons("readout", net.conv("input", 3, (2, 2), geometry=geometry))
    assert_equal(net.build(), net.frames(4))


@pytest.mark.parametrize("overflow", Overflow)
def test_states_at_their_ends(overflow):
    program, frames = networks.mlp(1, "clip-floor")
    nodes = [
        node.changed(state=QFormat(12), overflow=overflow) if isinstance(node, Population) else node
        for node in program.graph
    ]
    narrow = QuantizedGraph(type(program.graph)(nodes), program.window)
    assert_equal(narrow, frames)
    (readout,) = narrow.readouts
    outputs = [reference.run(one, frames).outputs[readout.id] for one in (narrow, program)]
    assert (outputs[0] != outputs[1]).any()


def test_names_that_others_have():
    program, frames = networks.mlp(2, "graded")
    renamed = {"layer2": "input:encoded", "layer4": "layer1:weight"}
    nodes = []
    for node in program.graph:
        inputs = tuple(NodeId(renamed.get(name, name)) for name in node.inputs)
        nodes.append(replace(node, id=NodeId(renamed.get(node.id, node.id)), inputs=inputs))
    assert_equal(QuantizedGraph(type(program.graph)(nodes), program.window), frames)


# Files -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(digits_folder: Callable[..., Path]) -> CompiledModel:
    return CompiledModel.load(digits_folder("--emit", "onnx", "--coding", "graded"))


def test_real_values_give_what_run_gives(compiled, tmp_path):
    compiled.emit("onnx", tmp_path / "onnx")
    shape, unit = compiled.encoding.shape, float(compiled.encoding.unit.max())
    random = np.random.default_rng(0)
    x = random.uniform(-0.2, 1.2, (12, *shape)).astype(np.float32)
    x[0], x[1] = 1e30, -np.inf
    x[2:4] = (random.integers(0, 255, (2, *shape)) + 0.5) * unit  # ties, or next to one
    (y,) = run(str(tmp_path / "onnx" / file.REALS), {"input": x}).values()
    expected = compiled.run(x)
    assert y.dtype == expected.dtype
    assert np.array_equal(y, expected)


def test_the_folder_is_verified(compiled, tmp_path):
    compiled.emit("onnx", tmp_path / "onnx")
    backend = compiled.backend("onnx")
    outcome = backend.verify(
        compiled.program, tmp_path / "onnx", compiled.stimulus[:4], time_limit=60.0, progress=print
    )
    assert outcome.equal
    assert outcome.stimuli == 4
    for name in (file.INTEGERS, file.REALS, file.QUANTIZED):
        onnx.checker.check_model(tmp_path / "onnx" / name, full_check=True)


def test_the_same_bytes_again(compiled, tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        compiled.emit("onnx", folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [file.INTEGERS, file.REALS, file.QUANTIZED]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def changed_weight(folder: Path) -> None:
    path = folder / file.INTEGERS
    made = onnx.load(path)
    weight = next(one for one in made.graph.initializer if one.name.endswith(":weight"))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] ^= 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(made, path)


def changed_unit(folder: Path) -> None:
    path = folder / file.REALS
    path.write_bytes(path.read_bytes().replace(b"Round", b"Floor"))


def linked(folder: Path) -> None:
    path = folder / file.INTEGERS
    path.rename(folder / "kept.onnx")
    path.symlink_to("kept.onnx")


CHANGES = {
    "weight": (changed_weight, "integers.onnx differs"),
    "rounding": (changed_unit, "model.onnx differs"),
    "missing": (lambda f: (f / file.REALS).unlink(), "model.onnx is missing"),
    "link": (linked, "integers.onnx is missing"),
    "further": (lambda f: (f / "more.onnx").touch(), "more.onnx is not an emitted file"),
    "not-onnx": (lambda f: (f / file.INTEGERS).write_bytes(b"x"), "integers.onnx differs"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_noticed(change, compiled, tmp_path):
    compiled.emit("onnx", tmp_path)
    make, text = CHANGES[change]
    make(tmp_path)
    outcome = compiled.backend("onnx").verify(
        compiled.program, tmp_path, compiled.stimulus[:1], time_limit=60.0, progress=print
    )
    assert outcome.equal is False
    assert text in outcome.details[0]


def test_the_command(digits_folder: Callable[..., Path], capsys, monkeypatch):
    folder = digits_folder("--emit", "onnx", "--coding", "graded")
    line = ["verify", str(folder), "--against", "onnx", "--stimuli", "2", "-q"]
    assert main(line) == 0
    (folder / "onnx" / file.INTEGERS).write_bytes(b"x")
    assert main(line) == 7
    assert "integers.onnx differs" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(line) == 8
    assert "pip install 'snn-compile[onnxruntime]'" in capsys.readouterr().err


def test_what_onnxruntime_refuses_is_a_device_error():
    with pytest.raises(DeviceError, match="refuses the file"):
        verifier.session(b"nothing")


# Refusals ----------------------------------------------------------------------------------------


def test_rate_coding_is_refused_before_anything_is_written(examples, capsys, tmp_path):
    line = [
        str(examples / "digits_mlp.onnx"),
        "--coding",
        "rate",
        "-T",
        "2",
        "--emit",
        "onnx",
        "-q",
    ]
    assert main([*line, "-o", str(tmp_path / "out.snn")]) == 4
    assert "use --coding graded, sync or radix" in capsys.readouterr().err
    assert not (tmp_path / "out.snn").exists()


def test_all_refusals_at_once(tmp_path):
    program, _ = networks.mlp(0, "subtract", 5)
    with pytest.raises(CompileErrors) as caught:
        OnnxBackend().emit(program, tmp_path)
    assert [error.code for error in caught.value.errors] == ["onnx-neuron", "onnx-neuron"]
    assert not list(tmp_path.iterdir())


def test_a_stream_is_refused():
    spread = scheduled_networks.scheduled("sigma-delta", "mlp", 0, 1)
    (error,) = OnnxBackend().check(spread.program)
    assert error.code == "onnx-state"


def test_integers_beyond_the_operators_are_refused():
    net = networks.Builder(0, (3,), high=(1 << 31) - 1)
    net.neurons("readout", net.dense("input", (2,), exponent=8))
    shifted = [
        replace(node, exponent=32) if isinstance(node, Synapses) else node for node in net.nodes
    ]
    (error,) = OnnxBackend().check(QuantizedGraph(type(net.build().graph)(shifted), net.window))
    assert isinstance(error, UnsupportedError)
    assert error.code == "onnx-precision"


def test_more_than_a_file_holds_is_refused(monkeypatch):
    program, _ = networks.mlp(0, "graded")
    monkeypatch.setattr(network, "MAX_SIZE", 100)
    (error,) = OnnxBackend().check(program)
    assert error.code == "onnx-size"


def test_counts_of_any_size():
    program, frames = networks.mlp(4, "clip-floor", levels=65535)
    assert isinstance(program.populations[0], ClipFloorNeurons)
    assert_equal(program, frames)
