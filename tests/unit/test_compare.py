"""Compiled networks side by side."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import model as onnx_model
from onnx_models import node
from output_networks import segmenter, two_heads
from snn_compile import CompiledModel, compare_folders, compile_model
from snn_compile.cli import main
from snn_compile.compare import tables
from snn_compile.compare.page import render
from snn_compile.compare.schema import Comparison
from snn_compile.errors import CompileError
from snn_compile.files import typed
from snn_compile.significance import holm, sign_test
from tailed_networks import NETWORKS, samples


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 0), (5, 5), (12, 3), (40, 61), (1, 300)])
def test_the_test_is_exact(wins, losses):
    n, few = wins + losses, min(wins, losses)
    exact = 2 * sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    assert sign_test(wins, losses) == pytest.approx(min(1.0, exact), rel=1e-9)
    assert sign_test(wins, losses) == sign_test(losses, wins)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two heads in 8, 4 and 2 bits, and a network of maps; data beside them."""
    folder = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 8)).astype(np.float32)
    path = two_heads(folder)
    exact = compile_model(path, calibrate=x).run(x)
    y = {"policy": exact["policy"].argmax(1), "y_value": exact["value"].astype(np.float32)}
    given = {"calibrate": x, "evaluate": (x, {"y_policy": y["policy"], "y_value": y["y_value"]})}
    for bits in (8, 4, 2):
        compile_model(path, weight_bits=bits, **given).save(folder / f"w{bits}.snn")
    maps = rng.normal(size=(4, 2, 8, 8)).astype(np.float32)
    compile_model(segmenter(folder), calibrate=maps).save(folder / "maps.snn")
    np.savez(folder / "labelled.npz", x=x, y_policy=y["policy"], y_value=y["y_value"])
    np.savez(folder / "x.npz", x=x)
    return folder


def compared(place: Path, *names: str, data: str = "labelled.npz") -> Comparison:
    return compare_folders([place / f"{n}.snn" for n in names], data=place / data)


def test_answers_are_those_of_the_networks(place):
    found = compared(place, "w8", "w4", "w2")
    assert not typed.complaint(found, Comparison, "comparison")
    assert found == json.loads(json.dumps(found))
    with np.load(place / "labelled.npz") as data:
        x, y = data["x"], data["y_policy"]
    runs = [CompiledModel.load(place / f"w{bits}.snn").run(x) for bits in (8, 4, 2)]
    classes = [run["policy"].argmax(1) for run in runs]
    policy, value = found["answers"]["outputs"]
    assert [pair["differ"] for pair in policy["pairs"]] == [
        int((classes[i] != classes[j]).sum()) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    pair = policy["pairs"][1]
    right = [one == y for one in classes]
    assert pair["a_better"] == int((right[0] & ~right[2]).sum()) > 0
    assert pair["b_better"] == int((right[2] & ~right[0]).sum())
    assert pair["p"] == sign_test(pair["a_better"], pair["b_better"])
    assert pair["points"] == pytest.approx(100 * (right[2].mean() - right[0].mean()), abs=1e-3)
    assert pair["better"] == "w8.snn"
    sample = policy["samples"][0]
    assert sample["answers"] == [int(one[sample["sample"]]) for one in classes]
    assert policy["networks"][1]["top1"] == pytest.approx(100 * right[1].mean(), abs=1e-3)
    errors = [np.square(run["value"] - runs[0]["value"].astype(np.float32)) for run in runs]
    assert value["pairs"][2]["a_better"] == int((errors[1] < errors[2]).sum())
    assert value["pairs"][0]["test"] == "sign"
    every = [pair for output in (policy, value) for pair in output["pairs"]]
    assert [p["p_holm"] for p in every] == holm([p["p"] for p in every])


def test_without_labels_only_the_answers_are_compared(place):
    found = compared(place, "w8", "w2", data="x.npz")
    (pair,) = found["answers"]["outputs"][0]["pairs"]
    assert pair["differ"] > 0
    assert "p" not in pair
    (line, _) = tables.conclusions(found)
    assert line == f"w8.snn and w2.snn differ in 'policy' in {pair['differ']} of 300 answers"


def test_what_differs_is_named(place):
    found = compared(place, "w8", "w4")
    assert found["options"] == [{"name": "weight_bits", "values": [8, 4]}]
    assert found["notes"] == []
    figures = {figure["name"]: figure for figure in found["figures"]}
    for k, bits in enumerate((8, 4)):
        cost = CompiledModel.load(place / f"w{bits}.snn").report["cost"]
        assert figures["energy"]["values"][k] == pytest.approx(1e6 * cost["energy"]["value"])
        assert figures["latency"]["high"][k] == cost["latency"]["high"]
    assert [layer["networks"][1]["weight_bits"] for layer in found["layers"]] == [4] * 3


def test_other_data_and_other_models_are_noted(place):
    found = compare_folders([place / "w8.snn", place / "maps.snn"])
    said = "\n".join(found["notes"])
    assert "different model files" in said
    assert "take different inputs: 8 and 2x8x8" in said
    assert found["answers"] is None
    with pytest.raises(CompileError) as raised:
        compared(place, "w8", "maps")
    assert raised.value.code == "not-comparable"
    assert "maps.snn takes 2x8x8 and w8.snn 8" in raised.value.message


def test_the_same_network_is_no_better_than_itself(place, tmp_path):
    shutil.copytree(place / "w8.snn", tmp_path / "w8.snn")
    found = compare_folders([place / "w8.snn", tmp_path / "w8.snn"], data=place / "labelled.npz")
    names = [one["name"] for one in found["networks"]]
    assert len(set(names)) == 2
    assert all(name.endswith("/w8.snn") for name in names)
    assert found["notes"] == [f"{names[0]} and {names[1]} are the same network"]
    (pair,) = found["answers"]["outputs"][0]["pairs"]
    assert (pair["differ"], pair["p"], pair["better"]) == (0, 1.0, None)
    with pytest.raises(CompileError, match="named twice"):
        compare_folders([place / "w8.snn", place / "../" / place.name / "w8.snn"])
    with pytest.raises(CompileError, match="one folder is nothing to compare"):
        compare_folders([place / "w8.snn"])


def test_the_command(place, tmp_path, capsys):
    page = tmp_path / "cmp.html"
    folders = [str(place / f"w{bits}.snn") for bits in (8, 2)]
    line = ["compare", *folders, "--data", str(place / "labelled.npz"), "-q"]
    assert main([*line, "-o", str(page)]) == 0
    said = capsys.readouterr().out
    assert "w8.snn is better than w2.snn in 'policy'" in said
    assert "--weight-bits" in said
    text = page.read_text()
    assert "w8.snn is better than w2.snn" in text
    assert "<script" not in text
    assert "http" not in text
    assert main([*line, "--json"]) == 0
    assert not typed.complaint(json.loads(capsys.readouterr().out), Comparison, "comparison")
    assert main([*line, "-o", str(tmp_path / "cmp.pdf")]) == 2
    assert "error[bad-option]" in capsys.readouterr().err
    missing = str(tmp_path / "nowhere" / "cmp.html")
    assert main(["compare", "no.snn", "no other.snn", "-o", missing]) == 2
    assert "nowhere: error[no-such-file]: there is no such folder" in capsys.readouterr().err


def test_what_files_say_is_escaped(place):
    found = compared(place, "w8", "w2")
    evil = "<img src=x onerror=alert(1)>\x1b[31m"
    found["networks"][0]["name"] = evil
    found["layers"][0]["name"] = evil
    found["options"].append({"name": evil, "values": [{"a": evil}, [evil]]})
    found["notes"].append(evil)
    page = render(found)
    assert "<img" not in page
    assert "\x1b" not in page


def test_a_line_break_in_a_name_makes_no_row(place, capsys):
    from snn_compile.cli.compare import _show

    found = compared(place, "w8", "w2")
    found["layers"][0]["name"] = "one\nother"
    _show(found, None)
    assert "one\\nother" in capsys.readouterr().out


def test_the_note_counts_what_was_tested(place, tmp_path):
    with np.load(place / "labelled.npz") as data:
        np.savez(tmp_path / "policy.npz", x=data["x"], y_policy=data["y_policy"])
    for data, count in ((tmp_path / "policy.npz", 3), (place / "labelled.npz", 6)):
        found = compared(place, "w8", "w4", "w2", data=data)
        (note,) = {one.note for one in tables.tables(found) if "McNemar" in one.note}
        assert note.endswith(f"corrected for {count} comparisons.")


def test_networks_that_are_cut_are_compared_by_the_outputs_of_their_file(tmp_path):
    network = NETWORKS["looked_up"]()
    onnx.save(network.made, tmp_path / "net.onnx")
    x, few = samples(network.shape, 40), samples(network.shape, 40, 2)
    networks = {}
    for bits in (8, 2):
        one = compile_model(tmp_path / "net.onnx", calibrate=few, weight_bits=bits, emit=())
        one.save(tmp_path / f"w{bits}.snn")
        networks[bits] = one
    rows = {bits: one.run_host_tail(x)["row"] for bits, one in networks.items()}
    y = rows[8] + np.random.default_rng(0).normal(0, 0.01, rows[8].shape)
    np.savez(tmp_path / "data.npz", x=x, row=y.astype(np.float32))
    np.savez(tmp_path / "x.npz", x=x)
    (output,) = compared(tmp_path, "w8", "w2", data="data.npz")["answers"]["outputs"]
    assert (output["name"], output["kind"]) == ("row", "regression")
    for one, bits in zip(output["networks"], (8, 2), strict=True):
        assert one["mse"] == pytest.approx(np.square(rows[bits] - y).mean(), rel=1e-5)
    assert output["differ"] == int((rows[8] != rows[2]).any(axis=1).sum()) > 0
    (pair,) = output["pairs"]
    assert pair["b_better"] < pair["a_better"]
    (unlabelled,) = compared(tmp_path, "w8", "w2", data="x.npz")["answers"]["outputs"]
    classes = [rows[bits].argmax(axis=1) for bits in (8, 2)]
    assert (unlabelled["kind"], unlabelled["differ"]) == (
        "classes",
        (classes[0] != classes[1]).sum(),
    )


def test_classes_that_the_host_looks_up_are_counted(tmp_path):
    nodes = [
        node("MatMul", "x v", "scores", "scores"),
        node("ArgMax", "scores", "place", axis=1, keepdims=0),
        node("Gather", "table place", "y"),
    ]
    table = np.array([3, 9, 4, 4, 0, 7, 12])
    weights = {"v": np.random.default_rng(1).normal(size=(8, 7)).astype(np.float32)}
    made = onnx_model(nodes, ("N", 8), {**weights, "table": table})
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(made, tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    for bits in (8, 2):
        one = compile_model(tmp_path / "net.onnx", calibrate=x, weight_bits=bits, emit=())
        one.save(tmp_path / f"w{bits}.snn")
    compiled = CompiledModel.load(tmp_path / "w8.snn")
    np.savez(tmp_path / "data.npz", x=x, y=table[compiled.run(x).argmax(axis=1)])
    (output,) = compared(tmp_path, "w8", "w2", data="data.npz")["answers"]["outputs"]
    assert (output["name"], output["kind"]) == ("y", "classes")
    assert output["networks"][0]["top1"] == 100.0
    assert output["pairs"][0]["differ"] == output["pairs"][0]["a_better"] > 0
