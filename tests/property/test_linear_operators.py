"""Linear and wiring operators with random attributes: the imported network equals onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from onnx_models import evaluate_all, imported, model, node, session
from snn_compile.errors import ModelError, UnsupportedError

FEW = settings(max_examples=25, deadline=None, derandomize=True)


def agree(made, shape, *, rtol=1e-4, batch_axis=0):
    """See that a model has onnxruntime's values for a few samples, or that both refuse it.

    The batch is axis 0 of ours, and of onnxruntime's the axis that is stated.
    """
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    try:
        theirs = session(made).run(None, {"x": x})
    except (Fail, InvalidArgument, RuntimeException):
        with pytest.raises((ModelError, UnsupportedError)):
            imported(made)
        return None
    try:
        result = imported(made)
    except UnsupportedError as error:
        if "onnxruntime d" in error.message:  # do differently, disagree
            return None
        raise
    for ours, expected in zip(evaluate_all(result, x), theirs, strict=True):
        expected = np.moveaxis(expected, batch_axis, 0)
        assert ours.size == expected.size
        np.testing.assert_allclose(ours.reshape(expected.shape), expected, rtol=rtol, atol=2e-5)
    return result


def real(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@FEW
@given(st.data())
def test_transposed_convolutions(data):
    draw = data.draw
    rank = draw(st.integers(1, 3))
    per_axis = lambda low, high: [draw(st.integers(low, high)) for _ in range(rank)]  # noqa: E731
    size, kernel = per_axis(1, 5 - rank), per_axis(1, 3)
    groups, per_group, n_in = draw(st.sampled_from([(1, 2, 3), (2, 1, 2), (2, 2, 4), (3, 1, 3)]))
    given_ = {"strides": per_axis(1, 3), "dilations": per_axis(1, 2), "group": groups}
    spans = [d * (k - 1) + 1 for d, k in zip(given_["dilations"], kernel, strict=True)]
    whole = [s * (n - 1) + p for s, n, p in zip(given_["strides"], size, spans, strict=True)]
    match draw(st.sampled_from(["pads", "output_padding", "SAME_UPPER", "SAME_LOWER", "VALID"])):
        case "pads":
            given_["pads"] = [draw(st.integers(0, (w - 1) // 2)) for w in [*whole, *whole]]
        case "output_padding":
            given_["output_padding"] = [draw(st.integers(0, s - 1)) for s in given_["strides"]]
        case mode:
            given_["auto_pad"] = mode
    weight = {"w": real(n_in, per_group, *kernel), "b": real(groups * per_group)}
    inputs = draw(st.sampled_from(["x w", "x w b"]))
    made = model([node("ConvTranspose", inputs, "y", **given_)], ("N", n_in, *size), weight)
    agree(made, (2, n_in, *size))


@pytest.mark.parametrize("mode", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("wanted", [[7, 9], [8, 8], [10, 7]])
def test_transposed_convolutions_of_a_stated_shape(mode, wanted):
    stated = {"strides": [2, 2], "output_shape": wanted, "auto_pad": mode}
    bad = node("ConvTranspose", "x w", "y", **stated)
    agree(model([bad], ("N", 2, 4, 4), {"w": real(2, 3, 3, 3)}), (2, 2, 4, 4))


@FEW
@given(st.data())
def test_volumes(data):
    draw = data.draw
    size = [draw(st.integers(2, 5)) for _ in range(3)]
    kernel = [draw(st.integers(1, min(n, 3))) for n in size]
    given_ = {"strides": [draw(st.integers(1, 2)) for _ in range(3)]}
    given_["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    op = draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    constants = {}
    if op == "Conv":
        groups = draw(st.sampled_from([1, 2]))
        constants = {"w": real(4, 2 // groups, *kernel), "b": real(4)}
        given_ |= {"group": groups, "dilations": [draw(st.integers(1, 2)) for _ in range(3)]}
    else:
        given_ |= {"kernel_shape": kernel, "ceil_mode": draw(st.integers(0, 1))}
        if op == "AveragePool":
            given_["count_include_pad"] = draw(st.integers(0, 1))
    made = model(
        [node(op, "x w b" if op == "Conv" else "x", "y", **given_)],
        ("N", 2, *size),
        constants,
        opset=19,
    )
    agree(made, (2, 2, *size))


RESIZE_MODES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_crop_and_resize",
)  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data())
def test_resize(data):
    draw = data.draw
    size = [draw(st.integers(2, 6)) for _ in range(2)]
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    how = draw(st.sampled_from(RESIZE_MODES))
    given_ = {"mode": mode, "coordinate_transformation_mode": how}
    constants, inputs = {}, "x - s"
    if how == "tf_crop_and_resize":
        ends = [draw(st.sampled_from([0.0, 0.2, 0.6, 1.0, 1.3])) for _ in range(4)]
        low, high = ends[:2], [a + b + 0.137 for a, b in zip(ends[:2], ends[2:], strict=True)]
        constants["roi"] = np.float32([0, 0, *low, 1, 1, *high])
        given_["extrapolation_value"] = draw(st.sampled_from([0.0, 2.5]))
        inputs = "x roi s"
    if mode == "nearest":
        # Where a place lies between two values to within a rounding, both are right.
        given_["nearest_mode"] = draw(
            st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        )
        assume(how not in ("tf_crop_and_resize", "align_corners"))
    if mode == "cubic":
        given_["cubic_coeff_a"] = draw(st.sampled_from([-0.75, -0.5]))
        given_["exclude_outside"] = draw(st.integers(0, 1))
    if mode != "nearest" and how in ("half_pixel", "pytorch_half_pixel"):
        given_["antialias"] = draw(st.integers(0, 1))
    if draw(st.booleans()) and mode != "nearest":
        constants["n"] = np.int64([1, 2, *(draw(st.integers(1, 12)) for _ in range(2))])
        constants["n"][0] = 2
        inputs = f"{inputs[:-1]}- n"
    else:
        scales = st.sampled_from(
            [0.5, 1.0, 1.5, 2.0, 3.0] if mode == "nearest" else [0.5, 1, 2, 2.5]
        )
        constants["s"] = np.float32([1, 1, draw(scales), draw(scales)])
    made = model([node("Resize", inputs, "y", **given_)], (2, 2, *size), constants, opset=19)
    if how == "tf_crop_and_resize":  # onnxruntime leaves out a crop that does not resize
        assume(all(s != 1 for s in constants.get("s", [])[2:]))
        assume(all(a != b for a, b in zip(constants.get("n", [0] * 4)[2:], size, strict=True)))
    agree(made, (2, 2, *size), rtol=1e-3)


@FEW
@given(st.data())
def test_pads(data):
    draw = data.draw
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    size = [draw(st.integers(2, 5)) for _ in range(2)]
    widths = [draw(st.integers(-1, n - 1)) for n in (*size, *size)]
    if mode != "constant":
        widths = [max(w, 0) for w in widths]
    constants = {
        "p": np.int64(widths),
        "v": np.float32(draw(st.sampled_from([0, 1.5]))),
        "a": np.int64([2, -1]),
    }
    made = model([node("Pad", "x p v a", "y", mode=mode)], ("N", 2, *size), constants, opset=19)
    assume(all(a + b + n > 0 for a, b, n in zip(widths[:2], widths[2:], size, strict=True)))
    agree(made, (2, 2, *size))


@FEW
@given(st.data())
def test_reductions(data):
    draw = data.draw
    op = draw(st.sampled_from(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"]))
    rank = draw(st.integers(2, 5))
    shape = [draw(st.integers(1, 4)) for _ in range(rank)]
    axes = draw(st.lists(st.integers(1, rank - 1), unique=True, max_size=rank - 1))
    stated = np.int64([a - rank * draw(st.integers(0, 1)) for a in axes])
    given_ = {"keepdims": draw(st.integers(0, 1)), "noop_with_empty_axes": int(not axes)}
    made = model([node(op, "x a", "y", **given_)], ("N", *shape[1:]), {"a": stated}, opset=18)
    agree(made, (2, *shape[1:]))


@FEW
@given(st.data())
def test_what_is_wired(data):
    draw = data.draw
    shape = [draw(st.integers(1, 4)) for _ in range(3)]
    axis = draw(st.integers(1, 3))
    n = shape[axis - 1]
    op = draw(
        st.sampled_from(
            [
                "Gather",
                "GatherElements",
                "GatherND",
                "Tile",
                "Expand",
                "Trilu",
                "CumSum",
                "ReverseSequence",
            ]
        )
    )
    full, given_, inputs, c = ("N", *shape), {}, "x c", None
    match op:
        case "Gather":
            c = draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=5))
            c = np.int64(c[0]) if draw(st.booleans()) else np.int64(c).reshape(1, -1)
            given_["axis"] = axis - 4 * draw(st.integers(0, 1))
        case "GatherElements":
            c = np.random.default_rng(draw(st.integers(0, 9))).integers(-n, n, (2, *shape))
            c[1] = c[0]
            given_["axis"], full = axis, (2, *shape)
        case "GatherND":
            c = np.int64([[[[draw(st.integers(0, shape[0] - 1))]], [[0]]]] * 2)[:, :, 0]
            given_["batch_dims"], full = 1, (2, *shape)
        case "Tile":
            c = np.int64([1, *(draw(st.integers(1, 3)) for _ in shape)])
        case "Expand":
            shape[axis - 1] = 1
            full = ("N", *shape)
            c = np.int64([2, 1, *shape]) if draw(st.booleans()) else np.int64([1, *shape])
            c[c == 1] = 3
            c[-4] = 1
        case "Trilu":
            c, given_ = np.int64(draw(st.integers(-2, 2))), {"upper": draw(st.integers(0, 1))}
        case "CumSum":
            c = np.int64(axis - 4 * draw(st.integers(0, 1)))
            given_ = {"exclusive": draw(st.integers(0, 1)), "reverse": draw(st.integers(0, 1))}
        case "ReverseSequence":
            given_ = {"time_axis": 1, "batch_axis": 0}
            c, full = np.int64([draw(st.integers(1, shape[0]))] * 2), (2, *shape)
    made = model([node(op, inputs, "y", **given_)], full, {"c": c}, opset=17)
    added = len(c) - 4 if op == "Expand" else 0
    agree(made, (2, *shape), batch_axis=added)


EQUATIONS = {
    "nab,bc->nac": (4, 5), "nab,bc->nca": (4, 5), "nab,ab->n": (3, 4), "nab,ab->nab": (3, 4),
    "nab,cab->nc": (2, 3, 4), "n...b,bc->n...c": (4, 5), "nab,abc->nbc": (3, 4, 2),
    "nab,b->an": (4,), "nab,ac": (3, 5), "nab,ad->nbd": (3, 2), "ab,nbc->nac": (5, 3),
    "nab->nba": None, "nab->na": None, "nab,ba->nb": (4, 3),
}  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation):
    shape = EQUATIONS[equation]
    left = equation.startswith("ab,")
    inputs = "x" if shape is None else ("w x" if left else "x w")
    constants = {} if shape is None else {"w": real(*shape)}
    made = model([node("Einsum", inputs, "y", equation=equation)], ("N", 3, 4), constants)
    implicit = {"nab,ac": "bcn"}.get(equation, equation.split(">")[-1])
    agree(made, (2, 3, 4), batch_axis=implicit.replace("...", "").index("n"))


@pytest.mark.parametrize(
    ("left", "right", "x"),
    [
        ("x", "w", ((2, 3, 4), (3, 4, 5))), ("x", "w", ((2, 3, 4), (4,))),
        ("x", "w", ((2, 1, 3, 4), (5, 4, 2))), ("w", "x", ((2, 3, 4, 5), (6, 4))),
        ("w", "x", ((2, 3, 4, 5), (3, 6, 4))), ("w", "x", ((2, 4, 5), (4,))),
        ("x", "w", ((2, 3, 3, 4), (2, 3, 4, 5))),
    ],
)  # fmt: skip
def test_products_with_a_constant_of_any_rank(left, right, x):
    shape, weight = x
    w = real(*weight)
    if weight[:1] == (2,) and len(weight) == 4:
        w[1] = w[0]  # the same for each sample
    made = model([node("MatMul", f"{left} {right}", "y")], shape, {"w": w})
    agree(made, shape)
