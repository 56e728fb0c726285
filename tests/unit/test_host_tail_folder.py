"""The host tail in a folder, on the command line and in the ladder; and tails of strangers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from onnx_models import ints, model, node, session
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileError, UsageError
from snn_compile.files.documents import sha256
from snn_compile.ir.host_tail import HostTail
from snn_compile.plugins.host import HostRunner
from snn_compile.sealed import read_seal
from snn_frontends.onnx import runtime
from tailed_networks import NETWORKS, samples, weights

FAST = {"target": "unlimited", "emit": ()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A detector whose tail suppresses boxes, and its data."""
    path = tmp_path_factory.mktemp("tail")
    network = NETWORKS["suppressed"]()
    onnx.save(network.made, path / "net.onnx")
    np.savez(path / "data.npz", x=samples(network.shape, 3), y=np.arange(3))
    compile_model(path / "net.onnx", **FAST).save(path / "net.snn")
    return path


@pytest.fixture
def copied(folder, tmp_path):
    shutil.copytree(folder / "net.snn", tmp_path / "net.snn")
    return tmp_path / "net.snn"


def refusal(folder):
    with pytest.raises(CompileError) as caught:
        CompiledModel.load(folder).run_host_tail(samples((3, 16, 16), 1))
    return caught.value


def test_run_writes_the_outputs_of_the_file(folder, capsys, tmp_path):
    line = ["run", folder / "net.snn", "--data", folder / "data.npz", "-o", tmp_path / "out.npz"]
    assert main([*map(str, line), "--host-tail"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the labels y are not compared" in said
    found = CompiledModel.load(folder / "net.snn").run_host_tail(samples((3, 16, 16), 3))
    with np.load(tmp_path / "out.npz") as written:
        for name, values in found.items():
            assert np.array_equal(written[name], values)
        assert {"kept", "found", "rows/kept", "outputs", "potentials"} <= set(written.files)


def test_labels_that_no_output_has_are_named_whatever_they_are_in(folder, capsys, tmp_path):
    with np.load(folder / "data.npz") as data:
        x, y = data["x"], data["y"]
    rows = [
        ",".join(map(str, [*row, label])) for row, label in zip(x.reshape(3, -1), y, strict=True)
    ]
    head = ",".join([*(f"x{k}" for k in range(x[0].size)), "label"])
    (tmp_path / "data.csv").write_text("\n".join([head, *rows]) + "\n")
    line = ["run", folder / "net.snn", "--data", tmp_path / "data.csv", "-q"]
    assert main([*map(str, line)]) == 0
    assert "are not compared" in " ".join(capsys.readouterr().err.split())


def test_a_network_without_a_tail_has_its_outputs_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    compiled = compile_model("examples/digits_mlp.onnx", **FAST)
    x = samples(compiled.encoding.shape, 3)
    found = compiled.run_host_tail(x)
    assert found.keys() == {"logits"}
    assert np.array_equal(found["logits"], compiled.run(x).astype(np.float32))


def test_without_onnxruntime_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    error = refusal(folder / "net.snn")
    assert error.code == "missing-package"
    assert "snn-compile[onnxruntime]" in error.hint
    found = compile_model(folder / "net.onnx", evaluate=(samples((3, 16, 16), 3), None), **FAST)
    assert "host-not-evaluated" in {one["code"] for one in found.report["warnings"]}
    assert "host" not in {rung["stage"] for rung in found.report["ladder"]}


@pytest.mark.parametrize("name", ["tail.json", "tail.onnx"])
@pytest.mark.parametrize("change", ["alter", "remove"])
def test_the_seal_covers_the_tail(copied, name, change):
    content = (copied / name).read_bytes()
    (copied / name).unlink()
    if change == "alter":
        (copied / name).write_bytes(content.replace(b"kept", b"kepT"))
    error = refusal(copied)
    assert error.code in {"seal-broken", "unreadable-bundle"}


def test_a_seal_is_the_same_with_a_softmax_left_off(tmp_path):
    network = NETWORKS["labels"]()
    onnx.save(network.made, tmp_path / "net.onnx")
    compiled = compile_model(tmp_path / "net.onnx", **FAST)
    assert "tail" not in compiled.provenance
    compiled.save(tmp_path / "net.snn")
    seal = read_seal(tmp_path / "net.snn")
    for name in ("tail.json", "tail.onnx"):
        (tmp_path / "net.snn" / name).unlink()
    assert CompiledModel.load(tmp_path / "net.snn").tail is None
    assert read_seal(tmp_path / "net.snn") == seal


def resealed(folder, change):
    """A tail that somebody has changed and described again; its network has none that was cut."""
    model = onnx.load(folder / "tail.onnx")
    change(model.graph)
    content = model.SerializeToString()
    (folder / "tail.onnx").write_bytes(content)
    description = json.loads((folder / "tail.json").read_text())
    description["model"] = hashlib.sha256(content).hexdigest()
    description["operators"] = [[node.name, node.op_type] for node in model.graph.node]
    (folder / "tail.json").write_text(json.dumps(description))


@pytest.fixture(scope="module")
def without_seal(tmp_path_factory):
    """A folder whose tail the seal does not cover."""
    path = tmp_path_factory.mktemp("unsealed")
    onnx.save(NETWORKS["labels"]().made, path / "net.onnx")
    compile_model(path / "net.onnx", **FAST).save(path / "net.snn")
    return path / "net.snn"


@pytest.fixture
def unsealed(without_seal, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(without_seal, tmp_path / "net.snn")
    return tmp_path / "net.snn"


def foreign(graph):
    graph.node[0].domain = "com.example"


def external(graph):
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "far")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    graph.initializer.append(tensor)


def looping(graph):
    body = onnx.helper.make_graph([], "body", [], [])
    graph.node.append(onnx.helper.make_node("Loop", ["", ""], ["odd"], body=body))


def greedy(graph):
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40


def renamed(graph):
    graph.output[0].name = graph.node[0].input[0]


def sparse():
    """A sparse tensor whose values are in another file."""
    tensor = onnx.SparseTensorProto(dims=[9])
    tensor.values.CopyFrom(onnx.TensorProto(name="s", data_type=1, dims=[1], data_location=1))
    tensor.values.external_data.add(key="location", value="secret.bin")
    tensor.indices.CopyFrom(onnx.numpy_helper.from_array(np.array([0])))
    return tensor


def sparse_initializer(graph):
    graph.sparse_initializer.append(sparse())


def sparse_attribute(graph):
    graph.node[0].attribute.append(onnx.helper.make_attribute("sparse_value", sparse()))


def cast_to_text(graph):
    graph.node[0].CopyFrom(node("Cast", graph.node[0].input[0], graph.node[0].output[0], to=8))


def sequence(graph):
    (reader,) = graph.node
    reader.CopyFrom(node("SequenceConstruct", reader.input[0], reader.output[0]))


def text_constant(graph):
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(["a"], object), "text"))


CHANGES = [
    *(foreign, external, looping, greedy, renamed, sparse_initializer, sparse_attribute),
    *(cast_to_text, sequence, text_constant),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_tail_of_a_stranger_is_refused(unsealed, change):
    resealed(unsealed, change)
    assert refusal(unsealed).code == "unreadable-bundle"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(operators=[]), "without operators"),
        (lambda d: d.update(outputs=[]), "no outputs"),
        (lambda d: d["outputs"].append("p" * 70_000), "too long a name"),
        (lambda d: d.update(feeds=d["feeds"] * 2), "one name"),
        (lambda d: d.update(entries=[]), "other inputs"),
        (lambda d: d["entries"][0].update(shape=[1, 3, 16, 15]), "other inputs"),
        (lambda d: d["entries"][0].update(shape=[3 * 10**8, 3, 16, 16]), "other batches"),
        (lambda d: d["entries"][0].update(shape=[2, 3, 16, 16], axis=None), "other inputs"),
        (lambda d: d["feeds"].append({**d["entries"][0], "scale": [2.0]}), "does not have"),
        (
            lambda d: (
                d.update(batch=1 << 16),
                [one["shape"].__setitem__(0, 1 << 16) for one in d["entries"] + d["feeds"]],
            ),
            "bytes, more than",
        ),
    ],
)
def test_a_description_of_a_stranger_is_refused(unsealed, monkeypatch, change, message):
    monkeypatch.setattr("snn_compile.memory._limit", 64 << 20)
    document = json.loads((unsealed / "tail.json").read_text())
    change(document)
    (unsealed / "tail.json").write_text(json.dumps(document))
    error = refusal(unsealed)
    assert error.code in {"unreadable-bundle", "too-large"}
    assert message in error.message


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no such limit")
def test_operators_that_allocate_by_themselves_are_bounded(monkeypatch):
    monkeypatch.setattr(runtime, "_bound_arena", lambda size: None)
    ones = onnx.numpy_helper.from_array(np.ones(1, np.uint8))
    nodes = [node("ConstantOfShape", "size", "all", value=ones), node("NonZero", "all", "where")]
    made = model(nodes, (1,), {"size": ints(5 * 10**6)}, "where")
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    for limit, enough in ((16 << 20, False), (1 << 30, True)):
        monkeypatch.setattr("snn_compile.memory._limit", limit)
        host = runtime.HostModel.of(made.SerializeToString(), bounded=True)
        with nullcontext() if enough else pytest.raises(CompileError, match="cannot compute"):
            assert host({"x": np.zeros(1, np.float32)})[0].size == 5 * 10**6


def test_outputs_that_are_no_tensors_are_refused():
    made = model([node("SequenceConstruct", "x", "y")], (1, 2), {}, "y")
    made.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="y"))
    with pytest.raises(CompileError) as caught:
        runtime.HostModel.of(made.SerializeToString())
    assert caught.value.code == "host-runtime"


def test_scalars_do_not_stop_the_runtime(tmp_path):
    made = model([node("ReduceMax", "x", "y", keepdims=0)], ("N", 2), {}, "y")
    made.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, None))
    onnx.save(made, tmp_path / "net.onnx")
    assert runtime.OnnxRuntime.of(tmp_path / "net.onnx") is None


def rows_of(shape, values):
    """The rows of an output of a shape, of each sample's value of it."""
    tail = HostTail(b"", (), ("y",), (("", "NonZero"),), (), 1, cut=True)
    host = HostRunner(tail, SimpleNamespace(shapes=[shape], integers=[True]))
    return [host.rows({"y": value})["y"].shape for value in values]


def test_the_axis_that_varies_is_that_of_the_rows():
    two, five = np.zeros((2, 2)), np.zeros((2, 5))
    assert rows_of((2, None), [two, five]) == [(2, 2), (5, 2)]
    assert rows_of((1, 2, None), [two[None], five[None]]) == [(2, 2), (5, 2)]
    assert rows_of((1, None, 2), [two[None], five.T[None]]) == [(2, 2), (5, 2)]
    with pytest.raises(UsageError, match="several axes"):
        rows_of((None, None), [two, five])


@pytest.mark.parametrize(("limit", "code"), [("100M", 2), ("4G", 0)])
def test_the_memory_of_a_tail_is_bounded(unsealed, tmp_path, limit, code):
    def grow(graph):
        size = onnx.numpy_helper.from_array(np.array([100_000, 5, 8, 8]), "size")
        graph.initializer.append(size)
        (reader,) = graph.node
        source, reader.input[0] = reader.input[0], "most"
        graph.node.insert(0, onnx.helper.make_node("Expand", [source, "size"], ["huge"]))
        most = onnx.helper.make_node("ReduceMax", ["huge"], ["most"], axes=[0], keepdims=1)
        graph.node.insert(1, most)

    resealed(unsealed, grow)
    np.savez(tmp_path / "data.npz", x=samples((3, 16, 16), 1))
    start = "import sys; from snn_compile.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", start, "run", unsealed, "--host-tail"]
    line += ["--data", tmp_path / "data.npz"]
    ended = subprocess.run(
        [*map(str, line)],
        env={**os.environ, "SNN_COMPILE_MAX_MEMORY": limit},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code
    assert ("error[host-runtime]" in ended.stderr) == bool(code)


def test_the_rung_host_is_that_of_the_file(tmp_path):
    network = NETWORKS["looked_up"]()
    onnx.save(network.made, tmp_path / "net.onnx")
    x = samples(network.shape, 6)
    runner = session(str(tmp_path / "net.onnx"))
    whole = np.concatenate([runner.run(["row"], {"x": one[None]})[0] for one in x])
    targets = whole + 0.25
    compiled = compile_model(
        tmp_path / "net.onnx",
        calibrate=samples(network.shape, 40, 2),
        evaluate=(x, targets),
        **FAST,
    )
    rung = compiled.report["ladder"][-1]
    found = compiled.run_host_tail(x)["row"]
    assert (rung["stage"], rung["n"], rung["before"]["stage"]) == ("host", 6, "onnx")
    (figures,) = rung["outputs"]
    assert figures["name"] == "row"
    assert figures["mse"] == pytest.approx(((found - targets) ** 2).mean())
    assert figures["mse_onnx"] == pytest.approx(((found - whole) ** 2).mean())
    (before,) = rung["before"]["outputs"]
    assert before["mse"] == pytest.approx(0.0625, rel=1e-5)
    tail = compiled.report["tail"]
    assert (tail["values"], tail["bytes"], tail["outputs"]) == (5, 20, ["row"])
    assert [one["tensor"] for one in tail["cut"]] == ["logits"]
    compiled.save(tmp_path / "net.snn")
    page = (tmp_path / "net.snn" / "report.html").read_text()
    assert "2 operators (ArgMax, Gather), which read 5 values, 20 bytes" in page


def test_preprocessing_is_that_of_the_whole_file(tmp_path):
    network = NETWORKS["soft_arg_max"]()
    onnx.save(network.made, tmp_path / "net.onnx")
    raw = np.random.default_rng(0).integers(0, 256, (4, *network.shape)).astype(np.uint8)
    compiled = compile_model(
        tmp_path / "net.onnx",
        calibrate=raw,
        evaluate=(raw, None),
        mean_values=(10, 20, 30),
        scale_values=(200,),
        **FAST,
    )
    x = ((raw - np.reshape([10, 20, 30], (3, 1, 1))) / 200).astype(np.float32)
    whole = session(str(tmp_path / "net.onnx")).run(["joints"], {"x": x})[0]
    (figures,) = compiled.report["ladder"][-1]["outputs"]
    found = compiled.run_host_tail(raw)["joints"]
    assert figures["mse_onnx"] == pytest.approx(((found - whole) ** 2).mean(), rel=1e-4)


def test_a_limit_on_the_loss_goes_by_the_file(tmp_path, capsys):
    network = NETWORKS["looked_up"]()
    onnx.save(network.made, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=samples(network.shape, 40))
    line = [tmp_path / "net.onnx", "-o", tmp_path / "net.snn", "--calibrate", tmp_path / "data.npz"]
    line += ["--evaluate", tmp_path / "data.npz", "--max-accuracy-drop", "0", "--weight-bits", "2"]
    assert main([*map(str, line), "-q", "--emit", "nir", "--coding", "rate", "-T", "4"]) == 6
    ladder = json.loads((tmp_path / "net.snn" / "report.json").read_text())["ladder"]
    lost = ladder[-1]["before"]["agreement"] - ladder[-1]["agreement"]
    assert lost > 0
    assert f"by {lost:.2f} points" in capsys.readouterr().err


def test_a_folder_with_a_tail_is_reproduced(folder, capsys):
    assert main(["reproduce", str(folder / "net.snn"), "--model", str(folder / "net.onnx")]) == 0


def test_the_same_file_gives_the_same_tail(folder, tmp_path):
    compile_model(folder / "net.onnx", **FAST).save(tmp_path / "net.snn")
    for name in ("tail.json", "tail.onnx", "model.snn"):
        assert sha256(tmp_path / "net.snn" / name) == sha256(folder / "net.snn" / name)


def test_integers_are_classes_themselves(tmp_path):
    """An index and a map of labels, with labels of their own."""
    nodes = [
        node("Conv", "x w", "c", pads=[1] * 4),
        node("Relu", "c", "r"),
        node("Conv", "r v", "s", pads=[1] * 4),
        node("ArgMax", "s", "map", axis=1, keepdims=0),
        node("ReduceMax", "s", "m", axes=[2, 3], keepdims=0),
        node("ArgMax", "m", "best", axis=1, keepdims=0),
        node("Gather", "table best", "row", axis=0),
    ]
    constants = {
        "w": weights(1, 4, 3, 3, 3),
        "v": weights(2, 6, 4, 3, 3),
        "table": weights(3, 6, 2),
    }
    made = model(nodes, ("N", 3, 8, 8), constants, "map best row")
    for output, kind in zip(made.graph.output, (7, 7, 1), strict=True):
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, None))
    onnx.save(made, tmp_path / "net.onnx")
    x = samples((3, 8, 8), 12)
    maps, best, _ = session(made).run(None, {"x": x})
    labels = {"y_map": np.roll(maps, 1, axis=2), "y_best": np.where(np.arange(12) < 6, best, 9)}
    compiled = compile_model(
        tmp_path / "net.onnx", calibrate=samples((3, 8, 8), 40, 2), evaluate=(x, labels), **FAST
    )
    rung = compiled.report["ladder"][-1]
    figures = {one["name"]: one for one in rung["outputs"]}
    found = compiled.run_host_tail(x)
    assert rung["before"]["outputs"][1]["top1"] == 50
    assert figures["best"]["top1"] == pytest.approx(
        100 * (found["best"] == labels["y_best"]).mean(), abs=1e-3
    )
    assert figures["map"]["pixel_accuracy"] == pytest.approx(
        100 * (found["map"] == labels["y_map"]).mean(), abs=1e-3
    )
    assert figures["map"]["agreement"] == pytest.approx(
        100 * (found["map"] == maps).mean(), abs=1e-3
    )
    assert figures["row"]["kind"] == "classes"


def test_a_tuned_or_older_network_does_not_pretend(tmp_path):
    compiled = compile_model("examples/digits_mlp.onnx", **FAST)
    del compiled.report["tail"]
    with pytest.raises(CompileError) as caught:
        compiled.run_host_tail(samples(compiled.encoding.shape, 1))
    assert caught.value.code == "no-host-tail"
