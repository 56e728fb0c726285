"""Every command once, on an example that compiles in a moment."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.cli import main


@pytest.fixture(scope="module")
def compiled(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small example, compiled."""
    folder = tmp_path_factory.mktemp("cli") / "cnn.snn"
    data = [f"--{name}={examples / f'digits_{name}.npz'}" for name in ("calibrate", "evaluate")]
    line = [str(examples / "digits_cnn.onnx"), "-o", str(folder), "--quiet", "--no-emit", *data]
    assert main(line) == 0
    return folder


def test_the_folder_holds_what_is_promised(compiled: Path) -> None:
    assert {"report.json", "report.html", "model.snn", "golden"} <= set(os.listdir(compiled))
    assert "<svg" in (compiled / "report.html").read_text(encoding="utf-8")


def test_json_on_standard_output_is_the_report(
    examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    line = [str(examples / "digits_cnn.onnx"), "--json", "--no-emit", "-o", str(folder)]
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert out == (folder / "report.json").read_text(encoding="utf-8")
    report = json.loads(out)
    assert report["schema"] == 1
    assert "\x1b" not in err


def test_a_summary_for_people(
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model, data = examples / "digits_cnn.onnx", examples / "digits_evaluate.npz"
    assert main([str(model), "--evaluate", str(data), "--no-emit", "--no-progress"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("digits_cnn.onnx")
    assert "<- the answer" in out
    assert "wrote digits_cnn.snn/" in out
    assert "  import  " in err


def test_too_large_a_loss_is_written_all_the_same(
    examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"--weight-bits 2 --coding rate -T 1 --max-accuracy-drop 0 --no-emit -o {tmp_path}/x"
    model, data = examples / "digits_cnn.onnx", examples / "digits_evaluate.npz"
    assert main([str(model), "--evaluate", str(data), *line.split()]) == 6
    assert "error[accuracy-drop]" in capsys.readouterr().err
    assert (tmp_path / "x" / "report.json").is_file()


def test_our_own_folder_is_replaced(examples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    line = [str(examples / "digits_cnn.onnx"), "--no-emit", "--quiet", "-o", str(folder)]
    assert main(line) == 0
    before = (folder / "model.snn").read_bytes()
    assert main(line) == 0
    assert (folder / "model.snn").read_bytes() == before
    assert os.listdir(tmp_path) == ["out"]


def test_run_writes_integers_reals_and_traces(
    compiled: Path, examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.npz"
    data = examples / "digits_evaluate.npz"
    line = ["run", str(compiled), "--data", str(data), "-o", str(output), "--json", "--trace"]
    assert main(line) == 0
    said = json.loads(capsys.readouterr().out)
    rung = next(
        rung
        for rung in json.loads((compiled / "report.json").read_text())["ladder"]
        if rung["stage"] == "fixed"
    )
    assert said["top1"] == pytest.approx(rung["top1"], abs=1e-3)
    with np.load(output, allow_pickle=False) as arrays, np.load(data) as samples:
        assert arrays["potentials"].dtype.kind == "i"
        assert arrays["outputs"].dtype.kind == "f"
        assert np.array_equal(arrays["outputs"].argmax(1), arrays["argmax"])
        assert len(arrays["argmax"]) == len(samples["x"])
        assert any(name.startswith("trace/") for name in arrays.files)
        sent = sum(int(arrays[name]) for name in arrays.files if name.startswith("spikes/"))
        assert sent > 0


def test_run_for_people(compiled: Path, examples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(compiled), "--data", str(examples / "digits_evaluate.npz")]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "per inference" in out


def test_verify_adds_its_outcome_to_the_report(
    compiled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["verify", str(compiled), "--stimuli", "2", "--against", "golden"]) == 0
    assert "equal, bit for bit" in capsys.readouterr().out
    report = json.loads((compiled / "report.json").read_text())
    assert [entry["against"] for entry in report["verification"]] == ["golden"]
    assert report["verification"][0]["equal"]
    assert "equal, bit for bit" in (compiled / "report.html").read_text(encoding="utf-8")
    assert main(["verify", str(compiled), "--against", "lava"]) == 2
    assert "error[nothing-to-verify]" in capsys.readouterr().err


def test_verify_compares_every_build_of_the_engine(
    compiled: Path, compiled_engine: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(compiled), "--stimuli", "3", "--json", "--quiet"]) == 0
    golden, engine = json.loads(capsys.readouterr().out)
    assert (golden["against"], engine["against"]) == ("golden", "engine")
    assert engine["mode"] == f"{', '.join(compiled_engine)}: all messages"
    assert engine["stimuli"] == 3
    assert engine["steps"] == golden["steps"]
    assert engine["compared"] == len(compiled_engine) * golden["compared"]
    assert engine["equal"] is True
    assert engine["first_divergence"] is None


def test_verify_without_an_engine_says_so_and_is_no_failure(
    compiled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    folder = tmp_path / "slow"
    shutil.copytree(compiled, folder)
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    line = ["verify", str(folder), "--stimuli", "2", "--against", "golden,engine"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "not compared" in out
    assert "no compiled engine: switched off by SNN_COMPILE_ENGINE" in out
    entries = json.loads((folder / "report.json").read_text(encoding="utf-8"))["verification"]
    assert [entry["equal"] for entry in entries] == [True, None]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "not compared" in page
    assert "differs" not in page
    assert main(["report", str(folder)]) == 0
    assert "not compared" in capsys.readouterr().out
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "mmx")
    assert main(line) == 2
    assert "error[unknown-engine]" in capsys.readouterr().err


def test_run_says_where_the_engine_is_missing(
    compiled: Path,
    examples: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = ["run", str(compiled), "--data", str(examples / "digits_evaluate.npz"), "--quiet"]
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    said = "reference (no compiled engine: switched off by SNN_COMPILE_ENGINE)"
    assert main(line) == 0
    assert said in capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["simulator"] == said
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "mmx")
    assert main(line) == 2
    assert "error[unknown-engine]" in capsys.readouterr().err


def test_verify_finds_a_changed_trace(
    compiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder = tmp_path / "changed"
    shutil.copytree(compiled, folder)
    hashes = json.loads((folder / "golden" / "messages.json").read_text())
    layer = next(iter(hashes))
    hashes[layer][0] = "0" * 64
    (folder / "golden" / "messages.json").write_text(json.dumps(hashes))
    assert main(["verify", str(folder), "--against", "golden"]) == 7
    out, err = capsys.readouterr()
    assert "differs" in out
    assert "error[not-equal]" in err
    assert layer in err


def test_verify_without_the_environment(
    compiled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    folder = tmp_path / "emitted"
    shutil.copytree(compiled, folder)
    CompiledModel.load(folder).emit("lava", folder / "lava")
    monkeypatch.setenv("SNN_COMPILE_LAVA_ENV", str(tmp_path / "none"))
    monkeypatch.delenv("SNN_COMPILE_LAVA_PYTHON", raising=False)
    line = ["verify", str(folder), "--stimuli", "1"]
    assert main(line) == 8
    out, err = capsys.readouterr()
    assert "golden" in out
    assert "snn-compile lava-env" in err
    (folder / "golden" / "messages.json").write_text("{}")
    assert main(line) == 7  # a difference says more than a missing environment
    capsys.readouterr()


def test_report_shows_and_rebuilds(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (compiled / "report.json").read_text()
    (compiled / "report.html").unlink()
    assert main(["report", str(compiled)]) == 0
    assert "<- the answer" in capsys.readouterr().out
    assert (compiled / "report.html").is_file()
    assert (compiled / "report.json").read_text() == before


def test_inspect(compiled: Path, examples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(compiled)]) == 0
    assert "threshold" in capsys.readouterr().out
    assert main(["inspect", str(examples / "digits_cnn.onnx")]) == 0
    assert "16x8x8" in capsys.readouterr().out


def test_check(examples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(examples / "digits_cnn.onnx")]) == 0
    assert "0 unsupported" in capsys.readouterr().out
    assert main(["check", str(examples / "digits_cnn.onnx"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_check_groups_what_is_unsupported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    from onnx_models import model, node

    nodes = [
        node("Hardmax", "x", "a", "first"),
        node("Det", "a", "b", "second"),
        node("Hardmax", "b", "y", "third"),
    ]
    onnx.save(model(nodes), tmp_path / "bad.onnx")
    assert main(["check", str(tmp_path / "bad.onnx")]) == 4
    out = capsys.readouterr().out
    assert "3 unsupported operators" in out
    assert "error[unsupported-op]" in out
    assert out.index("Hardmax") < out.index("Det")
    assert "x2" in out
    assert main(["check", str(tmp_path / "bad.onnx"), "--json"]) == 4
    groups = json.loads(capsys.readouterr().out)["unsupported"]
    assert {group["op"]: group["count"] for group in groups} == {"Hardmax": 2, "Det": 1}


def test_refusals_by_kind_with_modules_and_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np
    import onnx

    from onnx_models import model, node

    weight = np.ones((8, 3, 3, 3), np.float32)
    layers = [("x", 0), ("m0", 1), ("m1", 2), ("m2", 3), ("m3", 4)]
    nodes = [node("Conv", "x w", "m0", "/stem/stem.0/Conv", pads=[1] * 4)]
    for source, number in layers[1:]:
        last = "y" if number == 4 else f"m{number}"
        nodes += [
            node("TopK", f"{source} k", f"s{number} i{number}", f"/body/body.{number}/TopK"),
            node("Relu", f"s{number}", last, f"/body/body.{number}/Relu"),
        ]
    made = model(nodes, ("N", 3, 8, 8), {"w": weight, "k": np.array([8])})
    onnx.save(made, tmp_path / "bad.onnx")
    assert main(["check", str(tmp_path / "bad.onnx"), "--json"]) == 4
    said = json.loads(capsys.readouterr().out)
    (group,) = said["unsupported"]
    assert (group["op"], group["count"]) == ("TopK", 4)
    assert group["modules"] == [f"body.{number}" for number in (1, 2, 3, 4)]
    values, layer = 8 * 8 * 8, 8 * 8 * 8 * 27
    assert said["operators"] == {"total": 9, "fine": 5}
    assert said["operations"] == {"total": layer + 8 * values, "fine": layer + 4 * values}
    assert main(["check", str(tmp_path / "bad.onnx")]) == 4
    out = capsys.readouterr().out
    assert "body.1 ..." in out
    assert f"5 of 9 operators are fine by themselves, with 88.6 % of {layer + 8 * values:,}" in out
    assert main([str(tmp_path / "bad.onnx"), "-o", str(tmp_path / "out")]) == 4
    err = capsys.readouterr().err
    assert err.count("): error[unsupported-op]") == 3
    assert "... and 1 more of this kind" in err
    assert "x4" in err


def test_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    assert "loihi2" in capsys.readouterr().out
    assert main(["targets", "--json"]) == 0
    names = {target["name"] for target in json.loads(capsys.readouterr().out)}
    assert {"loihi1", "loihi2", "unlimited"} <= names


def test_every_figure_of_a_target_with_its_source(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'inherits = "loihi2"\nname = "own"\ndescription = "ours"\n[board.chips]\nvalue = 3\n'
        'unit = "chips"\nsource = "its manual"\nconfidence = "published"\n'
    )
    assert main(["targets", str(own), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    figures = {(f["section"], f["key"]): f for f in said["figures"]}
    assert said["name"] == "own"
    assert figures["board", "chips"] == {
        "section": "board",
        "key": "chips",
        "value": 3,
        "low": None,
        "high": None,
        "unit": "chips",
        "confidence": "published",
        "source": "its manual",
        "file": str(own),
    }
    assert figures["core", "neurons"]["file"] == "loihi2.toml"
    assert figures["energy", "spike"]["low"] < figures["energy", "spike"]["high"]
    with resources.files("snn_compile.targets").joinpath("loihi2.toml").open("rb") as file:
        tables = tomllib.load(file)
    stated = {(s, k) for s, t in tables.items() if isinstance(t, dict) for k in t}
    assert set(figures) == stated | {("board", "link_messages_per_step")}  # which no source states
    assert main(["targets", str(own)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"board\.chips +3 +chips +published +its manual \[.*own\.toml\]", out)
    assert main(["targets", "loihi3"]) == 2
    assert "did you mean 'loihi" in capsys.readouterr().err


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["numpy"]["ok"]
    assert checks["frontend onnx"]["ok"]
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["doctor"]) == 1
    assert "broken" in capsys.readouterr().out


def test_dump_after(examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [str(examples / "digits_cnn.onnx"), "--no-emit", "-o", str(tmp_path / "a"), "--quiet"]
    assert main([*line, "--dump-after", "all"]) == 0
    out, err = capsys.readouterr()
    assert "--- after " in err
    assert "--- after " not in out
    assert main([*line, "--dump-after", "no-such-pass"]) == 2
    assert "error[unknown-pass]" in capsys.readouterr().err


def test_a_configuration_beside_the_model_is_read_unless_another_is_given(tmp_path, monkeypatch):
    import json
    import shutil
    from pathlib import Path

    from snn_compile.cli import main

    monkeypatch.chdir(tmp_path)
    examples = Path(__file__).parents[2] / "examples"
    shutil.copy(examples / "digits_mlp.onnx", tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text("weight_bits = 5\n")
    (tmp_path / "other.toml").write_text("weight_bits = 6\n")
    for words, bits in (([], 5), (["--config", "other.toml"], 6), (["--weight-bits", "7"], 7)):
        assert main(["net.onnx", "--no-emit", *words]) == 0
        report = json.loads((tmp_path / "net.snn" / "report.json").read_text())
        assert report["options"]["weight_bits"]["value"] == bits
