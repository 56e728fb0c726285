"""``inspect --against``: the first wrong layer is named, in floating point and in integers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import ints, model, node
from snn_compile import compile_model, inspect_against
from snn_compile.against.float_layers import compare_float
from snn_compile.cli import main
from snn_compile.errors import ModelError, UnsupportedError, UsageError, VerificationError
from snn_compile.ir import ann, quantized
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import lower_model
from snn_compile.report.fixed_layers import fixed_layers
from snn_frontends.onnx import OnnxFrontend

EXAMPLES = Path(__file__).parents[2] / "examples"
RNG = np.random.default_rng(21)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


LAYERS = [
    node("Conv", "x k", "c", "first", pads=[1] * 4),
    node("BatchNormalization", "c g b m v", "n", "norm"),
    node("Relu", "n", "r", "bend"), node("GlobalAveragePool", "r", "p", "mean"),
    node("Flatten", "p", "f", "flat"), node("Gemm", "f w", "s", "last"),
    node("Softmax", "s", "y", "dropped"),
]  # fmt: skip
CONSTANTS = {
    "k": real(4, 2, 3, 3), "g": real(4), "b": real(4), "m": real(4), "v": real(4) ** 2 + 1,
    "w": real(4, 3),
}  # fmt: skip


def saved(tmp_path, shape=("N", 2, 6, 6), nodes=LAYERS, constants=CONSTANTS):
    path = tmp_path / "net.onnx"
    onnx.save(model(nodes, shape, constants), path)
    return path


@pytest.mark.parametrize("shape", [("N", 2, 6, 6), (1, 2, 6, 6), (3, 2, 6, 6)])
def test_layers_keep_to_their_bounds(tmp_path, shape):
    report = inspect_against(saved(tmp_path, shape), n_samples=2)
    assert (report.runtime, report.samples, report.source) == ("onnxruntime", 2, "noise")
    names = [layer.origin.node for layer in report.layers]
    assert names == ["first", "norm", "bend", "mean", "flat", "last"]
    assert report.first is None
    report.require_within()
    assert all(0 < layer.bound < 1e-3 for layer in report.layers)
    assert not report.fixed


def test_layouts_of_the_batch(tmp_path):
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("Reshape", "t rows", "m"),
        node("Gemm", "m w", "g"), node("Relu", "g", "r"), node("Reshape", "r first", "y"),
    ]  # fmt: skip
    constants = {"rows": ints(-1, 4), "first": ints(3, -1, 5), "w": real(4, 5)}
    for shape in ((2, 3, 4), ("N", 3, 4), (1, 3, 4)):
        report = inspect_against(saved(tmp_path, shape, nodes, constants))
        assert report.first is None
        assert {"Gemm", "Relu"} <= {layer.origin.op for layer in report.layers}


def test_padding_that_only_maxima_read(tmp_path):
    nodes = [
        node("Pad", "x p low", "b"), node("MaxPool", "b", "m", kernel_shape=[3, 3]),
        node("Flatten", "m", "f"), node("Gemm", "f w", "y"),
    ]  # fmt: skip
    constants = {"p": ints(0, 0, 1, 1, 0, 0, 1, 1), "low": np.float32(-np.inf), "w": real(72, 3)}
    assert inspect_against(saved(tmp_path, nodes=nodes, constants=constants)).first is None


@pytest.mark.parametrize(
    ("spoiled", "first"),
    [("k", "first"), ("v", "norm"), ("w", "last")],
)
def test_the_first_wrong_layer_is_named(tmp_path, spoiled, first):
    """One weight of a hundred is off by a thousandth: later layers get the right inputs anyway."""
    imported = OnnxFrontend().read(saved(tmp_path))
    x = real(2, 2, 6, 6)
    theirs = imported.layer_values(x)
    other = dict(CONSTANTS, **{spoiled: CONSTANTS[spoiled].copy()})
    other[spoiled].flat[0] *= 1.001
    wrong = OnnxFrontend().read(saved(tmp_path, constants=other))
    layers = compare_float(wrong.ann, x, theirs)
    assert [layer.origin.node for layer in layers if not layer.within] == [first]


def test_a_value_of_another_size_is_no_number(tmp_path):
    imported = OnnxFrontend().read(saved(tmp_path))
    x = real(1, 2, 6, 6)
    theirs = dict(imported.layer_values(x))
    name = next(n.id for n in imported.ann.graph if isinstance(n, ann.Relu))
    theirs[name] = np.full_like(theirs[name], np.nan)
    (wrong,) = [layer for layer in compare_float(imported.ann, x, theirs) if layer.op == "Relu"]
    assert not wrong.within


def test_noise_half_precision_and_doubles(tmp_path):
    for kind in (np.float16, np.float64):
        path = tmp_path / "net.onnx"
        elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        constants = {"w": real(6, 4).astype(kind), "b": real(4).astype(kind)}
        nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "a"), node("Relu", "a", "y")]
        made = model(nodes, ("N", 6), constants, elem_type=elem_type, output_type=elem_type)
        onnx.save(made, path)
        report = inspect_against(path)
        assert report.first is None
        assert len(report.layers) == 3


def test_preprocessing_stands_before_the_file(tmp_path):
    options = CompileOptions(mean_values=(0.5, 1.0), scale_values=2.0)
    assert inspect_against(saved(tmp_path), real(3, 2, 6, 6), options=options).first is None


def test_several_inputs(tmp_path):
    nodes = [
        node("MatMul", "x w", "m"), node("Relu", "m", "r"),
        node("Concat", "r more", "c", axis=1), node("Gemm", "c v", "y"),
    ]  # fmt: skip
    made = model(nodes, ("N", 5), {"w": real(5, 4), "v": real(7, 3)}, more_inputs=["more", "not"])
    for entry in made.graph.input[1:]:
        entry.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(made, tmp_path / "net.onnx")
    data = {"x": real(3, 5), "more": real(3, 3)}
    report = inspect_against(tmp_path / "net.onnx", data)
    assert (report.first, report.samples) == (None, 3)
    assert len(report.layers) >= 4


def test_quantized_files(tmp_path):
    """Values on grids, ties included; integers have no counterpart."""
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("MatMul", "d w", "m"), node("Relu", "m", "r"),
        node("QuantizeLinear", "r s z", "k"), node("DequantizeLinear", "k s z", "e"),
        node("ReduceMean", "e", "a", axes=[1], keepdims=1), node("QuantizeLinear", "a s z", "n"),
        node("DequantizeLinear", "n s z", "y"),
    ]  # fmt: skip
    constants = {"s": np.float32(0.25), "z": np.int8(0), "w": np.round(real(4, 8) * 4) / 4}
    constants["w"] = constants["w"].astype(np.float32)
    report = inspect_against(saved(tmp_path, ("N", 4), nodes, constants), n_samples=16)
    assert report.first is None
    assert [layer.origin.op for layer in report.layers][:1] == ["MatMul"]
    assert len(report.layers) >= 3


def test_a_grid_behind_a_move(tmp_path):
    """The population rounds already, so that what is moved is compared after the grid."""
    nodes = [
        node("MatMul", "x w", "m"), node("Tanh", "m", "t"), node("Unsqueeze", "t one", "f"),
        node("QuantizeLinear", "f s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("MatMul", "d v", "y"),
    ]  # fmt: skip
    constants = {"s": np.float32(1 / 127.5), "z": np.uint8(128), "one": ints(1)}  # less than 1
    constants |= {"w": 9 * real(4, 8), "v": real(8, 3)}
    report = inspect_against(saved(tmp_path, ("N", 4), nodes, constants), n_samples=8)
    assert report.first is None
    assert {layer.origin.op for layer in report.layers} >= {"MatMul", "Unsqueeze"}


def test_layers_that_the_file_rounds_for_each_sample(tmp_path):
    """The import computes them in floating point, so that they are not judged."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"), node("MatMulInteger", "q w z v", "m"),
        node("Cast", "m", "f", to=1), node("Mul", "s step", "t"), node("Mul", "f t", "g"),
        node("Relu", "g", "y"),
    ]  # fmt: skip
    constants = {
        "w": RNG.integers(-9, 9, (4, 3)).astype(np.int8), "v": np.int8(0),
        "step": np.float32(0.125),
    }  # fmt: skip
    report = inspect_against(saved(tmp_path, ("N", 4), nodes, constants))
    assert report.first is None
    assert [layer.origin.op for layer in report.layers] == ["Relu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("digits")
    names = ("digits_cnn.onnx", "digits_calibrate.npz", "digits_evaluate.npz")
    for name in names:
        shutil.copy(EXAMPLES / name, place)
    data = {kind: place / f"digits_{kind}.npz" for kind in ("calibrate", "evaluate")}
    made = compile_model(place / names[0], coding="graded", emit=(), **data)
    assert "losses" not in made.report
    made.save(place / "digits.snn")
    return place / "digits.snn"


def test_a_folder_in_integers(folder, capsys):
    report = inspect_against(folder)
    assert report.first is None
    assert [layer.name for layer in report.fixed] == ["relu1", "relu2", "logits"]
    assert all(layer.sqnr_db > 30 for layer in report.fixed)
    assert 0.5 < report.fixed[0].share <= 1.0
    assert report.source.endswith("digits_evaluate.npz")
    assert main(["inspect", str(folder), "--against", "onnxruntime", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(report.as_dict()))
    assert shown["first"] is None
    assert set(shown["fixed"][0]) >= {"name", "origin", "share", "sqnr_db", "ours", "theirs"}


def test_a_wrong_layer_in_integers(folder):
    """A larger error than its numbers allow, in that layer only."""
    data = np.load(EXAMPLES / "digits_evaluate.npz")["x"][:4]
    options = CompileOptions(coding="graded", calibrate=EXAMPLES / "digits_calibrate.npz")
    lowered = lower_model(EXAMPLES / "digits_cnn.onnx", options)
    assert all(layer.within for layer in fixed_layers(lowered, data))
    layer = lowered.program.graph["relu2"]
    shifted = layer.changed(shift=QTensor.of(layer.shift.values + 1))
    graph = lowered.program.graph.edit(replaced=[shifted])
    program = quantized.QuantizedGraph(graph, lowered.program.window)
    wrong = replace(lowered, quantization=replace(lowered.quantization, program=program))
    layers = fixed_layers(wrong, data)
    assert [layer.name for layer in layers if not layer.within] == ["relu2"]


def test_a_folder_of_other_sources(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "digits.snn")
    with pytest.raises(UsageError) as caught:
        inspect_against(tmp_path / "digits.snn")
    assert caught.value.code == "needs-inputs"
    sources = {"model": EXAMPLES / "digits_mlp.onnx"}
    with pytest.raises(VerificationError) as other:
        inspect_against(folder, sources=sources)
    assert other.value.code == "other-input"


def test_codings_without_bounds(tmp_path):
    path = saved(tmp_path)
    compile_model(path, coding="rate", emit=()).save(tmp_path / "net.snn")
    with pytest.raises(UnsupportedError) as caught:
        inspect_against(tmp_path / "net.snn")
    assert caught.value.code == "no-bounds"


def test_what_is_lost_stands_in_the_report(tmp_path):
    data = {kind: EXAMPLES / f"digits_{kind}.npz" for kind in ("calibrate", "evaluate")}
    lossy = compile_model(
        EXAMPLES / "digits_mlp.onnx", coding="graded", emit=(), payload_bits=2, weight_bits=2,
        rounding="nearest", bias_correction=False, **data,
    )  # fmt: skip
    losses = lossy.report["losses"]
    assert 1 <= len(losses) <= 5
    assert {"relu1", "relu2"} & {loss["name"] for loss in losses}
    assert all(loss["sqnr_db"] < 40 for loss in losses)
    lossy.save(tmp_path / "lossy.snn")
    page = (tmp_path / "lossy.snn" / "report.html").read_text()
    assert "Where it differs" in page


def test_a_difference_ends_with_exit_code_7(tmp_path, monkeypatch, capsys):
    path = saved(tmp_path)
    exact = compare_float

    def off(network, x, theirs, approximated):
        layers = exact(network, x, theirs)
        return [*layers[:2], replace(layers[2], error=1.0), *layers[3:]]

    monkeypatch.setattr("snn_compile.against.compare_float", off)
    assert main(["inspect", str(path), "--against", "onnxruntime"]) == 7
    shown = capsys.readouterr()
    assert "differs" in shown.out
    assert "node 'bend' (Relu): error[layer-differs]" in shown.err
    assert main(["inspect", str(path), "--against", "onnxruntime", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["first"]["origin"].endswith("node 'bend' (Relu)")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--json"], 2),
        (["--against", "onnxruntime", "--model", "net.onnx"], 2),
        (["--against", "onnxruntime", "--samples", "0"], 2),
        (["--against", "onnxruntime", "--data", "none.npz"], 2),
    ],
)
def test_arguments_that_have_no_meaning(tmp_path, arguments, code):
    assert main(["inspect", str(saved(tmp_path)), *arguments]) == code


def test_a_folder_records_its_options(folder):
    words = ["--against", "onnxruntime", "--input-shape", "1,1,8,8"]
    assert main(["inspect", str(folder), *words]) == 2


def test_a_file_that_onnxruntime_refuses(tmp_path, monkeypatch):
    imported = OnnxFrontend().read(saved(tmp_path))
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        imported.layer_values(real(1, 2, 6, 6))
    assert caught.value.code
