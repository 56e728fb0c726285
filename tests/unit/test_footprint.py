"""What converting a network takes is known before: no less than it does, and not much more."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse  # noqa: F401  (before memory is measured)
from onnx import helper

from onnx_models import imported, ints, model, node
from snn_compile import memory
from snn_compile.cli import main
from snn_compile.convert.footprint import check_footprint, check_values
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.errors import ModelError
from snn_compile.pipeline.folding import FOLDING

RNG = np.random.default_rng(0)
MAX_DISTANCE = 10
"""Times that the estimate may be too high."""


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def doubled(levels):
    nodes = [node("Relu", "x", "v0")]
    for k in range(levels):
        nodes += [node("Mul", f"v{k} two", f"m{k}"), node("Add", f"v{k} m{k}", f"v{k + 1}")]
    return [*nodes, node("Relu", f"v{levels}", "y")]


def chain(*steps):
    """Operators one after the other: type, constants that follow the value, attributes."""
    made = []
    for k, (op, more, attributes) in enumerate(steps):
        source = f"v{k} {more}" if k else f"x {more}"
        result = "y" if k == len(steps) - 1 else f"v{k + 1}"
        made.append(helper.make_node(op, source.split(), [result], name=f"n{k}", **attributes))
    return made


RELU = ("Relu", "", {})
NETWORKS = {
    "values": (chain(RELU), (8, 64, 64), {}),
    "bottleneck": (
        chain(("MatMul", "a", {}), ("MatMul", "b", {}), RELU),
        (30_000,),
        {"a": real(30_000, 1), "b": real(1, 30_000)},
    ),
    "ungrouped": (
        chain(("Conv", "a", {}), ("Conv", "b", {"group": 600}), RELU),
        (1, 8, 8),
        {"a": real(600, 1, 1, 1), "b": real(600, 1, 3, 3)},
    ),
    "depthwise": (
        chain(("Conv", "a", {"group": 64}), ("Conv", "b", {}), RELU),
        (64, 40, 40),
        {"a": real(64, 1, 3, 3), "b": real(64, 64, 1, 1)},
    ),
    "far-corner": (
        chain(("Slice", "s e ax", {}), ("Conv", "a", {}), RELU),
        (8, 60, 60),
        {"s": ints(58, 58), "e": ints(60, 60), "ax": ints(2, 3), "a": real(8, 8, 1, 1)},
    ),
    "wide-steps": (
        chain(
            ("AveragePool", "", {"kernel_shape": [2, 2], "strides": [20, 20]}),
            ("Conv", "a", {}),
            RELU,
        ),
        (16, 64, 64),
        {"a": real(16, 16, 3, 3)},
    ),
    "few-of-many": (
        chain(("Slice", "s e ax", {}), ("MatMul", "a", {}), RELU),
        (100_000,),
        {"s": ints(0), "e": ints(10), "ax": ints(1), "a": real(10, 50)},
    ),
    "padded": (
        chain(("Conv", "a", {"pads": [1] * 4}), RELU), (16, 64, 64), {"a": real(32, 16, 3, 3)},
    ),
    "tournament": (chain(RELU, ("GlobalMaxPool", "", {})), (32, 12, 12), {}),
    "uneven": (
        chain(("Conv", "a", {}), ("Mul", "b", {}), ("Conv", "c", {}), RELU),
        (8, 32, 32),
        {"a": real(8, 8, 3, 3), "b": real(8, 30, 30), "c": real(8, 8, 3, 3)},
    ),
    "turned": (
        chain(("Transpose", "", {"perm": [0, 1, 3, 2]}), ("Conv", "a", {}), RELU),
        (8, 64, 60),
        {"a": real(8, 8, 3, 3)},
    ),
    "interleaved": (
        chain(("ConvTranspose", "a", {"strides": [2, 2]}), RELU, ("Conv", "b", {}), RELU),
        (8, 24, 24),
        {"a": real(8, 8, 2, 2), "b": real(8, 8, 3, 3)},
    ),
    "enlarged": (
        chain(("Resize", "r s", {"mode": "linear"}), ("Conv", "a", {}), RELU),
        (8, 24, 24),
        {"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 2, 2]), "a": real(8, 8, 3, 3)},
    ),
    "reshaped": (
        chain(("Conv", "a", {}), ("Reshape", "s", {}), ("Conv", "b", {}), RELU),
        (4, 92, 92),
        {"a": real(8, 4, 3, 3), "s": ints(0, 8, 135, 60), "b": real(8, 8, 3, 3)},
    ),
    "dense": (
        chain(("Conv", "a", {}), ("Flatten", "", {}), ("MatMul", "b", {}), RELU),
        (4, 32, 32),
        {"a": real(8, 4, 3, 3), "b": real(7200, 100)},
    ),
    "heads": (  # the few values of one have many sources, the many values of the other have few
        [
            node("Relu", "x", "fine"),
            helper.make_node("Conv", ["fine", "a"], ["b"], strides=[8, 8]),
            node("Relu", "b", "coarse"),
            node("Conv", "fine c", "many"),
            node("Conv", "coarse d", "few"),
            node("Reshape", "many s", "flat"),
            node("Reshape", "few s", "short"),
            helper.make_node("Concat", ["flat", "short"], ["y"], axis=1),
        ],
        (8, 40, 40),
        {
            "a": real(64, 8, 3, 3),
            "c": real(4, 8, 1, 1),
            "d": real(4, 64, 3, 3),
            "s": ints(0, -1),
        },
    ),
}  # fmt: skip


def made(name):
    nodes, shape, constants = NETWORKS[name]
    return model(nodes, ("N", *shape), constants)


def allowed(network, folded, size):
    memory.limit_to(size)
    try:
        check_values(network)
        check_footprint(folded)
    except ModelError:
        return False
    finally:
        memory.limit_to(None)
    return True


@pytest.mark.parametrize("name", NETWORKS)
def test_estimates(name):
    network = imported(made(name)).ann
    weight_bounds(FOLDING(imported(model([node("Relu", "x", "y")])).ann).graph)  # it imports
    tracemalloc.start()
    folded = FOLDING(network).graph
    weight_bounds(folded)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak > 1 << 20  # it is an example of something
    assert not allowed(network, folded, peak)
    assert allowed(network, folded, MAX_DISTANCE * peak)


@pytest.fixture(scope="module")
def _imported(tmp_path_factory):
    """What the command imports is not measured with the first network."""
    path = tmp_path_factory.mktemp("imported") / "net.onnx"
    path.write_bytes(made("values").SerializeToString())
    main(["check", str(path), "--max-memory", "2M"])


@pytest.mark.usefixtures("_imported")
@pytest.mark.parametrize("name", NETWORKS)
def test_commands_refuse(tmp_path, capsys, name):
    path = tmp_path / "net.onnx"
    path.write_bytes(made(name).SerializeToString())
    size = max(path.stat().st_size + 4096, 1 << 21)
    tracemalloc.start()
    assert main(["check", str(path), "--max-memory", str(size)]) == 3
    assert tracemalloc.get_traced_memory()[1] < 4 * size
    tracemalloc.stop()
    assert "error[too-large]" in capsys.readouterr().err


def test_a_sum_of_more_maps_than_there_is_time_for():
    network = imported(model(doubled(40), ("N", 1, 1, 1), {"two": np.float32(2)})).ann
    with pytest.raises(ModelError) as caught:
        check_footprint(network)
    assert caught.value.code == "too-large"
    assert "linear maps" in caught.value.message
