"""What can be done around the passes of a compilation: list, stop, show, time, verify, replay."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from anns import INPUT, Net
from mutants import archive_of, dumped, json_of, members_of, zipped
from quantized_cases import mlp, pooled, residual
from snn_compile import CompileOptions, coding_registry, memory
from snn_compile.cli import main
from snn_compile.cli.failures import report_failure
from snn_compile.codings import coding_of
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.sum_of_rectifiers import SumOfRectifiers
from snn_compile.errors import CompileError, ModelError, VerificationError
from snn_compile.ir import ann
from snn_compile.ir.expression import X, apply
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import LIFNeurons, Readout
from snn_compile.ir.stages import SpikingGraph
from snn_compile.ir.text import to_text
from snn_compile.lowering import passes_at_bounds
from snn_compile.passes import Finding, PassFailure, PassResult, Pipeline, no_observer, spec
from snn_compile.pipeline import replay
from snn_compile.pipeline.folding import FOLDING, folding_of
from snn_compile.pipeline.verify_each import VerifyEach
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.to_fixed_point import Quantize
from snn_compile.samples.arrays import Samples
from snn_compile.sim import engine

SNNTORCH = Path(__file__).parent.parent / "fixtures" / "snntorch_tiny.nir"
SETTINGS = {
    "graded": {"coding": "graded"},
    "sigma-delta": {"coding": "sigma-delta", "bias_correction": False},
    "sync": {"coding": "sync", "timesteps": 4, "rounding": "nearest"},
    "radix": {"coding": "radix", "timesteps": 4},
    "signed": {"coding": "signed", "timesteps": 6},
    "rate": {"coding": "rate", "timesteps": 6, "input": "poisson"},
    "zero": {"coding": "rate", "timesteps": 6, "reset": "zero"},
    "stock": {"coding": "rate", "timesteps": 6, "reset": "zero", "neurons": "stock"},
}


def converted(network, settings):
    """A folded network, some samples, and the passes that put it in fixed point."""
    options = CompileOptions(**settings)
    coding = coding_of(options, "graded")
    folded = folding_of(network, coding)(network).graph
    x = np.random.default_rng(0).normal(size=(20, *folded.input.shape))
    return folded, x, passes_at_bounds(folded, calibrate(folded, x), options, coding, Samples(x))


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def model(examples):
    return examples / "digits_mlp.onnx"


# Text.


def test_a_pass_is_written_with_its_options_other_than_the_defaults():
    assert spec(FoldBatchNorm()) == "fold-batch-norm"
    assert spec(Equalize("l4")) == "equalize{method=l4}"
    assert spec(Equalize("range", np.ones(3), beta=0.5)) == "equalize{method=range,beta=0.5}"
    assert spec(Quantize(4)) == "quantize{weight-bits=4}"
    widths = Quantize(4, (("conv*", 8), ("fc", 2)))
    assert spec(widths) == "quantize{weight-bits=4,layers=conv*:8+fc:2}"
    fit = FitLayers(mlp(), np.ones(3), np.ones(3), biases=False)
    assert spec(fit) == "fit-layers{biases=false}"
    assert spec(FoldPreprocessing((1.5, 2), ())) == "fold-preprocessing{mean-values=1.5:2}"


def test_the_passes_are_listed_and_nothing_else_happens(
    model, examples, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    line = [model, "--calibrate", examples / "digits_calibrate.npz", "--coding", "rate"]
    line += ["--equalize", "l4", "--weight-bits", "4", "--reset", "zero", "--list-passes"]
    assert run(*line) == 0
    wanted = (
        "sink-wiring,fold-batch-norm,fold-padding,lower-max-pool,refine-statistics,lay-out,"
        "insert-rectifiers,"
        "isolate-operands,equalize{method=l4},"
        "to-spiking{coding=rate,reset=zero,initial-potential=0},align-paths,"
        "quantize{weight-bits=4},calibrate-resets,"
        "fit-layers{biases=false},calibrate-resets,prove,schedule{coding=rate,n-steps=32},"
        "split-fan-in{target=loihi2},duplicate-sources{target=loihi2}"
    )
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == wanted
    assert "float -> spiking   to-spiking{" in out
    assert not err
    assert run(*line, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["spec"] == wanted
    assert [one["name"] for one in listed["passes"]][8:10] == ["equalize", "to-spiking"]
    assert listed["passes"][8]["options"] == {"method": "l4"}
    assert not list(tmp_path.iterdir())


def test_what_is_listed_is_what_runs(model, examples, tmp_path, capsys):
    data = examples / "digits_calibrate.npz"
    line = [model, "--calibrate", data, "--coding", "rate", "-T", "4", "--mean-values", "0.5"]
    assert run(*line, "--list-passes", "--json") == 0
    listed = [one["name"] for one in json.loads(capsys.readouterr().out)["passes"]]
    line += ["-o", tmp_path / "a.snn", "--no-emit", "-q", "--json", "--print-after-all"]
    assert run(*line, "--time-passes") == 0
    out, err = capsys.readouterr()
    shown = [row.removeprefix("--- after ") for row in err.splitlines() if row.startswith("--- ")]
    assert shown == listed
    timed = [row["stage"] for row in json.loads(out)["timing"]]
    assert [name for name in timed if name in listed] == listed
    rows = [row.split() for row in err[err.index("stage  ") :].splitlines()]
    assert [row[0] for row in rows[1:]] == [*timed, "total"]


# Names.


@pytest.mark.parametrize("command", ["compile", "check"])
@pytest.mark.parametrize("option", ["--stop-after", "--dump-after"])
def test_a_name_of_no_pass_is_refused_before_anything_is_computed(
    model, tmp_path, monkeypatch, capsys, command, option
):
    monkeypatch.chdir(tmp_path)
    assert run(command, model, option, "aling-paths") == 2
    err = capsys.readouterr().err
    assert "error[unknown-pass]: no pass named 'aling-paths'" in err
    assert "did you mean align-paths?" in err
    assert not list(tmp_path.iterdir())


def test_a_pass_that_does_not_run_with_these_options_is_refused(model, capsys):
    assert run("check", model, "--stop-after", "fit-layers") == 2
    err = capsys.readouterr().err
    assert "'fit-layers' runs with these options" in err
    assert "did you mean" not in err


# Stopping.


def test_stopping_shows_what_dumping_would_and_writes_no_folder(
    model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(model, "-q", "--no-emit", "-o", "a.snn", "--dump-after", "align-paths") == 0
    dumped = capsys.readouterr().err
    assert run(model, "-o", "deep/b.snn", "--stop-after", "align-paths", "--time-passes") == 0
    out, err = capsys.readouterr()
    assert out == dumped
    assert out.startswith("--- after align-paths\nSpikingGraph")
    assert "align-paths " in err
    assert "quantize" not in err
    assert run("check", model, "--stop-after", "align-paths") == 0
    assert capsys.readouterr().out.startswith("--- after align-paths\nSpikingGraph")
    assert [path.name for path in tmp_path.iterdir()] == ["a.snn"]


def test_a_pass_that_auto_leaves_out_is_told(model, examples, monkeypatch, capsys):
    def none(modes, compiled, folded, x):
        return "none", Finding("none is best")

    monkeypatch.setattr("snn_compile.pipeline.driver.least_error_of", none)
    line = [model, "--calibrate", examples / "digits_calibrate.npz", "--equalize", "auto"]
    assert run(*line, "--stop-after", "equalize") == 2
    assert "pass 'equalize' has not run" in capsys.readouterr().err


# Verifying.


@pytest.mark.parametrize("name", SETTINGS)
def test_passes_of_every_coding_are_verified(name):
    network = mlp() if name == "stock" else pooled()
    folded, x, passes = converted(network, SETTINGS[name])
    seen = []
    FOLDING(network, VerifyEach(no_observer, network, Samples(x)))
    passes(folded, VerifyEach(lambda one, *_: seen.append(one), folded))
    assert seen == [step.name for step in passes.steps]


@dataclass(frozen=True)
class Broken:
    """A pass that does what it is given."""

    does: object
    name = "broken"

    def __call__(self, graph, /):
        return PassResult(self.does(graph))


def edited(network, kind, change):
    """The network with one node of a kind changed."""
    first = next(node for node in network.graph if isinstance(node, kind))
    graph = network.graph.edit(replaced=[replace(first, **change(first))])
    if isinstance(network, SpikingGraph | QuantizedGraph):
        return replace(network, graph=graph)
    return network.with_graph(graph)


def verified(step, graph, samples=None):
    Pipeline.of(Broken(step))(graph, VerifyEach(no_observer, graph, samples))


def test_a_float_pass_that_moves_an_output_is_found():
    network = residual()
    verified(lambda graph: edited(graph, ann.Conv, lambda node: {"bias": node.bias}), network)
    with pytest.raises(VerificationError, match=r"pass 'broken': an output .* has moved") as caught:
        verified(lambda graph: edited(graph, ann.Conv, lambda n: {"bias": n.bias + 1e-3}), network)
    assert caught.value.code == "pass-not-verified"
    x = np.zeros((2, *network.input.shape))  # of the user's samples, only these are looked at
    with pytest.raises(VerificationError):
        verified(
            lambda graph: edited(graph, ann.Conv, lambda n: {"bias": n.bias + 1e-3}),
            network,
            Samples(x),
        )


def test_a_spiking_pass_that_moves_an_output_is_found():
    folded, _, passes = converted(residual(), SETTINGS["rate"])
    spiking = passes.steps[0](folded).graph
    with pytest.raises(VerificationError, match="has moved"):
        verified(lambda graph: edited(graph, Readout, lambda n: {"bias": n.bias + 1}), spiking)


def test_integers_that_the_engine_computes_otherwise_are_found(monkeypatch):
    folded, _, passes = converted(mlp(), SETTINGS["graded"])
    quantized = Pipeline(passes.steps[:3])(folded).graph
    verified(lambda graph: graph, quantized)
    honest = engine.run

    def wrong(program, frames, **options):
        found = honest(program, frames, **options)
        name = program.readouts[0].id
        return replace(found, outputs={**found.outputs, name: found.outputs[name] + 1})

    monkeypatch.setattr(engine, "run", wrong)
    with pytest.raises(VerificationError, match="engine and reference differ in the outputs"):
        verified(lambda graph: graph, quantized)


def test_integers_that_could_overflow_are_found():
    folded, _, passes = converted(mlp(), SETTINGS["graded"])
    quantized = Pipeline(passes.steps[:3])(folded).graph
    largest = QTensor.of(np.full((1, 1, 1), 2**23 - 1))

    def overflowing(graph):
        nodes = [replace(n, bias=largest) for n in graph.program.populations]
        program = replace(graph.program, graph=graph.program.graph.edit(replaced=nodes))
        return replace(graph, program=program)

    with pytest.raises(Exception, match="could reach"):
        verified(overflowing, quantized)


def test_a_stage_whose_promise_is_broken_is_found():
    def emptied(network):
        object.__setattr__(network.outputs[0], "shape", (0,))  # as no pass may
        return network

    with pytest.raises(VerificationError, match=r"violates its invariants: .* has the empty shape"):
        verified(emptied, residual())


def test_a_pass_that_says_how_far_off_it_is_need_not_keep_the_outputs():
    net = Net((3, 4, 6))
    layer = net.conv(INPUT, 2)
    clipped = apply("min", apply("max", apply("add", X, 3.0), 0.0), 6.0)
    swish = apply("div", apply("mul", X, clipped), 6.0)
    net.add(ann.Function, (layer,), net.shape(layer), expression=swish)
    network = net.build()
    found = Pipeline.of(SumOfRectifiers())(network, VerifyEach(no_observer, network))
    assert [finding.code for finding in found.findings] == ["approximation"]
    exact = shrunk()
    found = Pipeline.of(SumOfRectifiers())(exact, VerifyEach(no_observer, exact))
    assert [finding.code for finding in found.findings] == ["sum-of-rectifiers"]
    moved = edited(found.graph, ann.Dense, lambda node: {"bias": node.bias + 1})
    with pytest.raises(VerificationError, match="an output of up to"):
        VerifyEach(no_observer, exact)("sum-of-rectifiers", moved, found.findings, 0)


def test_verifying_is_asked_for_on_the_command_line(model, capsys, monkeypatch):
    assert run("check", model, "--verify-each") == 0
    capsys.readouterr()

    def rectified(self, network):
        return PassResult(edited(network, ann.Dense, lambda node: {"bias": node.bias + 1}))

    monkeypatch.setattr(FoldBatchNorm, "__call__", rectified)
    assert run("check", model) == 0
    assert run("check", model, "--verify-each") == 7
    assert "error[pass-not-verified]: pass 'fold-batch-norm'" in capsys.readouterr().err
    assert run(model, "--stop-after", "fold-padding", "--verify-each") == 7


# Replaying.


def gated():
    """A function, a product, and a shorter path around a layer that the product has to wait on."""
    net = Net((3, 4, 6))
    left, right = (net.conv(INPUT, 2) for _ in range(2))
    silu = apply("mul", X, apply("sigmoid", apply("mul", X, [1.0, 0.1])))
    gate = net.add(ann.Function, (left,), net.shape(left), expression=silu)
    product = net.add(ann.Product, (gate, net.relu(right)), net.shape(left))
    net.sum(product, net.conv(net.relu(net.conv(product, 2, (1, 1))), 2, (1, 1)))
    return net.build()


def shrunk():
    """A function that is a sum of rectifiers."""
    net = Net((3, 4, 6))
    layer = net.conv(INPUT, 2)
    shrink = net.add(ann.Function, (layer,), net.shape(layer), expression=apply("abs", X))
    net.dense(net.flatten(shrink), 3)
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
    steps = [FoldPreprocessing((0.5,), (2.0,)), *folding_of(network, coding).steps]
    steps += [Equalize("data", x), Equalize("range", ranges=ranges(folded, x)), *passes.steps]
    graph = network
    for step in steps:
        assert type(step) in replay.PASSES
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
