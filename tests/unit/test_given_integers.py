"""The integers of a quantized file in the compiled network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import node, session
from quantized_models import TYPES, inputs_of, pair, quantized_model
from snn_compile import compile_model
from snn_compile.convert.file_integers import of_file
from snn_compile.errors import Origin
from snn_compile.ir import spiking
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses
from snn_compile.quantize.given import given_integers, with_units
from snn_compile.sim import engine, reference


def integers(kind: str, shape: tuple[int, ...], low: int, high: int, seed: int = 3) -> np.ndarray:
    found = np.random.default_rng(seed).integers(low, high, shape, endpoint=True)
    found.flat[:2] = low, high
    return found.astype(kind)


def network(conv, dense, *, zero=0, steps=(0.01, 0.02, 0.015, 0.03), kind="int8", dense_step=0.005):
    """Conv and Gemm with given integers, everything between pairs."""
    per_channel = {"axis": 0} if len(steps) > 1 else {}
    constants = {
        "xs": (0.02, "float32"),
        "xz": (128, "uint8"),
        "w": (conv, kind),
        "ws": (np.array(steps) if per_channel else steps[0], "float32"),
        "wz": (np.full(len(steps), zero) if per_channel else zero, kind),
        "b": (np.arange(4) * 100, "int32"),
        "bs": (np.float32(0.0002), "float32"),
        "hs": (0.05, "float32"),
        "hz": (0, "uint8"),
        "v": (dense, "int8"),
        "vs": (dense_step, "float32"),
        "vz": (0, "int8"),
        "ys": (0.1, "float32"),
        "yz": (128, "uint8"),
    }
    nodes = [
        *pair("x", "xd", "xs", "xz"),
        node("DequantizeLinear", "w ws wz", "wd", **per_channel),
        node("DequantizeLinear", "b bs", "bd"),
        node("Conv", "xd wd bd", "c", strides=[2, 2]),
        *pair("c", "h", "hs", "hz"),
        node("Flatten", "h", "f"),
        node("DequantizeLinear", "v vs vz", "vd"),
        node("Gemm", "f vd", "g", transB=1),
        *pair("g", "y", "ys", "yz"),
    ]
    return quantized_model(nodes, constants)


def compiled(made: onnx.ModelProto, folder: Path, **options):
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    x = inputs_of(made, 64)
    return compile_model(path, calibrate=x, evaluate=(x, None), **options), x


CONV = (4, 3, 3, 3)


@pytest.mark.parametrize(("low", "high"), [(-127, 127), (-128, 127), (-8, 7)])
def test_integers_of_weights_are_those_of_the_file(tmp_path, low, high):
    conv, dense = integers("int8", CONV, low, high), integers("int8", (5, 36), low, high)
    model, x = compiled(network(conv, dense), tmp_path)
    synapses = [n for n in model.program.graph if isinstance(n, ConvSynapses | DenseSynapses)]
    found = [group.weight.values for group in synapses[:2]]
    assert (found[0] == conv).all()
    assert (found[1].reshape(dense.shape) == dense).all()
    shares = [layer.get("integers_kept") for layer in model.report["layers"]]
    assert [share for share in shares if share is not None] == [1.0, 1.0]
    frames = model.encoding(x[:8])
    for name, value in reference.run(model.program, frames).outputs.items():
        assert (engine.run(model.program, frames).outputs[name] == value).all()
    if high > 100:  # few integers tie often
        assert model.report["ladder"][-1]["agreement"] > 98


def test_the_input_arrives_as_the_integers_of_the_file(tmp_path):
    made = network(integers("int8", CONV, -127, 127), integers("int8", (5, 36), -127, 127))
    model, x = compiled(made, tmp_path)
    expected = np.clip(np.rint(x / np.float32(0.02)) + 128, 0, 255) - 128
    assert (model.encoding(x) == expected).all()


def test_outputs_are_those_of_the_file(tmp_path):
    made = network(integers("int8", CONV, -127, 127), integers("int8", (5, 36), -127, 127))
    model, x = compiled(made, tmp_path)
    (expected,) = session(made).run(None, {"x": x})
    apart = np.abs(model.run(x) - expected) / 0.1
    assert apart.max() < 1.01  # a sum on the border of two steps
    assert (apart > 0.01).mean() < 0.05


def test_integers_with_a_zero_point_are_a_sum_of_two_groups(tmp_path):
    conv = integers("uint8", CONV, 0, 255)
    made = network(conv, integers("int8", (5, 36), -127, 127), zero=37, kind="uint8")
    model, _ = compiled(made, tmp_path)
    groups = [n for n in model.program.graph if isinstance(n, ConvSynapses)][:2]
    assert groups[0].inputs == groups[1].inputs == (model.program.input.id,)
    least = min(group.exponent for group in groups)
    total = sum(group.weight.values << (group.exponent - least) for group in groups)
    assert (total == conv.astype(int) - 37).all()
    assert not [w for w in model.report["warnings"] if w["code"] == "weights-rounded-again"]


def test_weights_that_do_not_fit_are_rounded_again_and_said_so(tmp_path):
    made = network(integers("int8", CONV, -127, 127), integers("int8", (5, 36), -127, 127))
    model, _ = compiled(made, tmp_path, weight_bits=4)
    codes = [w["code"] for w in model.report["warnings"]]
    assert codes.count("weights-rounded-again") == 2
    shares = [
        layer["integers_kept"] for layer in model.report["layers"] if "integers_kept" in layer
    ]
    assert shares == [0.0, 0.0]


def test_4_bit_integers_fit_4_bit_weights(tmp_path):
    conv, dense = integers("int8", CONV, -8, 7), integers("int8", (5, 36), -8, 7)
    model, _ = compiled(network(conv, dense), tmp_path, weight_bits=4)
    (first, *_) = (n for n in model.program.graph if isinstance(n, ConvSynapses))
    assert (first.weight.values == conv).all()


@pytest.mark.parametrize("coding", ["sync", "rate", "sigma-delta", "signed"])
def test_other_codings_compile_it_too(tmp_path, coding):
    made = network(integers("int8", CONV, -127, 127), integers("int8", (5, 36), -127, 127))
    model, _ = compiled(made, tmp_path, coding=coding)
    assert model.report["ladder"][-1]["agreement"] > 60


def test_integers_behind_a_mean_are_kept(tmp_path):
    conv = integers("int8", (4, 3, 3, 3), -127, 127)
    constants = {
        "xs": (0.02, "float32"),
        "xz": (0, "uint8"),
        "w": (conv, "int8"),
        "ws": (0.01, "float32"),
        "wz": (0, "int8"),
        "ys": (0.1, "float32"),
        "yz": (0, "uint8"),
    }
    nodes = [
        *pair("x", "xd", "xs", "xz"),
        node("AveragePool", "xd", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("DequantizeLinear", "w ws wz", "wd"),
        node("Conv", "m wd", "c"),
        *pair("c", "y", "ys", "yz"),
    ]
    model, _ = compiled(quantized_model(nodes, constants), tmp_path)
    group = next(n for n in model.program.graph if isinstance(n, ConvSynapses))
    assert set(np.unique(group.weight.values)) == set(np.unique(np.repeat(conv, 4)))
    assert next(x["integers_kept"] for x in model.report["layers"] if "integers_kept" in x) == 1.0


@pytest.mark.parametrize(
    ("kind", "zero", "pads"),
    [("uint8", 0, 1), ("int8", -128, 0), ("int8", -128, 1), ("int8", 5, 1)],
)
def test_integers_behind_an_input_of_integers_are_kept(tmp_path, kind, zero, pads):
    """Its scale and zero point are a scale and a shift before the layer."""
    conv = integers("int8", (4, 3, 3, 3), -127, 127)
    constants = {
        "xs": (0.02, "float32"),
        "xz": (zero, kind),
        "w": (conv, "int8"),
        "ws": (np.array([0.01, 0.02, 0.015, 0.03]), "float32"),
        "wz": (np.zeros(4), "int8"),
        "ys": (0.1, "float32"),
        "yz": (0, "uint8"),
    }
    nodes = [
        node("DequantizeLinear", "x xs xz", "xd"),
        node("DequantizeLinear", "w ws wz", "wd", axis=0),
        node("Conv", "xd wd", "c", pads=[pads] * 4),
        *pair("c", "y", "ys", "yz"),
    ]
    made = quantized_model(nodes, constants)
    made.graph.input[0].type.tensor_type.elem_type = TYPES[kind][0]
    _, low, high = TYPES[kind]
    x = np.random.default_rng(2).integers(low, high, (32, 3, 8, 8), endpoint=True)
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    model = compile_model(path, calibrate=x.astype(np.float32))
    assert (model.encoding(x.astype(np.float32)) == x).all()
    group = next(n for n in model.program.graph if isinstance(n, ConvSynapses))
    assert (group.weight.values == conv).all()
    assert next(y["integers_kept"] for y in model.report["layers"] if "integers_kept" in y) == 1.0
    (expected,) = session(made).run(None, {"x": x.astype(kind)})
    apart = np.abs(model.run(x.astype(np.float32)) - expected) / 0.1
    assert apart.max() < 1.01  # a sum on the border of two steps
    assert (apart > 0.01).mean() < 0.05


def test_integers_are_not_equalized(tmp_path):
    conv = integers("int8", CONV, -127, 127)
    made = network(conv, integers("int8", (5, 36), -127, 127))
    model, _ = compiled(made, tmp_path, equalize="l4")
    group = next(n for n in model.program.graph if isinstance(n, ConvSynapses))
    assert (group.weight.values == conv).all()


def test_transposed_channels_keep_the_grid(tmp_path):
    constants = {
        "xs": (0.02, "float32"),
        "xz": (128, "uint8"),
        "w": (integers("int8", (6, 3), -127, 127), "int8"),
        "ws": (0.01, "float32"),
        "v": (integers("int8", (6, 5), -127, 127), "int8"),
        "hs": (0.05, "float32"),
        "ys": (0.2, "float32"),
    }
    nodes = [
        *pair("x", "xd", "xs", "xz"),
        node("DequantizeLinear", "w ws", "wd"),
        node("Unsqueeze", "wd axes", "k"),
        node("Conv", "xd k", "c"),
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
        *pair("t", "h", "hs", "xz"),
        node("DequantizeLinear", "v ws", "vd"),
        node("MatMul", "h vd", "m"),
        *pair("m", "y", "ys", "xz"),
    ]
    made = quantized_model(nodes, {**constants, "axes": ([2, 3], "int64")})
    model, x = compiled(made, tmp_path)
    (expected,) = session(made).run(None, {"x": x})
    apart = np.abs(model.run(x) - expected) / 0.2
    assert apart.max() < 1.01
    assert (apart > 0.01).mean() < 0.05
    shares = [n["integers_kept"] for n in model.report["layers"] if "integers_kept" in n]
    assert shares == [1.0, 1.0]


def group_of(weight, step, name="g", kind=spiking.DenseSynapses):
    place = {"id": NodeId(name), "inputs": (), "shape": (len(weight), 1, 1), "origin": Origin("f")}
    step = None if step is None else np.asarray(step, np.float64)
    return kind(**place, weight=np.asarray(weight, np.float64), step=step)


@pytest.mark.parametrize("seed", range(5))
def test_two_groups_add_up_to_every_integer_of_9_bits(seed):
    rng = np.random.default_rng(seed)
    whole = rng.integers(-255, 255, (6, 9), endpoint=True)
    whole.flat[:4] = -255, 255, 128, -129
    step = rng.random(6) + 0.1
    group = group_of(whole * step[:, None], step)
    kept, rest = of_file(group)
    assert isinstance(rest, spiking.SparseSynapses)
    low = np.rint(kept.weight / step[:, None])
    high = np.zeros(whole.shape)
    rows = np.repeat(np.arange(6), np.diff(rest.indptr))
    high[rows, rest.indices] = np.rint(rest.weight / rest.step[rows])
    assert low.min() >= -128
    assert low.max() <= 127
    assert np.abs(high).max() <= 127
    assert (low + 2 * high == whole).all()


def test_a_join_keeps_integers_where_its_other_arm_allows():
    weight = np.arange(-6, 6).reshape(2, 6) * 0.25
    kept = given_integers(
        (group_of(weight, [0.25, 0.25]), group_of(np.eye(2) * 8.0, None, "h")),
        8,
        common=False,
        most_apart=15,
    )
    assert kept is not None
    assert kept.given == (1.0, 0.0)
    assert (kept.tensors[0].values == np.arange(-6, 6).reshape(2, 6)).all()
    scaled = kept.tensors[1].values * kept.unit[0] * 2.0 ** kept.exponents[1]
    np.testing.assert_allclose(scaled, np.eye(2) * 8.0, rtol=1e-2)


def test_a_readout_keeps_the_units_of_its_channels():
    weight = np.arange(1, 19).reshape(3, 6)
    steps = np.array([0.5, 0.25, 1e-9])
    groups = (group_of(weight * steps[:, None], steps),)
    found = given_integers(groups, 8, common=True, most_apart=15)
    assert (found.unit == [0.5, 0.25, 0.5 / 1024]).all()  # the last adds nothing
    assert found.given == (2 / 3,)
    assert (found.tensors[0].values == [*weight[:2], [0] * 6]).all()


def test_a_readout_has_one_unit_where_the_file_has():
    weight = np.arange(12).reshape(2, 6)
    groups = (group_of(weight * 0.5, [0.5, 0.5]),)
    assert (given_integers(groups, 8, common=True, most_apart=15).unit == 0.5).all()
    least = np.array([0.1, 0.7])
    assert given_integers(groups, 8, least, common=True, most_apart=15) is None


@pytest.mark.parametrize("coding", ["graded", "sync"])
@pytest.mark.parametrize("dead", [False, True])
def test_a_last_layer_with_scales_of_its_channels_keeps_its_integers(tmp_path, coding, dead):
    """Nothing is quantized behind it."""
    conv, dense = integers("int8", CONV, -127, 127), integers("int8", (5, 36), -127, 127)
    steps = np.array([0.005, 0.0007, 0.002, 0.05, 0.003])
    if dead:
        dense[2], steps[2] = 0, 1e-12
    bias = np.array([0.5, -0.25, 0.3, 0.1, 0])
    made = network(conv, dense, dense_step=steps)
    gemm = next(n for n in made.graph.node if n.op_type == "Gemm")
    del made.graph.node[-2:]
    next(n for n in made.graph.node if n.output[0] == "vd").attribute.append(
        onnx.helper.make_attribute("axis", 0)
    )
    gemm.input.append("vb")
    gemm.output[0] = "y"
    zeros = next(one for one in made.graph.initializer if one.name == "vz")
    zeros.CopyFrom(onnx.numpy_helper.from_array(np.zeros(5, np.int8), "vz"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(bias.astype("float32"), "vb"))
    model, x = compiled(
        made, tmp_path, coding=coding, **({"timesteps": 15} if coding == "sync" else {})
    )
    last = [n for n in model.program.graph if isinstance(n, DenseSynapses | ConvSynapses)][-1]
    assert (last.weight.values.reshape(dense.shape) == dense).all()
    shares = [n["integers_kept"] for n in model.report["layers"] if "integers_kept" in n]
    assert shares[-1] == 1.0 or (dead and shares[-1] == 0.8)
    (units,) = model.report["output_units"].values()
    assert len(units) == 5
    frames = model.encoding(x[:8])
    for name, value in reference.run(model.program, frames).outputs.items():
        assert (engine.run(model.program, frames).outputs[name] == value).all()
    if coding == "graded":
        (expected,) = session(made).run(None, {"x": x})
        apart = np.abs(model.run(x) - expected)
        assert np.median(apart) < 1e-4 * np.ptp(expected)
        assert model.report["ladder"][-1]["agreement"] > 98


def test_dying_channels_alone_are_rounded():
    weight, step = np.arange(1, 13).reshape(3, 4), np.array([0.5, 0.001, 0.25])
    groups = (group_of(weight * step[:, None], step),)
    least = np.array([0.1, 0.002, 0.1])
    found = given_integers(groups, 8, least, common=False, most_apart=15)
    assert found is not None
    assert found.given == (2 / 3,)
    assert (found.unit == [0.5, 0.002, 0.25]).all()
    assert (found.tensors[0].values == [[1, 2, 3, 4], [2, 3, 4, 4], [9, 10, 11, 12]]).all()
    doubled = with_units(groups, found, np.array([0.5, 0.002, 0.5]), 8)
    assert doubled.given == (1 / 3,)
    assert (doubled.tensors[0].values[2] == [4, 5, 6, 6]).all()


def test_weights_that_are_no_integers_of_their_step_are_not_given():
    groups = (group_of([[0.1, 0.25]], [0.1]),)
    assert given_integers(groups, 8, common=False, most_apart=15) is None
