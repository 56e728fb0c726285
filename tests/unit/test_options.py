"""Options: a TOML file and the command line, their origins, all complaints at once."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from snn_compile.errors import CompileErrors, UsageError
from snn_compile.lowering import quantize_by
from snn_compile.options import CompileOptions


def toml(folder: Path, text: str) -> Path:
    path = folder / "net.toml"
    path.write_text(text)
    return path


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = toml(tmp_path, "weight_bits = 4\ntimesteps = 16\n")
    options = CompileOptions.from_sources(config, {"weight_bits": 6})
    effective = options.effective()
    assert effective["weight_bits"] == {"value": 6, "origin": "command line"}
    assert effective["timesteps"] == {"value": 16, "origin": f"{config}:timesteps"}
    assert effective["seed"] == {"value": 0, "origin": "default"}


def test_every_type_of_value(tmp_path: Path) -> None:
    config = toml(
        tmp_path,
        """
        calibrate = "c.npz"
        target = "chip.toml"
        max-accuracy-drop = 1
        per_layer = true
        bias-correction = "off"
        mean_values = [0.5, 1]
        emit = ["lava", "netx"]
        """,
    )
    options = CompileOptions.from_sources(config, {"scale_values": "255,255"})
    assert options.calibrate == tmp_path / "c.npz"
    assert options.target == str(tmp_path / "chip.toml")
    assert options.max_accuracy_drop == 1.0
    assert options.per_layer
    assert not options.bias_correction
    assert options.mean_values == (0.5, 1.0)
    assert options.scale_values == (255.0, 255.0)
    assert options.emit == ("lava", "netx")


def test_kinds_of_outputs_may_be_a_table(tmp_path: Path) -> None:
    table = toml(tmp_path, 'output_kind = {value = "regression", "b=c" = "classes"}')
    stated = ("value=regression", "b=c=classes")
    assert CompileOptions.from_sources(table, {}).output_kind == stated
    for wrong in ('value = "regresion"', "value = 1", '"a,b" = "classes"'):
        unknown = toml(tmp_path, f"output_kind = {{{wrong}}}")
        with pytest.raises(UsageError, match="output-kind"):
            CompileOptions.from_sources(unknown, {})


def test_options_of_single_layers(tmp_path: Path) -> None:
    config = toml(
        tmp_path,
        """
        weight_bits = 8
        [layers."conv*"]
        weight_bits = 4
        [layers."conv9"]
        weight-bits = 6
        thresholds = "percentile:99.9"
        """,
    )
    options = CompileOptions.from_sources(config, {})
    quantize = quantize_by(options)
    assert (quantize.weight_bits, quantize.layers) == (8, (("conv*", 4), ("conv9", 6)))
    assert options.thresholds_of("conv9") == "percentile:99.9"
    assert options.thresholds_of("conv1") == "mmse"
    assert options.effective()["layers"]["origin"] == f"{config}:layers"


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("weight_bit = 4", "unknown-option", "did you mean weight_bits?"),
        ("xyzzy = 4", "unknown-option", "known: calibrate"),
        ('[layers."c*"]\nweigth_bits = 4', "unknown-option", "did you mean weight_bits?"),
        ("[layers.block1.conv]\nweight_bits = 4", "unknown-option", "quotation marks"),
        ('weight_bits = "four"', "bad-option", "in TOML: weight_bits = 4"),
        ('timesteps = "few"', "bad-option", "in TOML: timesteps = 4"),
        ('max_accuracy_drop = "few"', "bad-option", "in TOML: max_accuracy_drop = 0.5"),
        ('layers.a.payload_bits = "few"', "bad-option", "a line of the table: payload_bits = 4"),
        ("weight_bits = true", "bad-option", "in TOML"),
        ("weight_bits = 4.0", "bad-option", "in TOML"),
        ("per_layer = 1", "bad-option", "in TOML: per_layer = true"),
        ("mean_values = ['a']", "bad-option", "in TOML"),
        ("layers = 3", "bad-option", ""),
        ("weight_bits = 9", "bad-option", "use 2 to 8"),
        ('[layers."c*"]\nweight_bits = 1', "bad-option", "use 2 to 8"),
        ('thresholds = "percentile:101"', "bad-option", "use mmse"),
        ('coding = "morse"', "bad-option", "use one of graded"),
        ("scale_values = [0]", "bad-option", "use values other than 0"),
        ("seed = -1", "bad-option", "use 0 or more"),
        ("weight_bits = ", "unreadable-config", "weight_bits = 4"),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, text: str, code: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        CompileOptions.from_sources(toml(tmp_path, text), {})
    assert caught.value.code == code
    assert hint in caught.value.hint
    assert "net.toml" in str(caught.value)


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.toml", "b.toml"):
        with pytest.raises(UsageError) as caught:
            CompileOptions.from_sources(tmp_path / name, {})
        assert caught.value.code == "unreadable-config"


def test_all_complaints_at_once(tmp_path: Path) -> None:
    config = toml(tmp_path, 'weight_bit = 4\ntimesteps = "many"\n[layers."*"]\nbits = 3\n')
    with pytest.raises(CompileErrors) as caught:
        CompileOptions.from_sources(config, {"mean_values": "a,b"})
    assert len(caught.value.errors) == 4


def test_options_can_be_sent_to_another_process() -> None:
    options = CompileOptions.from_sources(None, {"timesteps": 4})
    again = pickle.loads(pickle.dumps(options))
    assert again == options
    assert again.origins == {"timesteps": "command line"}
