"""A pass that fails inside leaves a file that replays it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from random import Random

import numpy as np
import pytest

from anns import INPUT, Net
from converted_networks import SETTINGS, Broken, converted, shrunk
from mutants import archive_of, dumped, json_of, members_of, zipped
from quantized_cases import mlp, pooled
from snn_compile import CompileOptions, coding_registry, memory
from snn_compile.cli import main
from snn_compile.cli.failures import report_failure
from snn_compile.codings import coding_of
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.errors import CompileError, ModelError
from snn_compile.ir import ann
from snn_compile.ir.expression import X, apply
from snn_compile.ir.spiking import LIFNeurons
from snn_compile.ir.text import to_text
from snn_compile.passes import PassFailure, Pipeline, spec
from snn_compile.pipeline import replay, values
from snn_compile.pipeline.folding import folding_of
from snn_compile.quantize.to_fixed_point import Quantize

WIDTHS = (("relu*", 6),)
SNNTORCH = Path(__file__).parent.parent / "fixtures" / "snntorch_tiny.nir"


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def model(examples):
    return examples / "digits_mlp.onnx"


def gated():
    """A function, a product, and a shorter path around a layer that the product has to wait on."""
    net = Net((3, 4, 6))
    left, right = (net.conv(INPUT, 2) for _ in range(2))
    silu = apply("mul", X, apply("sigmoid", apply("mul", X, [1.0, 0.1])))
    gate = net.add(ann.Function, (left,), net.shape(left), expression=silu)
    product = net.add(ann.Product, (gate, net.relu(right)), net.shape(left))
    net.sum(product, net.conv(net.relu(net.conv(product, 2, (1, 1))), 2, (1, 1)))
    return net.build()


@pytest.mark.parametrize(
    ("name", "network"),
    [
        *((name, mlp() if name == "stock" else pooled()) for name in SETTINGS),
        *((name, gated()) for name in ("graded", "sigma-delta")),
        ("sync", shrunk()),
    ],
)
def test_every_pass_is_replayed_from_its_file(name, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folded, x, passes = converted(network, SETTINGS[name])
    coding = coding_of(CompileOptions(**SETTINGS[name]), "graded")
    steps = [FoldPreprocessing((0.5,), (2.0,)), *folding_of(network, coding, widths=WIDTHS).steps]
    steps += [Equalize("data", x), Equalize("range", ranges=ranges(folded, x)), *passes.steps]
    graph = network
    for step in steps:
        assert type(step) in values.PASSES
        path = replay.save(PassFailure(step, graph))
        found = replay.load(path)
        assert found.spec == spec(step) == spec(found.step)
        after = step(graph).graph
        assert to_text(found.step(found.graph).graph) == to_text(after)
        if not isinstance(step, FoldPreprocessing | Equalize):
            graph = after


def ranges(folded, x):
    return {name: one.peak for name, one in calibrate(folded, x).activations.items()}


def test_a_pass_that_fails_inside_leaves_a_file_that_replays_it(
    model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as broken:

        def failing(self, network):
            raise TypeError("no such thing")

        broken.setattr(Quantize, "__call__", failing)
        assert run(model, "-q", "-o", "a.snn") == 1
        err = capsys.readouterr().err
        assert "internal error: pass 'quantize': TypeError: no such thing" in err
        assert "snn-compile replay snn-compile-crash-quantize.zip" in err
        assert [path.name for path in tmp_path.iterdir()] == ["snn-compile-crash-quantize.zip"]
        with zipfile.ZipFile("snn-compile-crash-quantize.zip") as archive:
            assert "in failing" in archive.read("traceback.txt").decode()
            content = json.loads(archive.read("replay.json"))
        assert content["spec"] == "quantize{weight-bits=8}"
        assert {"python", "numpy"} == set(content["versions"])
        assert str(model.parent) not in json.dumps(content)
        assert run("replay", "snn-compile-crash-quantize.zip") == 1
        assert "internal error: TypeError: no such thing" in capsys.readouterr().err
    assert run("replay", "snn-compile-crash-quantize.zip") == 0
    out, err = capsys.readouterr()
    assert out.startswith("QuantizedGraph graded 1\n")
    assert "quantize{weight-bits=8}\nfailed with TypeError: no such thing" in err


def test_a_lack_of_memory_and_a_complaint_are_no_failures_of_a_pass(tmp_path, monkeypatch):
    for error in (MemoryError(), ModelError("not so")):

        def failing(graph, error=error):
            raise error

        with pytest.raises(type(error)):
            Pipeline.of(Broken(failing))(mlp())


def test_what_no_file_holds_is_told_without_the_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = replay.save(PassFailure(Broken(lambda graph: graph), mlp()))
    with zipfile.ZipFile(path) as archive:
        assert {*archive.namelist()} == {"replay.json", "traceback.txt"}
    assert run("replay", path) == 2
    assert "error[not-replayable]" in capsys.readouterr().err


def test_where_the_working_folder_cannot_be_written_scratch_takes_the_file(tmp_path, monkeypatch):
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    (work / "snn-compile-crash-fold-batch-norm.zip").mkdir(parents=True)
    scratch.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert replay.save(PassFailure(FoldBatchNorm(), mlp())).parent == scratch


def test_a_failure_is_told_even_if_no_file_can_be_made_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def fails(failure):
        raise ValueError("no file of this")

    monkeypatch.setattr(replay, "_content", fails)
    with pytest.raises(PassFailure) as caught:
        Pipeline.of(Broken(lambda graph: 1 / 0))(mlp())
    assert report_failure(caught.value, debug=False) == 1
    err = capsys.readouterr().err
    assert "internal error: pass 'broken': ZeroDivisionError" in err
    assert "cannot be written: no file of this" in err


def test_a_coding_is_stored_by_its_name(tmp_path, monkeypatch, capsys):
    """So that one whose package is missing is missed by name, and others are not asked."""
    monkeypatch.chdir(tmp_path)
    folded, _, passes = converted(mlp(), SETTINGS["rate"])
    monkeypatch.setitem(coding_registry._entries(), "broken", ())
    path = replay.save(PassFailure(passes.steps[0], folded))
    assert replay.load(path).step.coding == passes.steps[0].coding
    rewritten(path, lambda c: c["step"]["coding"].update({"$type": "codings.morse"}))
    assert run("replay", path) == 2
    err = capsys.readouterr().err
    assert "error[unknown-coding]: there is no coding 'morse'" in err
    assert "hint: install the package that adds it" in err


def rewritten(path, change):
    """A replay file with other content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(members["replay.json"])
    change(content)
    members["replay.json"] = json.dumps(content).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(schema=2),
        lambda c: c.update(step=c["graph"]),
        lambda c: c.update(step=None),
        lambda c: c["step"].update({"$type": "os.system"}),
        lambda c: c["step"].update(extra=1),
        lambda c: c["step"].update(weight_bits="8"),
        lambda c: c["graph"].update(window=3),
        lambda c: c["graph"]["graph"].update(nodes=[1, 2]),
        lambda c: c["graph"]["graph"]["nodes"][1].update(inputs=["nobody"]),
        lambda c: c.update(arrays=[*c["arrays"], "more"]),
    ],
)
def test_a_file_that_is_none_is_refused(change, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folded, _, passes = converted(mlp(), SETTINGS["graded"])
    spiking = Pipeline(passes.steps[:2])(folded).graph
    path = replay.save(PassFailure(Quantize(8), spiking))
    replay.load(path)
    rewritten(path, change)
    assert run("replay", path) == 3
    assert "error[unreadable-replay]" in capsys.readouterr().err


def test_a_network_that_takes_too_much_memory_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = replay.save(PassFailure(FoldBatchNorm(), mlp()))
    rewritten(path, lambda c: c["graph"]["graph"]["nodes"][0].update(shape=[1 << 20, 1 << 20]))
    assert run("replay", path) == 3
    assert "error[too-large]" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["float", "spiking", "fixed"])
def test_mutants_are_read_or_refused(which, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(memory.VARIABLE, "64M")
    folded, _, passes = converted(mlp(), SETTINGS["rate"])
    n = {"float": 0, "spiking": 2, "fixed": 3}[which]
    path = replay.save(PassFailure(passes.steps[n], Pipeline(passes.steps[:n])(folded).graph))
    members, refused, n_mutants = members_of(path), 0, 60
    for number in range(n_mutants):
        random = Random(number)
        if number % 3:
            said = dumped(json_of(random, json.loads(members["replay.json"])))
            path.write_bytes(zipped({**members, "replay.json": said}))
        else:
            path.write_bytes(archive_of(random, members))
        try:
            replay.load(path)
        except CompileError:
            refused += 1
    assert 0 < refused < n_mutants


def test_a_file_with_pickled_objects_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = replay.save(PassFailure(FoldBatchNorm(), mlp()))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    np.save("0.npy", np.array([{}], object), allow_pickle=True)
    members["0.npy"] = (tmp_path / "0.npy").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match="pickled"):
        replay.load(path)


# Networks that spike already.


def test_a_network_that_spikes_has_passes_too(tmp_path, monkeypatch, capsys):
    pytest.importorskip("nir")
    monkeypatch.chdir(tmp_path)
    given = [SNNTORCH, "--nir-producer", "snntorch", "--nir-reset", "subtract", "-T", "24"]
    assert run(*given, "--list-passes") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "quantize{weight-bits=8},prove,split-fan-in{target=loihi2},duplicate-sources{target=loihi2}"
    )
    for line in (given, ["check", *given]):
        assert run(*line, "--stop-after", "quantize", "--verify-each") == 0
        assert capsys.readouterr().out.startswith("--- after quantize\nQuantizedGraph rate 24\n")
    assert not list(tmp_path.iterdir())


def test_leaky_neurons_are_replayed(tmp_path, monkeypatch):
    pytest.importorskip("nir")
    from snn_frontends.nir import NirFrontend

    monkeypatch.chdir(tmp_path)
    options = CompileOptions(nir_producer="snntorch", nir_reset="subtract", timesteps=24)
    network = NirFrontend().read_spiking(SNNTORCH, options).network
    assert any(isinstance(node, LIFNeurons) for node in network.graph)
    found = replay.load(replay.save(PassFailure(Quantize(8), network)))
    wanted = to_text(Quantize(8)(network).graph)
    assert to_text(found.step(found.graph).graph) == wanted
