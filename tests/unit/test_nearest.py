"""Networks that do not fit are refused with the nearest configuration that does."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from onnx_models import model, node
from snn_compile import compile_model
from snn_compile.cli import main
from snn_compile.errors import CapacityError, CompileError, CompileErrors
from snn_compile.options import CompileOptions
from snn_compile.pipeline import nearest
from snn_compile.pipeline.driver import check_model

FIGURE = """[{section}.{key}]
value = {value}
unit = "-"
source = "a test"
confidence = "assumed"
"""


def target(folder, inherits="loihi2", **values):
    """A target file with other values, by ``section__key``."""
    tables = [
        FIGURE.format(section=name.partition("__")[0], key=name.partition("__")[2], value=value)
        for name, value in values.items()
    ]
    file = folder / "chip.toml"
    header = f'inherits = "{inherits}"\nname = "chip"\ndescription = "a test"\n'
    file.write_text(header + "".join(tables))
    return str(file)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(6, 1, 3, 3)).astype(np.float32),
        "v": random.normal(size=(10, 6 * 36)).astype(np.float32),
        "b": random.normal(size=10).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w", "c", "conv"),
        node("Relu", "c", "r"),
        node("Flatten", "r", "f"),
        node("Gemm", "f v b", "y", "dense", transB=1),
    ]
    path = tmp_path_factory.mktemp("nearest") / "net.onnx"
    onnx.save(model(nodes, ("N", 1, 8, 8), weights), str(path))
    return path


def refusal(network, **options):
    with pytest.raises(CompileError) as caught:
        check_model(network, CompileOptions(**options))
    error = caught.value
    errors = error.errors if isinstance(error, CompileErrors) else (error,)
    assert all(isinstance(one, CapacityError) and one.hint for one in errors)
    return error


def as_options(said):
    """The options of a hint, as keywords."""
    words = re.match(r"fits with (.*) \([\d,]+( of [\d,]+)? cores\)$", said).group(1).split()
    found = {}
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--").replace("-", "_")
            found[name] = True
        else:
            found[name] = int(word) if word.isdigit() else word
    return found


BINARY = {
    "features__payload_bits": 0,
    "features__graded_spikes": "false",
    "features__codings": '["rate"]',
    "features__default_coding": '"rate"',
}
CASES = {
    "more chips": ({"board__chips": 1, "board__cores_per_chip": 1, "core__neurons": 40}, "chips"),
    "fewer bits": ({"core__synapse_memory": 9000, **BINARY}, "weight_bits"),
    "another coding": (
        {"features__codings": '["rate"]', "features__default_coding": '"rate"'},
        "coding",
    ),
    "narrower payloads": ({"features__payload_bits": 6}, "payload_bits"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_named_fits(network, tmp_path, case):
    values, option = CASES[case]
    chip = target(tmp_path, **values)
    given = {"target": chip, "coding": "rate" if BINARY.items() <= values.items() else "graded"}
    said = refusal(network, **given).nearest
    options = as_options(said)
    assert option in options
    found = check_model(network, CompileOptions(**{**given, **options}))
    assert f"({found.mapped.cores:,} of {found.mapped.target.cores:,} cores)" in said
    with pytest.raises(CompileError) as caught:
        compile_model(network, emit=(), **given)
    assert caught.value.nearest == said


@pytest.mark.parametrize("sizes", [(1, 1, 16, 16), ("N", 1, "H", "W")], ids=["fixed", "open"])
def test_smaller_maps_are_tried_where_the_network_takes_any_size(tmp_path, sizes):
    """Pooled over the whole map, the network has classes of any map. Nothing else makes it fit."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(6, 1, 3, 3)).astype(np.float32),
        "v": random.normal(size=(4, 6)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w", "c", "conv"),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f v", "y", "dense", transB=1),
    ]
    path = tmp_path / "my net.onnx"
    onnx.save(model(nodes, sizes, weights), str(path))
    chip = target(tmp_path, core__input_axons=100, **BINARY)
    given = {"target": chip, "input_shape": () if sizes[0] == 1 else ("x=N,1,16,16",)}
    said = refusal(path, **given).nearest
    options = as_options(said)
    assert options == {"input_shape": "x=1,1,12,12"}
    assert check_model(path, CompileOptions(**given).override(options)).mapped.cores


def test_loss_is_named_last_and_where_nothing_else_helps(network, tmp_path):
    """Without payloads no neuron is split, and no coding has fewer sources."""
    chip = target(tmp_path, "loihi1", core__input_axons=100)
    error = refusal(network, target=chip)
    assert error.code == "input-axons-per-core"
    assert "at most 100 sources" in error.hint  # a readout is not reset
    assert as_options(error.nearest) == {"allow_approximate": True}
    found = check_model(network, CompileOptions(target=chip, allow_approximate=True))
    (lost,) = [f for f in found.findings if f.code == "approximation"]
    assert lost.message.startswith("750 of 1,750 synapses of 'y' are pruned")  # not all of 2,160
    report = compile_model(network, target=chip, allow_approximate=True, emit=()).report
    assert report["options"]["allow_approximate"] == {"value": True, "origin": "keyword argument"}
    assert "approximation" in {warning["code"] for warning in report["warnings"]}


def test_a_search_without_success_says_how_far_it_came(network, tmp_path, capsys):
    chip = target(tmp_path, core__synapse_memory=20, **BINARY)
    said = refusal(network, target=chip).nearest
    assert re.match(
        r"no configuration found that fits \(\d+ tried in [\d.]+ s, limit 10 s\);"
        r" closest: --.* \(synapse-memory-per-core: needs [\d,]+, the limit is 20\)$",
        said,
    )
    assert main(["check", str(network), "--target", chip]) == 5
    assert "hint: no configuration found that fits" in capsys.readouterr().err


def test_the_search_ends_in_time(network, tmp_path, monkeypatch):
    chip = target(tmp_path, core__synapse_memory=20)
    tried = []
    monkeypatch.setattr(nearest, "LIMIT_S", 0.0)
    attempt = nearest._Search.attempt
    monkeypatch.setattr(nearest._Search, "attempt", lambda *a: tried.append(a[2]) or attempt(*a))
    refusal(network, target=chip)
    assert len(tried) == 1


def test_what_is_wrong_besides_is_not_searched(network):
    with pytest.raises(CompileError) as caught:
        check_model(network.parent / "absent.onnx", CompileOptions())
    assert not caught.value.nearest
