"""``--input-shape``: sizes that a file leaves open, or states otherwise."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from onnx_models import evaluate_all, model, node, session
from snn_compile import CompileOptions, compile_model
from snn_compile.cli import main
from snn_compile.errors import CompileError, CompileErrors, UsageError
from snn_frontends.onnx import OnnxFrontend

RNG = np.random.default_rng(8)
LAYERS = [
    node("Conv", "x k", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r", "p"),
    node("Flatten", "p", "f"), node("Gemm", "f w", "y"),
]  # fmt: skip


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def pooled(shape):
    return model(LAYERS, shape, {"k": real(4, 2, 3, 3), "w": real(4, 3)})


def saved(tmp_path, made):
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    return path


def read(path, *shapes):
    return OnnxFrontend().read_with(path, CompileOptions(input_shape=shapes))


def refused(path, *shapes) -> CompileError:
    with pytest.raises(CompileError) as caught:
        read(path, *shapes)
    return caught.value


@pytest.mark.parametrize(
    ("stated", "given", "n"),
    [
        (("batch", 2, "height", "width"), "x=1,2,6,7", 1),
        (("batch", 2, "height", "width"), "x=N,2,6,7", 3),
        (("batch", 2, "height", "width"), "2,2,6,7", 2),
        (("n", "n", "n", "n"), "x=4,2,5,5", 4),
        (None, "x=-1,2,5,6", 2),
        ((1, 2, 6, 7), "x=5,2,6,7", 5),
    ],
)
def test_sizes_are_those_of_the_option(tmp_path, stated, given, n):
    made = pooled(stated or ("a", "b", "c", "d"))
    if stated is None:
        made.graph.input[0].type.tensor_type.ClearField("shape")
    result = read(saved(tmp_path, made), given)
    shape = tuple(int(size) for size in given.split(",")[1:])
    assert result.ann.input.shape == shape
    x = real(n, *shape)
    (ours,) = evaluate_all(result, x)
    if stated == (1, 2, 6, 7):  # onnxruntime holds a file to its batch
        theirs = np.concatenate([session(made).run(None, {"x": one[None]})[0] for one in x])
    else:
        (theirs,) = session(made).run(None, {"x": x})
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not result.findings  # another batch than the file's is no other network


def test_the_file_runs_at_these_sizes(tmp_path):
    path = saved(tmp_path, pooled(("batch", 2, "height", "width")))
    frontend = OnnxFrontend()
    assert frontend.source_runtime(path) is None
    given = CompileOptions(input_shape="x=1,2,6,7")
    runtime = frontend.source_runtime_with(path, given, ["x"])
    x = real(3, 2, 6, 7)
    (ours,) = evaluate_all(frontend.read_with(path, given), x)
    np.testing.assert_allclose(runtime(x), ours, rtol=1e-4, atol=1e-5)


def test_another_size_than_the_files_is_said(tmp_path):
    result = read(saved(tmp_path, pooled((1, 2, 6, 7))), "1,2,9,9")
    (finding,) = result.findings
    assert finding.warning
    assert finding.origin.node == "x"
    assert "[1, 2, 6, 7]" in finding.message


def test_names_and_ranks_are_checked(tmp_path):
    path = saved(tmp_path, pooled(("N", 2, 6, "W")))
    error = refused(path, "xs=1,2,6,7")
    assert (type(error), error.code) == (UsageError, "unknown-input")
    assert error.hint == "did you mean 'x'?"
    assert "'x'" in refused(path, "image=1,2,6,7").hint
    error = refused(path, "x=1,2,6")
    assert (error.code, error.origin.node) == ("bad-option", "x")
    assert error.hint.endswith("--input-shape x=1,2,6,W")
    errors = refused(path, "x=1,2", "z=1,2")
    assert isinstance(errors, CompileErrors)
    assert [one.code for one in errors.errors] == ["bad-option", "unknown-input"]


def test_sizes_that_do_not_fit_the_weights(tmp_path):
    assert refused(saved(tmp_path, pooled(("N", 2, 6, "W"))), "x=1,5,6,7").origin.node == "c"


@pytest.mark.parametrize(
    "value",
    [
        "x=",
        {"x": [1, 2, 3, 4]},
        {"x": ["N", 2, 3]},
        "3, 4",
        ["a=1,2", "b=3,4"],
        "a=b=[1, 2]",
        "x=N",
    ],
)
def test_ways_to_write_it(value):
    options = CompileOptions(input_shape=value)
    again = CompileOptions.stated({"input_shape": list(options.input_shape)})
    assert again.input_shape == options.input_shape
    assert all(isinstance(one, str) for one in options.input_shape)


@pytest.mark.parametrize(
    "value",
    ["x=1,0,3", "x=1,-2", "x=1,,2", "x=1.5", 3, {"x": 3}, ["x=1", "x=2"], f"x={1 << 40}",
     "x=" + "1," * 99 + "1"],
)  # fmt: skip
def test_what_is_no_shape(value):
    with pytest.raises(UsageError) as caught:
        CompileOptions(input_shape=value)
    assert caught.value.code == "bad-option"


def test_on_the_command_line_in_a_file_and_in_python(tmp_path, capsys):
    path = saved(tmp_path, pooled(("N", 2, "H", "W")))
    assert main(["check", str(path)]) == 3
    assert "--input-shape x=1,2,H,W" in capsys.readouterr().err
    assert main(["check", str(path), "--input-shape", "x=1,2,6,6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert main(["inspect", str(path), "--input-shape", "1,2,6,6"]) == 0
    assert "2x6x6" in capsys.readouterr().out.replace("×", "x")
    config = tmp_path / "shape.toml"
    config.write_text("[input_shape]\nx = [1, 2, 6, 6]\n")
    assert main(["check", str(path), "--config", str(config)]) == 0
    compiled = compile_model(path, input_shape={"x": [1, 2, 6, 6]}, emit=())
    stated = compiled.report["options"]["input_shape"]
    assert stated == {"value": ["x=1,2,6,6"], "origin": "keyword argument"}
    assert compiled.run(real(2, 2, 6, 6)).shape == (2, 3)


class OtherFormat:
    suffixes = (".other",)

    def read(self, path):
        raise AssertionError("not read")


def test_a_format_that_knows_no_such_option(tmp_path, monkeypatch):
    path = tmp_path / "net.other"
    path.touch()
    monkeypatch.setattr("snn_compile.pipeline.inputs.frontend_for", lambda _: OtherFormat())
    with pytest.raises(UsageError, match="input-shape") as caught:
        compile_model(path, input_shape="x=1,2")
    assert "ONNX" in caught.value.hint
