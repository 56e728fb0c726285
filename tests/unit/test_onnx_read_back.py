"""ONNX files that were emitted are read back: the same integers, or a refusal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import engine_cases
import scheduled_networks
from snn_backends.onnx_integers import OnnxBackend, file
from snn_compile import CompiledModel, compile_model
from snn_compile.cli import main
from snn_compile.errors import CompileError, ModelError
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.text import dump_text
from snn_compile.sim import reference
from snn_frontends.onnx import OnnxFrontend
from snn_frontends.onnx import integers as reader

CASES = {
    name: program
    for name, program, _ in engine_cases.random_networks(1)
    if not OnnxBackend().check(program)
}
SPREAD = {
    f"{coding} {name}": scheduled_networks.scheduled(coding, name, 3, 5).program
    for coding in ("sync", "radix")
    for name in ("structures", "branches")
}


def text_of(program: QuantizedGraph) -> Any:
    return dump_text(program)


@pytest.mark.parametrize("name", [*CASES, *SPREAD])
def test_the_same_network_is_read(name, tmp_path):
    program = {**CASES, **SPREAD}[name]
    OnnxBackend().emit(program, tmp_path)
    found = OnnxFrontend().read_integers(tmp_path / file.INTEGERS)
    assert found is not None
    assert text_of(found.network) == text_of(program)
    assert (np.concatenate([part.unit for part in found.encoding.parts]) == 1).all()


@pytest.fixture(scope="module")
def emitted(digits_folder: Callable[..., Path]) -> Path:
    return digits_folder("--emit", "onnx", "--coding", "graded")


def test_compiled_again_it_is_the_same(emitted, tmp_path, examples):
    original = CompiledModel.load(emitted)
    again = compile_model(
        emitted / "onnx" / file.REALS, emit=("onnx",), evaluate=examples / "digits_evaluate.npz"
    )
    assert text_of(again.program) == text_of(original.program)
    x = np.random.default_rng(0).uniform(0, 1, (3, *original.encoding.shape)).astype(np.float32)
    assert np.array_equal(again.run(x), original.run(x))
    again.save(tmp_path / "again.snn")
    for name in (file.INTEGERS, file.REALS):
        wrote = (tmp_path / "again.snn" / "onnx" / name).read_bytes()
        assert wrote == (emitted / "onnx" / name).read_bytes()
    assert main(["verify", str(tmp_path / "again.snn"), "--stimuli", "2", "-q"]) == 0
    assert again.report["ladder"][0]["stage"] == "fixed"


def test_options_that_ask_for_another_network_are_named(emitted):
    made = compile_model(emitted / "onnx" / file.INTEGERS, emit=(), coding="rate", weight_bits=4)
    (warning,) = made.report["warnings"]
    assert "ignored: coding, weight-bits; the file states the network in integers" in str(warning)
    assert made.program.window.coding == "graded"


def test_it_is_checked_and_not_converted(emitted, capsys):
    path = emitted / "onnx" / file.REALS
    assert main(["check", str(path)]) == 0
    assert "0 unsupported" in capsys.readouterr().out
    with pytest.raises(CompileError) as caught:
        OnnxFrontend().read(path)
    assert caught.value.code == "integer-network"


def test_other_files_are_none_of_ours(examples):
    assert OnnxFrontend().read_integers(examples / "digits_mlp.onnx") is None


def test_files_of_the_first_form_are_read():
    """What it answers was written down when the file was; ``tests/old/README.md`` says how."""
    path = Path(__file__).parents[1] / "old" / "integers-1.onnx"
    found = OnnxFrontend().read_integers(path)
    assert found is not None
    frame = np.array([[170, 56, 0, 0, 0, 0, 0, 0, 0, 183, 0, 165]])
    (output,) = reference.run(found.network, frame).outputs.values()
    assert output.tolist() == [[-4982, -5595, 75272, -1986, 71929]]


# Changed, and hostile ----------------------------------------------------------------------------


def described(model: onnx.ModelProto) -> dict[str, Any]:
    return json.loads(reader.metadata(model)[reader.NETWORK])


def describe(model: onnx.ModelProto, document: Any, version: str = reader.VERSION) -> None:
    said = document if isinstance(document, str) else json.dumps(document)
    props = reader.metadata(model)
    helper.set_model_props(model, {**props, reader.FORMAT: version, reader.NETWORK: said})


def other_weight(model: onnx.ModelProto) -> None:
    weight = next(one for one in model.graph.initializer if one.name.endswith(":weight"))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] ^= 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def other_operator(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Clip")
    node.input[1] = node.input[2]


def without_an_operator(model: onnx.ModelProto) -> None:
    del model.graph.node[-1]


def changed_description(change: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    def apply(model: onnx.ModelProto) -> None:
        document = described(model)
        change(document)
        describe(model, document)

    return apply


def exponent(document: dict[str, Any]) -> None:
    node = next(one for one in document["program"]["nodes"] if "exponent" in one)
    node["exponent"] += 1


def huge(document: dict[str, Any]) -> None:
    document["uniform"]["more"] = {"shape": [1 << 40, 1 << 20], "value": 1}


def foreign_class(document: dict[str, Any]) -> None:
    document["program"]["nodes"][0]["$type"] = "os.system"


def missing_array(document: dict[str, Any]) -> None:
    node = next(one for one in document["program"]["nodes"] if "weight" in one)
    node["weight"]["array"] = "nothing"


CHANGES: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "weight": (other_weight, "onnx-changed"),
    "operator": (other_operator, "onnx-changed"),
    "fewer-operators": (without_an_operator, "onnx-changed"),
    "exponent": (changed_description(exponent), "onnx-changed"),
    "unit": (changed_description(lambda d: d["encoding"].update(high=3)), "onnx-changed"),
    "huge": (changed_description(huge), "too-large"),
    "class": (changed_description(foreign_class), "unknown-neurons"),
    "array": (changed_description(missing_array), "onnx-form"),
    "uniform": (changed_description(lambda d: d.pop("uniform")), "onnx-form"),
    "extra": (changed_description(lambda d: d.update(more=1)), "onnx-changed"),
    "nested": (lambda m: describe(m, "[" * 100_000), "onnx-form"),
    "no-json": (lambda m: describe(m, "{"), "onnx-form"),
    "list": (lambda m: describe(m, []), "onnx-form"),
    "version": (lambda m: describe(m, described(m), "integers 2"), "onnx-form"),
}


def rehashed(model: onnx.ModelProto) -> None:
    """The hash of a file as it is: what somebody who wants to deceive would write."""
    said = reader.metadata(model)
    digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True))
    digest.update(said[reader.NETWORK].encode())
    helper.set_model_props(model, {**said, reader.HASH: digest.hexdigest()})


@pytest.mark.parametrize("change", [other_operator, without_an_operator])
def test_a_description_of_another_graph_is_a_warning(change, emitted, tmp_path):
    """As is a file of another version."""
    model = onnx.load(emitted / "onnx" / file.REALS)
    change(model)
    rehashed(model)
    onnx.save(model, tmp_path / "other.onnx")
    made = compile_model(tmp_path / "other.onnx", emit=())
    assert text_of(made.program) == text_of(CompiledModel.load(emitted).program)
    (warning,) = made.report["warnings"]
    assert "they were not compared" in str(warning)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_files_are_refused(change, emitted, tmp_path):
    model = onnx.load(emitted / "onnx" / file.REALS)
    make, code = CHANGES[change]
    make(model)
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(CompileError) as caught:
        OnnxFrontend().read_integers(path)
    assert caught.value.code == code
    assert caught.value.origin is not None
    assert caught.value.hint


def test_text_that_is_none_is_refused(emitted, tmp_path):
    """protobuf gives it as bytes."""
    content, path = (emitted / "onnx" / file.INTEGERS).read_bytes(), tmp_path / "bad.onnx"
    path.write_bytes(content.replace(b'"window"', b'"windo\xff"'))
    with pytest.raises(ModelError, match="description of its integers"):
        OnnxFrontend().read_integers(path)
    path.write_bytes(content.replace(b"integers 1", b"integers \xff"))
    assert OnnxFrontend().read_integers(path) is None
    with pytest.raises(CompileError):
        OnnxFrontend().read(path)


def test_the_words_alone_are_no_metadata(tmp_path, examples):
    model = onnx.load(examples / "digits_mlp.onnx")
    model.doc_string = f"not {reader.FORMAT}"
    onnx.save(model, tmp_path / "other.onnx")
    assert OnnxFrontend().read_integers(tmp_path / "other.onnx") is None
    assert OnnxFrontend().read(tmp_path / "other.onnx").n_nodes


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "bad.onnx"
    says_so = reader.FORMAT.encode()
    path.write_bytes(b"\x72" + bytes([len(says_so)]) + says_so)  # metadata that are no entry
    assert reader.says_so(path)
    with pytest.raises(ModelError):
        OnnxFrontend().read_integers(path)
