"""What a report says was used is what was used, whatever was given."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from onnx_models import model, node
from snn_compile import compile_model
from snn_compile.coding_registry import coding_names
from snn_compile.errors import CompileError
from snn_compile.ir.text import to_text
from snn_compile.options import AUTO, EQUALIZE, CompileOptions, LayerOptions
from snn_compile.options.declared import options_of
from snn_compile.options.traced import IGNORED

VALUES = {
    "target": st.sampled_from(["loihi2", "unlimited"]),
    "chips": st.integers(1, 32),
    "coding": st.sampled_from(coding_names()),
    "timesteps": st.integers(1, 16),
    "payload_bits": st.integers(1, 16),
    "input": st.sampled_from(["current", "graded", "poisson"]),
    "input_bits": st.integers(1, 10),
    "reset": st.sampled_from(["subtract", "zero"]),
    "burst": st.integers(1, 3),
    "initial_potential": st.sampled_from([0.0, 0.25, 0.5]),
    "thresholds": st.sampled_from(["mmse", "max", "l4", "lbs", "percentile:99"]),
    "per_layer": st.booleans(),
    "equalize": st.sampled_from(EQUALIZE),
    "weight_bits": st.integers(2, 8),
    "activation_segments": st.integers(2, 64),
    "state_bits": st.integers(18, 24),
    "neurons": st.sampled_from(["any"] * 5 + ["stock"]),
    "allow_approximate": st.booleans(),
    "rounding": st.sampled_from(["nearest", "compensated"]),
    "bias_correction": st.booleans(),
    "potential_calibration": st.booleans(),
    "reset_calibration": st.booleans(),
    "mean_values": st.sampled_from([(0.5,), (0.25, 0.5)]),
    "scale_values": st.sampled_from([(2.0,), (0.5, 4.0)]),
    "layout": st.sampled_from(["nchw", "nhwc"]),
    "outputs": st.just(("y",)),
    "cut_at": st.just(("r",)),
    "output_kind": st.sampled_from([("classes",), ("y=regression",)]),
    "emit": st.sampled_from([(), ("nir",), ("lava",)]),
    "seed": st.integers(0, 3),
    "event_step": st.just(10.0),
    "nir_dt": st.just(1e-3),
    "nir_reset": st.sampled_from(["subtract", "zero"]),
    "nir_reset_delay": st.booleans(),
    "nir_producer": st.just("norse"),
    "layers": st.sampled_from(
        [(), (LayerOptions("*", weight_bits=5),), (LayerOptions("*", payload_bits=5),)]
    ),
}
ELSEWHERE = {"calibrate", "evaluate", "input_shape", "placement", "max_accuracy_drop"}
ELSEWHERE |= {"preprocess", "samples", "labels", "max_energy", "max_latency", "max_cores"}
ELSEWHERE |= {"budget"}
"""Options about files and about what is measured."""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(3, 2, 2, 2)).astype(np.float32),
        "b": random.normal(size=3).astype(np.float32),
        "v": random.normal(size=(12, 3)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w b", "c", "c"),
        node("Relu", "c", "r", "r"),
        node("Flatten", "r", "f"),
        node("MatMul", "f v", "y", "y"),
    ]
    path = tmp_path_factory.mktemp("options") / "net.onnx"
    onnx.save(model(nodes, ("N", 2, 3, 3), weights), str(path))
    return path, random.random((20, 2, 3, 3)).astype(np.float32)


def test_every_option_is_drawn():
    assert VALUES.keys() | ELSEWHERE == options_of(CompileOptions).keys()


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(chosen=st.fixed_dictionaries({}, optional=VALUES), calibrated=st.booleans())
@example(chosen={"equalize": "auto", "per_layer": True}, calibrated=True)
@example(chosen={"layers": (LayerOptions("*", payload_bits=5),)}, calibrated=True)
def test_what_is_reported_is_what_was_used(network, chosen, calibrated):
    path, images = network
    if chosen.get("burst", 1) > 1 and chosen.get("coding") != "rate":
        del chosen["burst"]

    def compiled(options):
        x = images.transpose(0, 2, 3, 1) if options.get("layout") == "nhwc" else images
        return compile_model(path, calibrate=x if calibrated else None, **options)

    try:
        found = compiled(chosen)
    except CompileError:  # they contradict each other, or do not fit
        reject()
    reported = found.report["options"]
    warnings = [w for w in found.report["warnings"] if w["code"] == "option-ignored"]
    named = {
        name.strip().replace("-", "_")
        for warning in warnings
        for name in warning["message"].removeprefix("ignored: ").partition(";")[0].split(",")
        if not name.strip().startswith("layers.")
    }
    ignored = {name for name, option in reported.items() if option["origin"].endswith(IGNORED)}
    assert named == ignored
    assert ignored <= chosen.keys()
    for name, value in chosen.items():
        if value == AUTO:
            assert reported[name]["value"] != AUTO
        elif name not in ignored:
            shown = CompileOptions(**{name: value}) if name != "burst" else None
            assert reported[name]["origin"] == "keyword argument"
            assert shown is None or reported[name]["value"] == shown.effective()[name]["value"]

    without = compiled({k: value for k, value in chosen.items() if k not in ignored})
    assert to_text(without.program) == to_text(found.program)
    values = {name: option["value"] for name, option in reported.items()}
    values["layers"] = chosen.get("layers", ())
    again = compiled({k: v for k, v in values.items() if v is not None and k not in ELSEWHERE})
    assert to_text(again.program) == to_text(found.program)
    assert_shown(found, values)


def test_a_budget_is_reported_as_the_widths_that_it_chose(network):
    path, images = network
    chosen = {"coding": "graded", "calibrate": images, "emit": ()}
    found = compile_model(path, budget="memory=130", **chosen)
    reported = found.report["options"]["layers"]
    assert reported["origin"] == "chosen within --budget"
    layers = tuple(LayerOptions(**one) for one in reported["value"])
    widths = [layer["weight_bits"] for layer in found.report["layers"]]
    assert widths == [one.weight_bits for one in layers]
    assert min(widths) < 8
    again = compile_model(path, layers=layers, **chosen)
    assert to_text(again.program) == to_text(found.program)


def test_reconstruction_is_reported_where_it_was_used(network):
    path, images = network
    found, other = (
        compile_model(path, calibrate=images, coding="sync", timesteps=1, emit=(), rounding=one)
        for one in ("reconstructed", "compensated")
    )
    assert found.report["options"]["rounding"]["value"] == "reconstructed"
    assert other.report["options"]["rounding"]["value"] == "compensated"
    assert to_text(found.program) != to_text(other.program)


def assert_shown(found, values):
    """What can be read off a program."""
    program, report = found.program, found.report
    assert program.window.n_steps == values["timesteps"] == report["timesteps"]
    assert program.window.coding == values["coding"] == report["coding"]
    assert report["target"] == values["target"]
    assert found.backends == tuple(values["emit"])
    arrival = program.input.coding.value
    whole = ("current", "graded")  # are the same where a schedule takes each frame at once
    assert values["input"] in {"frame": whole, "changes": whole}.get(arrival, (arrival,))
    assert found.encoding.high - found.encoding.low <= 2 ** values["input_bits"] - 1
    of_layers = values["layers"][0] if values["layers"] else LayerOptions("*")
    bits = of_layers.weight_bits or values["weight_bits"]
    assert {layer["weight_bits"] for layer in report["layers"]} == {bits}
    for layer in report["layers"]:
        assert layer["largest_potential"] < 2 ** (values["state_bits"] - 1)
    weights = [n.weight.values for n in program.graph if hasattr(n, "weight")]
    assert weights
    assert all(np.abs(w).max(initial=0) <= 2 ** (bits - 1) for w in weights)
    payloads = {n.payload.max for n in program.graph if hasattr(n, "payload")}
    if values["coding"] in ("graded", "sigma-delta"):
        assert payloads == {2 ** (of_layers.payload_bits or values["payload_bits"]) - 1}
    for neurons in program.graph:
        if hasattr(neurons, "reset"):
            assert neurons.reset.value == values["reset"]
        if hasattr(neurons, "burst"):
            assert neurons.burst == values["burst"]
