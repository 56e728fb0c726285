"""The command line: which command runs, what goes where, and with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from snn_compile.cli import main
from snn_compile.cli.group import COMMANDS, with_command
from snn_compile.errors import (
    AccuracyError,
    CapacityError,
    CompileError,
    CompileErrors,
    DeviceError,
    ModelError,
    Origin,
    UnsupportedError,
    UsageError,
    VerificationError,
)
from snn_compile.options import CompileOptions
from snn_compile.report.limits import accuracy, broken


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A driver that does what a test tells it to, and a file for it here: ``net.onnx``."""
    (tmp_path / "net.onnx").touch()
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snn_compile.pipeline.driver")
    monkeypatch.setitem(sys.modules, "snn_compile.pipeline.driver", module)
    return module


def raising(error: BaseException) -> Callable[..., Any]:
    def compile_model(*_: Any, **__: Any) -> Any:
        raise error

    return compile_model


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["net.onnx"], ["compile", "net.onnx"]),
        (["-T", "4", "net.onnx"], ["compile", "-T", "4", "net.onnx"]),
        (["compile", "net.onnx"], ["compile", "net.onnx"]),
        (["check", "net.onnx"], ["check", "net.onnx"]),
        (["--debug", "--quiet", "run", "d"], ["run", "--debug", "--quiet", "d"]),
        (["--debug", "net.onnx"], ["compile", "--debug", "net.onnx"]),
        (["--help"], ["--help"]),
        (["--version"], ["--version"]),
        ([], []),
    ],
)
def test_what_is_no_command_is_a_model(given: list[str], meant: list[str]) -> None:
    assert with_command(given) == meant


def test_a_misspelled_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.UsageError, match="did you mean verify"):
        with_command(["verfy", "d"])
    (tmp_path / "verfy").touch()
    assert with_command(["verfy"]) == ["compile", "verfy"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "Usage: snn-compile" in out
    assert not err


def test_help_is_light() -> None:
    """How long it takes is how much it imports; and that is the same on a busy machine."""
    script = """
import sys
before = set(sys.modules)
from snn_compile.cli import main
main(["--help"])
print(*set(sys.modules) - before, file=sys.stderr)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    imported = done.stderr.split()
    foreign = {name.split(".")[0] for name in imported} - sys.stdlib_module_names
    assert foreign == {"snn_compile", "click"}
    assert len(imported) < 250  # 163 with Python 3.11; numpy alone would be as many again


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("m"), 2),
        (ModelError("m"), 3),
        (UnsupportedError("m"), 4),
        (CapacityError("m"), 5),
        (AccuracyError("m"), 6),
        (VerificationError("m"), 7),
        (DeviceError("m"), 8),
        (CompileErrors([UnsupportedError("m"), UnsupportedError("m")]), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("m"), 1),
        (MemoryError(), 1),
    ],
)
def test_exit_codes(
    driver: ModuleType, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.compile_model = raising(error)  # type: ignore[attr-defined]
    assert main(["net.onnx"]) == code
    out, err = capsys.readouterr()
    assert not out
    assert "Traceback" not in err
    n_errors = len(error.errors) if isinstance(error, CompileErrors) else 1
    err = err.lstrip("\n")  # click ends the terminal's line at an interrupt
    assert err.count("\n") - err.count("hint: ") == n_errors


def test_an_error_says_where_what_and_what_to_do(
    driver: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    error = UnsupportedError("no form", origin=Origin("n.onnx", "g3", "Gelu"), hint="use Relu")
    driver.compile_model = raising(error)  # type: ignore[attr-defined]
    main(["net.onnx"])
    assert capsys.readouterr().err == (
        "n.onnx: node 'g3' (Gelu): error[unsupported-op]: no form\nhint: use Relu\n"
    )


@pytest.mark.parametrize("error", [CompileError("m"), ZeroDivisionError("m")])
def test_debug_shows_the_traceback(
    driver: ModuleType, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.compile_model = raising(error)  # type: ignore[attr-defined]
    main(["net.onnx", "--debug"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compile"], "Missing argument 'MODEL'"),
        (["n.onnx", "--weight-bit", "4"], "--weight-bits"),
        (["n.onnx", "-T", "many"], "neither a whole number nor auto"),
        (["n.onnx", "--weight-bits", "9"], "bad-option"),
        (["n.onnx", "--mean-values", "a"], "must be numbers"),
        (["n.onnx", "--config", "missing.toml"], "unreadable-config"),
        (["run", "d"], "--data"),
        (["targets", "x", "y"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert words in err
    error, hint = err.splitlines()
    assert "error[" in error
    assert hint.startswith("hint: ")


def test_options_reach_the_driver(driver: ModuleType, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def compile_model(model: Path, **given: Any) -> Any:
        seen.update(given, model=model)
        raise ModelError("enough")

    driver.compile_model = compile_model  # type: ignore[attr-defined]
    config = tmp_path / "c.toml"
    config.write_text("weight_bits = 4\nemit = ['netx']\n")
    line = "--coding rate -T 16 --per-layer --mean-values 1,2 --no-emit --bias-correction off"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "net.onnx").touch()
    main([*line.split(), "--config", str(config), "a/net.onnx"])
    options = seen["options"]
    assert seen["model"] == Path("a/net.onnx")
    assert (options.coding, options.timesteps, options.per_layer) == ("rate", 16, True)
    assert (options.mean_values, options.emit, options.weight_bits) == ((1.0, 2.0), (), 4)
    assert not options.bias_correction
    assert options.origins["timesteps"] == "command line"
    assert options.origins["emit"] == "command line"
    assert options.origins["weight_bits"] == f"{config}:weight_bits"


def test_a_foreign_folder_is_left_alone(
    tmp_path: Path, driver: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.compile_model = raising(AssertionError("not called"))  # type: ignore[attr-defined]
    (tmp_path / "precious").write_text("thesis")
    assert main(["net.onnx", "-o", str(tmp_path)]) == 2
    assert "output-exists" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "thesis"


def ladder(**stages: dict[str, float | None]) -> dict[str, Any]:
    return {"ladder": [{"stage": stage, **values} for stage, values in stages.items()]}


def test_the_limit_on_the_accuracy_drop() -> None:
    labelled = ladder(onnx={"top1": 91.0}, fixed={"top1": 90.0, "agreement": 80.0})
    assert not broken(labelled, CompileOptions(), "n")
    assert not accuracy(labelled, 1.0, "n")
    (error,) = accuracy(labelled, 0.5, "n")
    assert isinstance(error, AccuracyError)
    assert "by 1.00 points; the limit is 0.5" in error.message
    (error,) = accuracy(ladder(onnx={"agreement": 100.0}, fixed={"agreement": 98.0}), 1, "n")
    assert "agreement" in error.message


def test_a_reader_that_goes_away() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = (
        f"{sys.executable} -c 'import sys; from snn_compile.cli import main; sys.exit(main())'"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} targets --json | true"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.stderr == ""


def test_colour_is_for_terminals(
    driver: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.compile_model = raising(ModelError("m"))  # type: ignore[attr-defined]
    monkeypatch.setenv("NO_COLOR", "1")
    main(["net.onnx"])
    main(["targets"])
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
