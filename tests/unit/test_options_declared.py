"""What follows from the declaration of an option, for those there are and for a new one."""

from __future__ import annotations

import dataclasses
import re
import shutil
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from option_tables import table
from snn_compile import CompileOptions, compile_model
from snn_compile.cli import main
from snn_compile.cli.settings import GroupedCommand, declared_options
from snn_compile.errors import CompileErrors, UsageError
from snn_compile.options import Keywords, LayerOptions
from snn_compile.options.declared import option, options_of
from snn_compile.options.kinds import AUTO, OfInputs, number
from snn_compile.tune.options import TuneKeywords, TuneOptions

ROOT = Path(__file__).parents[2]
WIDER = {
    OfInputs: Sequence[float] | Mapping[str, Sequence[float]],
    tuple[str, ...]: Sequence[str],
    tuple[LayerOptions, ...]: Sequence[LayerOptions] | Mapping[str, Mapping[str, typing.Any]],
}
"""What a call may pass for what options hold."""
NAMED = {
    "input_shape": Mapping[str, Sequence[int | str]] | Sequence[str] | str,
    "labels": Sequence[str] | Path | str,
    "preprocess": str | Path | Mapping[str, typing.Any] | None,
}
"""The same of options that are read from several types."""


@pytest.mark.parametrize(
    ("owner", "keywords", "elsewhere"),
    [(CompileOptions, Keywords, {"calibrate", "evaluate"}), (TuneOptions, TuneKeywords, set())],
)
def test_keywords_are_the_declared_options(owner, keywords, elsewhere):
    hints = typing.get_type_hints(owner)
    expected = {name: hints[name] for name in options_of(owner) if name not in elsewhere}
    expected = {name: WIDER.get(hint, hint) for name, hint in expected.items()}
    expected |= {name: NAMED[name] for name in expected.keys() & NAMED}
    assert typing.get_type_hints(keywords) == expected


@pytest.mark.parametrize("owner", [CompileOptions, TuneOptions])
def test_defaults_are_values_that_can_be_given(owner):
    for name, item in options_of(owner).items():
        if item.default is not None:
            again = owner(**{name: item.default})
            assert getattr(again, name) == getattr(owner(), name)
    for name, item in options_of(CompileOptions).items():
        if item.default is not None:
            assert CompileOptions(**{name: item.default}).is_given(name)
            assert not CompileOptions().is_given(name)


def test_a_default_that_is_given_is_given(examples, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("timesteps = 32\n")
    for options, origin in [
        (CompileOptions(timesteps=32), "keyword argument"),
        (CompileOptions().override({"timesteps": 32}), "keyword argument"),
        (CompileOptions.from_sources(config, {}), f"{config}:timesteps"),
        (CompileOptions.from_sources(config, {"timesteps": 32}), "command line"),
    ]:
        assert options.origins == {"timesteps": origin}
        with pytest.raises(UsageError, match="at most 16 steps, not 32"):
            compile_model(examples / "digits_mlp.onnx", options=options, coding="radix")
    with pytest.raises(UsageError, match="at most 16 steps, not 32"):
        compile_model(examples / "digits_mlp.onnx", coding="radix", timesteps=32)


@pytest.mark.parametrize(
    ("options", "steps", "origin", "warned"),
    [
        ({"coding": "radix"}, 8, "default of the coding", ""),
        ({"coding": "radix", "timesteps": 16}, 16, "keyword argument", ""),
        ({"coding": "graded"}, 1, "default of the coding", ""),
        ({"coding": "graded", "timesteps": 31}, 1, "keyword argument, ignored", "timesteps"),
        ({"coding": "graded", "timesteps": 32}, 1, "keyword argument, ignored", "timesteps"),
        ({"coding": "graded", "burst": 1}, 1, "default of the coding", "burst"),
        ({"coding": "rate", "payload_bits": 8}, 32, "default of the coding", "payload-bits"),
    ],
)
def test_what_is_reported_and_what_is_ignored(examples, options, steps, origin, warned):
    compiled = compile_model(examples / "digits_mlp.onnx", emit=(), **options)
    reported = compiled.report["options"]["timesteps"]
    assert reported == {"value": steps, "origin": origin}
    assert compiled.program.window.n_steps == steps
    said = [w["message"] for w in compiled.report["warnings"] if w["code"] == "option-ignored"]
    assert said == ([f"ignored: {warned}; coding is {options['coding']}"] if warned else [])


def test_a_search_for_digits_begins(examples):
    options = CompileOptions(coding="radix", timesteps=AUTO, max_accuracy_drop=1.0)
    with pytest.raises(UsageError, match="requires data to measure"):
        compile_model(examples / "digits_mlp.onnx", options=options)


@pytest.mark.parametrize(
    "words",
    [
        ("--coding", "graded", "-T", "auto", "--max-accuracy-drop", "50", "--evaluate", "e.npz"),
        ("--coding", "graded", "-T", "31", "--burst", "1"),
        ("--coding", "radix"),
        ("--neurons", "stock", "-T", "8"),
    ],
)
def test_what_was_given_is_known_when_a_folder_is_reproduced(
    examples, tmp_path, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(examples / "digits_mlp.onnx", "net.onnx")
    with np.load(examples / "digits_evaluate.npz") as data:
        np.savez("e.npz", x=data["x"][:20], y=data["y"][:20])
    assert main(["net.onnx", *words, "--no-emit", "-q", "-o", "net.snn"]) == 0
    assert main(["reproduce", "net.snn", "-q"]) == 0


def test_python_is_answered_as_the_shell_is(examples):
    model = examples / "digits_mlp.onnx"
    with pytest.raises(UsageError, match="unknown option 'calib'") as caught:
        compile_model(model, calib=1)
    assert (caught.value.code, caught.value.hint) == ("unknown-option", "did you mean calibrate?")
    wrong = {"calib": 1, "timesteps": 0, "weight_bits": "four", "payload_bits": AUTO}
    with pytest.raises(CompileErrors) as several:
        compile_model(model, layers={"a*": {"weight_bits": 9, "bits": 1}}, **wrong)
    assert len(several.value.errors) == 6
    assert all(error.hint for error in several.value.errors)


def test_replace_cannot_tell_and_is_refused():
    with pytest.raises(TypeError, match=r"options\.override"):
        dataclasses.replace(CompileOptions(coding="radix"), timesteps=32)
    assert CompileOptions(coding="radix").override({"timesteps": 32}).is_given("timesteps")
    assert not CompileOptions(coding="radix").override({"coding": None}).is_given("coding")


def test_nothing_is_compared_with_defaults():
    sources = [
        p for part in ("toolchain", "frontends", "backends") for p in (ROOT / part).rglob("*.py")
    ]
    assert sources
    compared = re.compile(r"(?:Compile|Tune)Options\(\)\.(?!override\()")
    assert not [path for path in sources if compared.search(path.read_text("utf-8"))]


@dataclass(frozen=True, kw_only=True)
class Leaky(CompileOptions):
    """The options, and a new one: this declaration is all that is written for it."""

    leak: float = option(
        0.0,
        number("SHARE", "a share from 0 to 1", lambda share: 0 <= share <= 1),
        "Of the potential, lost in each step.",
        "Leaks",
        {"coding": ("rate",)},
        idle=0.0,
    )


def test_a_declaration_is_all_that_an_option_takes(tmp_path):
    @click.command(cls=GroupedCommand)
    @declared_options(Leaky)
    def command(**given):
        click.echo(f"leak is {given['leak']}")

    shown = CliRunner().invoke(command, ["--help"]).output
    assert re.search(r"Leaks:\n +--leak SHARE +Of the potential, lost in each step\.", shown)
    assert "[rate; default: 0.0]" in " ".join(shown.split())
    assert CliRunner().invoke(command, ["--leak", "0.5"]).output == "leak is 0.5\n"

    config = tmp_path / "c.toml"
    config.write_text("leak = 0.25\n")
    options = Leaky.from_sources(config, {})
    assert options.leak == 0.25
    assert options.effective()["leak"] == {"value": 0.25, "origin": f"{config}:leak"}
    facts = {"network": "converted", "coding": "graded"}
    assert options.ignored(facts) == ["ignored: leak; coding is graded"]
    assert options.in_effect(facts, {})["leak"] == {
        "value": 0.0,
        "origin": f"{config}:leak, ignored",
    }
    config.write_text("leak = 2\nleek = 1\n")
    with pytest.raises(CompileErrors) as caught:
        Leaky.from_sources(config, {})
    assert {error.hint for error in caught.value.errors} == {
        "did you mean leak?",
        "use a share from 0 to 1",
    }
    assert "| `--leak SHARE` | `0.0` | a share from 0 to 1 | rate |" in table(Leaky)


def test_none_leaves_an_option_open():
    assert CompileOptions(timesteps=None) == CompileOptions()
    assert not CompileOptions().override({"payload_bits": None}).is_given("payload_bits")


def test_auto_is_not_for_single_layers():
    with pytest.raises(UsageError) as refused:
        CompileOptions(layers={"relu*": {"weight_bits": AUTO}})
    assert str(refused.value).startswith("error[bad-option]: layers.relu*.weight-bits cannot be")
