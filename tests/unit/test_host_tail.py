"""Networks with a tail: compiled, and run with the tail on the host."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import imported, ints, model, node, session
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.errors import CompileError
from snn_compile.ir.host_tail import Feed, HostTail
from snn_compile.plugins.host import ROWS, HostRunner
from snn_compile.report import output_figures, schema
from snn_frontends.onnx import OnnxFrontend
from tailed_networks import NETWORKS, Tailed, samples, weights

N = 3


class Compiled:
    """A network, compiled, saved and opened again."""

    def __init__(self, network: Tailed, folder: Path) -> None:
        self.network = network
        self.path = folder / "net.onnx"
        onnx.save(network.made, self.path)
        self.x = samples(network.shape, N)
        made = compile_model(
            self.path, calibrate=samples(network.shape, 40, 2), target="unlimited", emit=()
        )
        made.save(folder / "net.snn")
        self.made = CompiledModel.load(folder / "net.snn")
        self.names = [output.name for output in network.made.graph.output]

    def decoded(self) -> dict[str, np.ndarray]:
        """The values of each tensor that the tail reads, by its name in the file."""
        run = self.made.simulate(self.x)
        values = {}
        for feed in self.made.tail.feeds:
            if feed.output is None:
                values[feed.tensor] = self.x
            else:
                decode = self.made.decodings[feed.output]
                values[feed.tensor] = decode(run.outputs[feed.output])
        return values

    def by_hand(self) -> list[list[np.ndarray]]:
        """All outputs for each sample: the file itself, with these values in place of its own."""
        replaced = self.decoded()
        changed = onnx.ModelProto()
        changed.CopyFrom(self.network.made)
        keep = [n for n in changed.graph.node if not set(n.output) & set(replaced)]
        del changed.graph.node[:]
        changed.graph.node.extend(keep)
        shapes = {feed.tensor: feed.shape for feed in self.made.tail.feeds}
        for name in replaced:
            if name != "x":
                info = onnx.helper.make_tensor_value_info(
                    name, onnx.TensorProto.FLOAT, shapes[name]
                )
                changed.graph.input.append(info)
        computed = [name for name in self.names if name not in replaced]
        runner = session(onnx.utils.Extractor(changed).extract_model(sorted(replaced), computed))
        found = []
        for k in range(N):
            feeds = {
                name: values[k].astype(np.float32).reshape(shapes[name])
                for name, values in replaced.items()
            }
            known = dict(zip(computed, runner.run(computed, feeds), strict=True)) | feeds
            found.append([known[name] for name in self.names])
        return found

    def whole(self) -> list[list[np.ndarray]]:
        """All outputs of the file for each sample."""
        runner = session(str(self.path))
        return [runner.run(self.names, {"x": self.x[k : k + 1]}) for k in range(N)]


@pytest.fixture(scope="module", params=NETWORKS)
def compiled(request, tmp_path_factory):
    return Compiled(NETWORKS[request.param](), tmp_path_factory.mktemp(request.param))


def test_the_network_ends_where_it_should(compiled):
    tail = compiled.made.tail
    assert tail.cut == bool(compiled.network.cut)
    if tail.cut:
        assert {feed.tensor for feed in tail.feeds} == compiled.network.cut


def test_the_tail_computes_what_onnxruntime_does_with_these_values(compiled):
    found, wanted = compiled.made.run_host_tail(compiled.x), compiled.by_hand()
    for k, name in enumerate(compiled.names):
        rows = [sample[k] for sample in wanted]
        varying = name in compiled.network.varying
        expected = np.concatenate(rows) if varying or len(rows[0]) == 1 else np.stack(rows)
        assert found[name].dtype == expected.dtype
        assert np.array_equal(found[name], expected)
        assert (ROWS.format(name) in found) == varying
        if varying:
            assert found[ROWS.format(name)].tolist() == [len(row) for row in rows]


def test_outputs_are_close_to_the_whole_model(compiled):
    found, wanted = compiled.made.run_host_tail(compiled.x), compiled.whole()
    for k, name in enumerate(compiled.names):
        expected = np.concatenate([sample[k] for sample in wanted])
        if name in compiled.network.varying or expected.dtype.kind == "i":
            continue  # decisions: one value on the edge makes another row
        spread = np.abs(expected).max()
        assert np.abs(found[name] - expected).max() <= 0.06 * spread


def ranked(shape, opset=13):
    """The two best of five scores."""
    constants = {"w1": weights(1, 8, 16), "w2": weights(2, 16, 5), "two": ints(2)}
    nodes = [node("MatMul", "x w1", "h"), node("Relu", "h", "r"), node("MatMul", "r w2", "s")]
    if opset < 10:
        nodes.append(node("TopK", "s", "best which", axis=1, k=2))
    else:
        nodes.append(node("TopK", "s two", "best which", axis=1))
    return model(nodes, shape, constants, "best", opset)


def test_indices_are_called_integers(tmp_path):
    made = ranked(("N", 8))
    made.graph.output.append(onnx.helper.make_tensor_value_info("which", 7, ["N", 2]))
    onnx.save(made, tmp_path / "net.onnx")
    x = samples((8,), 20)
    compiled = compile_model(
        tmp_path / "net.onnx", evaluate=(x, {}), target="unlimited", emit=(), cut_at="s"
    )
    tables = {table.name: table for table in output_figures.tables(compiled.report)}
    assert tables["which"].kind == "integers"
    assert tables["which"].steps[0].value == "100.00 % of integers equal"
    assert not schema.complaint(json.loads(json.dumps(compiled.report)))


def moved():
    """Values whose batch is not their first axis."""
    constants = {"w1": weights(1, 8, 16), "w2": weights(2, 16, 6), "s": ints(-1, 2, 3)}
    nodes = [
        node("MatMul", "x w1", "h"),
        node("Relu", "h", "r"),
        node("MatMul", "r w2", "l"),
        node("Reshape", "l s", "m"),
        node("Transpose", "m", "t", perm=[1, 0, 2]),
        node("Softmax", "t", "p", axis=2),
        node("ReduceMax", "p", "q", axes=[2], keepdims=0),
        node("Transpose", "q", "y", perm=[1, 0]),
    ]
    return model(nodes, ("N", 8), constants)


def gated():
    """The input multiplied by a softmax."""
    constants = {"w1": weights(1, 8, 16), "w2": weights(2, 16, 8)}
    nodes = [
        node("MatMul", "x w1", "h"),
        node("Relu", "h", "r"),
        node("MatMul", "r w2", "l"),
        node("Softmax", "l", "p", axis=1),
        node("Mul", "p x", "y"),
    ]
    return model(nodes, ("N", 8), constants)


@pytest.mark.parametrize(
    ("made", "fixed"),
    [(ranked((4, 8)), 4), (ranked(("N", 8), 9), 1), (moved(), 1), (gated(), 1)],
    ids=["batch of four", "opset 9", "batch moved", "input read"],
)
def test_other_forms(tmp_path, made, fixed):
    onnx.save(made, tmp_path / "net.onnx")
    few, x = samples((8,), 40, 2), samples((8,), N)
    compiled = compile_model(
        tmp_path / "net.onnx", calibrate=few, evaluate=(x, None), target="unlimited", emit=()
    )
    ((name, found),) = compiled.run_host_tail(x).items()
    runner = session(made)
    rows = [runner.run([name], {"x": np.repeat(one[None], fixed, 0)})[0][:1] for one in x]
    assert np.abs(found - np.concatenate(rows)).max() <= 0.02
    assert compiled.report["ladder"][-1]["stage"] == "host"


def test_an_output_that_depends_on_no_input_is_the_file_s(tmp_path):
    """A policy's log deviations are parameters."""
    constants = {"w1": weights(1, 8, 16), "w2": weights(2, 16, 3), "c": weights(3, 1, 3)}
    nodes = [
        node("MatMul", "x w1", "h"),
        node("Relu", "h", "r"),
        node("MatMul", "r w2", "mean"),
        node("Exp", "c", "std"),
    ]
    made = model(nodes, ("N", 8), constants, "mean std")
    onnx.save(made, tmp_path / "net.onnx")
    x = samples((8,), N)
    compiled = compile_model(
        tmp_path / "net.onnx", calibrate=samples((8,), 40, 2), target="unlimited", emit=()
    )
    notes = {finding.code for finding in OnnxFrontend().read(tmp_path / "net.onnx").findings}
    assert "constant-output" in notes
    compiled.save(tmp_path / "net.snn")
    found = CompiledModel.load(tmp_path / "net.snn").run_host_tail(x)
    assert [*found] == ["mean", "std"]
    np.testing.assert_array_equal(found["std"], np.repeat(np.exp(constants["c"]), N, 0))
    np.testing.assert_array_equal(found["mean"], compiled.run(x).astype(np.float32))


def test_a_network_may_be_cut_at_a_softmax_that_is_left_off(tmp_path):
    nodes = [node("Gemm", "x w", "l"), node("Softmax", "l", "p", axis=1), node("Exp", "p", "e")]
    onnx.save(model(nodes, ("N", 8), {"w": weights(1, 8, 4)}, "e"), tmp_path / "net.onnx")
    made = compile_model(tmp_path / "net.onnx", target="unlimited", emit=(), cut_at="p")
    x = samples((8,), 2)
    logits = np.exp(made.run(x))
    expected = np.exp(logits / logits.sum(axis=1, keepdims=True))
    assert np.allclose(made.run_host_tail(x)["e"], expected, rtol=1e-5)


def test_a_tail_does_not_start_at_integers(tmp_path):
    nodes = [
        node("Gemm", "x w", "l"),
        node("QuantizeLinear", "l s z", "q"),
        node("BitShift", "q one", "u", direction="RIGHT"),
    ]
    constants = {"w": weights(1, 8, 4), "s": np.float32(0.05), "z": np.uint8(128)}
    made = model(nodes, ("N", 8), {**constants, "one": np.uint8(1)}, "u")
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(made, tmp_path / "net.onnx")
    with pytest.raises(CompileError, match="integers of the quantized 'q'"):
        compile_model(tmp_path / "net.onnx", target="unlimited", emit=())


ABOVE = node("Greater", "l k", "a")
TRUTHS = {
    "alone": [ABOVE, node("Identity", "a", "y")],
    "combined": [ABOVE, node("Less", "l j", "b"), node("Or", "a b", "y")],
    "in a tail": [ABOVE, node("Cast", "a", "b", to=6), node("Mod", "b j", "y")],
}


@pytest.mark.parametrize("nodes", TRUTHS.values(), ids=TRUTHS)
def test_the_host_makes_comparisons_at_the_end(nodes, tmp_path):
    """Of the readouts themselves: spikes would round 0 and 1, and the file has true and false."""
    j = np.int32(2) if nodes[-1].op_type == "Mod" else np.float32(-0.5)
    constants = {"w": weights(1, 8, 12), "v": weights(2, 12, 4), "k": np.float32(0.1), "j": j}
    layers = [node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("MatMul", "r v", "l")]
    path = tmp_path / "net.onnx"
    kind = onnx.TensorProto.INT32 if nodes[-1].op_type == "Mod" else onnx.TensorProto.BOOL
    onnx.save(model([*layers, *nodes], ("N", 8), constants, output_type=kind), path)
    x = samples((8,), 16)
    data = {"calibrate": samples((8,), 40, 2), "evaluate": (x, None)}
    made = compile_model(path, **data, target="unlimited", emit=())
    found = made.run_host_tail(x)["y"]
    logits = made.run(x)
    if nodes[-1].op_type == "Or":
        expected = (logits > 0.1) | (logits < -0.5)
    else:
        expected = logits > np.float32(0.1)
    np.testing.assert_array_equal(found, expected.astype(found.dtype))
    assert found.dtype == (np.int32 if kind == onnx.TensorProto.INT32 else bool)
    (judged,) = next(rung for rung in made.report["ladder"] if rung["stage"] == "host")["outputs"]
    assert (judged["kind"], judged["agreement"] > 90) == ("segmentation", True)


def test_truths_without_a_layer_before_them_stay_where_they_are():
    nodes = [node("Relu", "x", "r"), node("Greater", "r k", "y")]
    made = model(nodes, ("N", 8), {"k": np.float32(0.5)}, output_type=onnx.TensorProto.BOOL)
    assert imported(made).tail is None


def test_a_single_number_on_a_grid_in_a_tail(tmp_path):
    """onnxruntime's quantizer gives every constant a grid, those without axes too."""
    nodes = [
        node("MatMul", "x w", "l"), node("DequantizeLinear", "k s z", "c"),
        node("ReduceL2", "l", "n", axes=[1], keepdims=1), node("Add", "n c", "m"),
        node("Div", "l m", "y"),
    ]  # fmt: skip
    constants = {"w": weights(1, 8, 4), "k": np.uint8(200), "s": np.float32(0.01), "z": np.uint8(0)}
    onnx.save(model(nodes, ("N", 8), constants), tmp_path / "net.onnx")
    made = compile_model(tmp_path / "net.onnx", target="unlimited", emit=(), cut_at="l")
    x = samples((8,), 3)
    logits = made.run(x)
    expected = logits / (np.linalg.norm(logits, axis=1, keepdims=True) + 2)
    np.testing.assert_allclose(made.run_host_tail(x)["y"], expected, rtol=1e-5)


def test_outputs_that_are_no_numbers_are_counted_and_have_no_error(tmp_path):
    """The logarithm of what may be negative: in the file as in the tail."""
    nodes = [node("MatMul", "x w", "l"), node("Log", "l", "g"), node("CumSum", "g one", "y")]
    constants = {"w": weights(1, 8, 1), "one": np.array(1)}
    onnx.save(model(nodes, ("N", 8), constants), tmp_path / "net.onnx")
    x = samples((8,), 12)
    made = compile_model(
        tmp_path / "net.onnx", evaluate=(x, np.ones((12, 1))), target="unlimited", emit=(),
        output_kind="regression", cut_at="l",
    )  # fmt: skip
    (rung,) = (rung for rung in made.report["ladder"] if rung["stage"] == "host")
    (found,) = rung["outputs"]
    assert (found["mse"], found["r2"], found["mse_onnx"], found["r2_onnx"]) == (None,) * 4
    n = int(np.isnan(made.run_host_tail(x)["y"]).sum())
    assert 0 < n < 12
    assert rung["note"].startswith(f"'y' is no number for {n} of 12 samples, and for ")


def test_a_runtime_of_a_plug_in_may_know_nothing_of_probabilities():
    class Runtime:
        name, inputs, shapes, integers = "own", ["l"], [(1, 3)], [False]

        def __call__(self, feeds):
            return [np.ones((1, 3))]

    tail = HostTail(b"", (Feed("l", "l", (1, 3), "float32"),), ("y",), (("y", "Own"),), (), 1, True)
    runner = HostRunner(tail, Runtime())
    assert runner.probabilities == frozenset()
    assert runner.integers == frozenset()
