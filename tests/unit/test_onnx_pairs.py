"""Two activations: products, extrema and choices, imported and compared with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import assert_same, imported, model, node, ops, refused

RNG = np.random.default_rng(5)
SHAPES = [
    ((3, 2, 4), (3, 2, 4)),
    ((3, 2, 4), (3, 1, 1)),
    ((1, 2, 4), (3, 2, 4)),
    ((3, 1, 4), (1, 2, 1)),
]
KINDS = ["Mul", "Add", "Sub", "Max", "Min", "Mean", "Sum"]


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def joined(last, *shapes, constants=None, before=()):
    """Values of these shapes, each from a layer of its own, and nodes that read them."""
    nodes, given = [], dict(constants or {})
    for k, shape in enumerate(shapes):
        n = int(np.prod(shape))
        given |= {f"w{k}": real(6, n), f"b{k}": real(n), f"s{k}": np.array([-1, *shape])}
        nodes.append(node("Gemm", f"x w{k} b{k}", f"g{k}"))
        nodes.append(node("Reshape", f"g{k} s{k}", f"t{k}"))
    return model([*nodes, *before, last], ("N", 6), given)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_of_shapes_that_broadcast(kind, shapes):
    found = ops(assert_same(joined(node(kind, "t0 t1", "y"), *shapes)))
    smaller = sum(shape != (3, 2, 4) for shape in shapes)
    assert found.count("Gather") == smaller
    assert ("Product" in found) == (kind == "Mul")


@pytest.mark.parametrize("kind", ["Max", "Min", "Mean", "Sum"])
def test_of_several(kind):
    shapes = [(3, 2, 4), (3, 1, 1), (1, 2, 4), (3, 2, 4)]
    last = node(kind, "t0 t1 t2 t3 t1 c", "y")
    assert_same(joined(last, *shapes, constants={"c": real(2, 4)}))


@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_an_extremum_of_two_is_one_rectifier(kind):
    found = ops(assert_same(joined(node(kind, "t0 t1", "y"), (5,), (5,))))
    assert found.count("Relu") == 1


@pytest.mark.parametrize("mask", [(4,), (2, 1), (3, 1, 1), (1, 3, 2, 4), ()])
@pytest.mark.parametrize("sides", ["t0 t1", "t0 c", "c t1"])
def test_where_with_a_constant_mask(mask, sides):
    constants = {"m": RNG.random(mask) > 0.5, "c": real(2, 4)}
    made = joined(node("Where", f"m {sides}", "y"), (3, 2, 4), (3, 1, 1), constants=constants)
    found = ops(assert_same(made))
    assert "Product" not in found
    assert "Relu" not in found


def test_squeeze_and_excitation():
    nodes = [
        node("GlobalAveragePool", "x", "p"),
        node("Conv", "p w", "h"),
        node("Relu", "h", "gate"),
        node("Mul", "gate x", "y"),
    ]
    found = ops(assert_same(model(nodes, ("N", 3, 4, 5), {"w": real(3, 3, 1, 1)})))
    assert found == ["AveragePool", "Conv", "Relu", "Gather", "Product"]


@pytest.mark.parametrize(
    "shapes", [((3, 2, 1), (4,)), ((1, 2, 1), (3, 1, 4)), ((5, 1), (3,)), ((3, 4), (3, 4))]
)
@pytest.mark.parametrize("operands", ["t0 c", "c t0"])
@pytest.mark.parametrize("kind", ["Mul", "Add", "Sub", "Max", "Min"])
def test_a_constant_that_differs_along_every_axis(kind, operands, shapes):
    shape, constant = shapes
    made = joined(node(kind, operands, "y"), shape, constants={"c": real(*constant)})
    found = ops(assert_same(made))
    assert found.count("Gather") == (shape != (3, 4))
    assert "Product" not in found


@pytest.mark.parametrize("constant", [(3, 4), (1, 1, 4), (3, 1), (1,)])
@pytest.mark.parametrize("operands", ["t0 c", "c t0"])
@pytest.mark.parametrize("kind", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_a_comparison_with_constants_that_differ_inside_a_channel(kind, operands, constant):
    shape = (3, 1) if constant == (1, 1, 4) else (3, 4)
    before, constants = [node(kind, operands, "b")], {"c": real(*constant)}
    assert_same(joined(node("Cast", "b", "y", to=1), shape, constants=constants, before=before))


@pytest.mark.parametrize("shapes", [((3, 2, 4), (3, 2, 4)), ((3, 2, 4), (1, 2, 1))])
@pytest.mark.parametrize("dividend", ["t0", "c"])
def test_a_quotient_by_what_is_bounded_below(dividend, shapes):
    nodes = [
        node("Relu", "t1", "r"),
        node("ReduceSum", "r axes", "s", keepdims=1),
        node("Add", "s least", "b"),
    ]
    made = joined(
        node("Div", f"{dividend} b", "y"),
        *shapes,
        constants={"axes": np.array([1]), "least": np.float32(0.25), "c": real(2, 4)},
        before=nodes,
    )
    found = ops(assert_same(made))
    assert found.count("Function") == 1
    assert ("Product" in found) == (dividend == "t0")


def test_a_constant_that_differs_inside_a_channel_is_divided():
    made = joined(
        node("Div", "c r", "y"),
        (3, 4),
        constants={"c": real(3, 4)},
        before=[node("Exp", "t0", "r")],
    )
    assert "Product" not in ops(assert_same(made))


@pytest.mark.parametrize("least", [0.0, -0.25])
def test_a_quotient_by_what_may_be_0_is_left_to_the_host(least):
    before = [node("Relu", "t1", "r"), node("Add", "r least", "b")]
    constants = {"least": np.float32(least)}
    made = joined(node("Div", "t0 b", "y"), (5,), (5,), constants=constants, before=before)
    found = imported(made)
    assert found.tail is not None
    assert found.tail.cut
    assert "Function" not in ops(found)


def test_a_quotient_of_inputs_is_refused():
    made = model(
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Div", "x t", "y")], ("N", 3, 3)
    )
    assert "Clip with a positive minimum" in str(refused(made).hint)
