"""Sums of the integers of a file, in 32 and 64 bits: equal to onnxruntime's, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from onnx_models import evaluate_all, imported, node, refused, session
from quantized_models import inputs_of, quantized_model, rng, weights
from snn_compile.errors import CompileErrors
from snn_compile.ir import ann
from snn_compile.ir.expression import X, apply
from snn_compile.ir.graph import NodeId
from snn_compile.ir.ranges import bounds
from snn_compile.pipeline.driver import compile_model

CONSTANTS = {
    "s": (0.02, "float32"),
    "z": (120, "uint8"),
    "w": (weights("int8", (6, 4)), "int8"),
    "v": (weights("int8", (6, 4), 3), "int8"),
    "wz": (0, "int8"),
    "b": (rng().integers(-900, 900, 4), "int32"),
    "b6": (rng().integers(-900, 900, 6), "int32"),
    "b64": (rng().integers(-900, 900, 4), "int64"),
    "c": (0.001, "float32"),
    "z32": (0, "int32"),
    "most": (np.full(4, 2**31 - 1), "int32"),
    "more": (np.full(4, 2**40), "int64"),
    "ws": (0.01, "float32"),
    "o": (0.04, "float32"),
    "oz": (0, "int8"),
}
Q = node("QuantizeLinear", "x s z", "q")
PRODUCT, J = node("MatMulInteger", "q w z wz", "i"), node("MatMulInteger", "q v z wz", "j")
LONG = node("Cast", "i", "l", to=TensorProto.INT64)
SHORT = node("Cast", "h", "a", to=TensorProto.INT32)
BIASED = [Q, PRODUCT, node("Add", "i b", "a")]
REAL = [node("Cast", "a", "f", to=TensorProto.FLOAT), node("Mul", "f c", "y")]
D = node("DynamicQuantizeLinear", "x", "q s2 z2")
DI, DJ = node("MatMulInteger", "q w z2 wz", "i"), node("MatMulInteger", "q v z2 wz", "j")
SCALED = [
    node("Cast", "a", "f", to=TensorProto.FLOAT),
    node("Mul", "s2 ws", "t"),
    node("Mul", "f t", "y"),
]


def made(*nodes, whole=False):
    used = {name for one in nodes for name in one.input}
    constants = {name: value for name, value in CONSTANTS.items() if name in used}
    kind = TensorProto.INT32 if whole else TensorProto.FLOAT
    return quantized_model(nodes, constants, ("N", 6), 13, output_type=kind)


def difference(file):
    x = inputs_of(file)
    (expected,) = session(file).run(None, {"x": x})
    (actual,) = evaluate_all(imported(file), x)
    assert np.ptp(expected) > 0
    return np.abs(actual - expected).max() / np.abs(expected).max()


EXACT = {
    "bias": made(*BIASED, *REAL),
    "less a bias": made(Q, PRODUCT, node("Sub", "i b", "a"), *REAL),
    "bias less it": made(Q, PRODUCT, node("Sub", "b i", "a"), *REAL),
    "negated": made(Q, PRODUCT, node("Neg", "i", "a"), *REAL),
    "two products": made(Q, PRODUCT, J, node("Add", "i j", "a"), *REAL),
    "their difference": made(Q, PRODUCT, J, node("Sub", "i j", "a"), *REAL),
    "several": made(
        Q,
        PRODUCT,
        node("Add", "i b", "h"),
        node("Add", "h i", "k"),
        node("Sub", "b k", "a"),
        *REAL,
    ),
    "dequantized": made(*BIASED, node("DequantizeLinear", "a c z32", "y")),
    "an output": made(Q, PRODUCT, node("Add", "i b", "y"), whole=True),
    "64 bits": made(Q, PRODUCT, LONG, node("Add", "l b64", "a"), *REAL),
    "64 bits, then 32": made(
        Q,
        PRODUCT,
        LONG,
        node("Add", "l b64", "h"),
        SHORT,
        *REAL,
    ),
    "of activations": made(
        Q, node("Cast", "q", "h", to=TensorProto.INT32), node("Add", "h b6", "a"), *REAL
    ),
    "of activations with themselves": made(
        Q,
        node("Cast", "q", "h", to=TensorProto.INT32),
        node("Cast", "q", "k", to=TensorProto.INT32),
        node("Add", "h k", "a"),
        *REAL,
    ),
}


@pytest.mark.parametrize("case", EXACT)
def test_sums_are_those_of_onnxruntime(case):
    assert difference(EXACT[case]) < 1e-5


def test_integers_of_the_weights_are_kept_behind_an_integer_bias():
    rounded = [
        node("QuantizeLinear", "y0 o oz", "r"),
        node("DequantizeLinear", "r o oz", "y"),
    ]
    real = [node("Cast", "a", "f", to=TensorProto.FLOAT), node("Mul", "f c", "y0")]
    file = made(*BIASED, *real, *rounded)
    x = inputs_of(file, 64)
    (expected,) = session(file).run(None, {"x": x})
    compiled = compile_model(file, calibrate=x, weight_bits=8)
    (layer,) = [one for one in compiled.report["layers"] if "integers_kept" in one]
    assert layer["integers_kept"] == 1.0
    apart = np.abs(np.asarray(compiled.run(x)) - expected) / CONSTANTS["o"][0]
    assert np.ptp(expected) > 20 * CONSTANTS["o"][0]
    assert apart.max() < 1.01
    assert (apart > 0.01).mean() < 0.05  # halves are rounded up here


def test_a_sum_of_products_on_the_scale_of_a_batch():
    file = made(D, DI, DJ, node("Add", "i j", "a"), *SCALED)
    x = inputs_of(file)
    both = CONSTANTS["w"][0] + CONSTANTS["v"][0]
    (actual,) = evaluate_all(imported(file), x)
    np.testing.assert_allclose(actual, x @ (both * np.float32(0.01)), rtol=1e-4, atol=1e-4)


WIDE = node("Tile", "q r", "h")
WIDE_CONSTANTS = {"u": (np.full((72000, 1), 255), "uint8"), "r": ([1, 12000], "int64")}
REFUSED = {
    "a bias": (made(Q, PRODUCT, node("Add", "i most", "a"), *REAL), "a", "integer-overflow"),
    "a name": (
        made(Q, PRODUCT, node("Add", "i most", "a", name="plus"), *REAL),
        "plus",
        "integer-overflow",
    ),
    "narrower": (
        made(
            Q,
            PRODUCT,
            LONG,
            node("Add", "l more", "h"),
            SHORT,
            *REAL,
        ),
        "a",
        "integer-overflow",
    ),
    "a product": (
        quantized_model(
            [Q, WIDE, node("MatMulInteger", "h u z", "a"), *REAL],
            {**{n: CONSTANTS[n] for n in ("s", "z", "c")}, **WIDE_CONSTANTS},
            ("N", 6),
            13,
        ),
        "a",
        "integer-overflow",
    ),
    "the scale of a batch": (
        made(D, DI, node("Add", "i b", "a"), *SCALED),
        "a",
        "integer-arithmetic",
    ),
    "products": (made(Q, PRODUCT, node("Mul", "i b", "a"), *REAL), "a", "integer-arithmetic"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sums_that_may_wrap_around_are_refused_by_name(case):
    file, name, code = REFUSED[case]
    error = refused(file)
    assert not isinstance(error, CompileErrors), "one cause, one complaint"
    assert (error.code, error.origin.node) == (code, name)
    assert error.hint


def test_the_last_sum_within_32_bits():
    """Bounds are reached: one more is refused."""
    row = CONSTANTS["w"][0].astype(np.int64)
    high = np.maximum(row * -120, row * 135).sum(axis=0)
    fits = 2**31 - 1 - high.max()
    for more, code in ((0, None), (1, "integer-overflow")):
        constants = {n: CONSTANTS[n] for n in ("s", "z", "w", "wz", "c")}
        constants["b"] = (np.full(4, fits + more), "int32")
        file = quantized_model([*BIASED, *REAL], constants, ("N", 6), 13)
        if code is None:
            imported(file)
        else:
            assert refused(file).code == code


def test_bounds_hold_every_value():
    random = np.random.default_rng(0)
    place = {"id": NodeId("n"), "inputs": (NodeId("x"),), "shape": (4,), "origin": None}
    for _ in range(50):
        low, high = sorted(random.normal(size=2) * 3)
        x = random.uniform(low, high, (100, 5))
        weight, bias = random.normal(size=(4, 5)), random.normal(size=4)
        column = {"scale": weight[0, :1], "shift": bias[:1]}
        relu = {"levels": 10, "full_scale": np.full(4, 2.0)}
        values = {
            ann.Dense(**place, weight=weight, bias=bias): x @ weight.T + bias,
            ann.Affine(**place, **column): x * weight[0, 0] + bias[0],
            ann.AxisMatrix(**place, axis=0, matrix=weight): x @ weight.T,
            ann.Product(**place): x * x[:, ::-1],
            ann.Relu(**place, **relu): np.clip(x, 0, 2),
            ann.Function(**place, expression=apply("add", X, 1.0)): x + 1,
            ann.Pad(**place, before=(1,), after=(0,)): np.append(x, 0),
        }
        for one, y in values.items():
            least, most = bounds(one, [(low, high)])
            assert np.isfinite((least, most)).all()
            assert least <= y.min()
            assert y.max() <= most
