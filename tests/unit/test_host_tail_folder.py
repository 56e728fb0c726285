"""The host tail in a folder, on the command line and in the ladder; and tails of strangers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest

from onnx_models import session
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileError
from snn_compile.files.documents import sha256
from snn_compile.sealed import read_seal
from tailed_networks import NETWORKS, samples

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
    found = CompiledModel.load(folder / "net.snn").run_host_tail(samples((3, 16, 16), 3))
    with np.load(tmp_path / "out.npz") as written:
        for name, values in found.items():
            assert np.array_equal(written[name], values)
        assert {"kept", "found", "rows/kept", "outputs", "potentials"} <= set(written.files)


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
    (folder / "tail.json").write_text(json.dumps(description))


@pytest.fixture
def unsealed(tmp_path):
    """A folder whose tail the seal does not cover."""
    onnx.save(NETWORKS["labels"]().made, tmp_path / "net.onnx")
    compile_model(tmp_path / "net.onnx", **FAST).save(tmp_path / "net.snn")
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


@pytest.mark.parametrize("change", [foreign, external, looping, greedy, renamed])
def test_a_tail_of_a_stranger_is_refused(unsealed, change):
    resealed(unsealed, change)
    assert refusal(unsealed).code == "unreadable-bundle"


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
