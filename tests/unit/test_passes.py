"""What can be done around the passes of a compilation: list, stop, show, time, verify."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from anns import INPUT, Net
from converted_networks import SETTINGS, Broken, converted, shrunk
from quantized_cases import mlp, pooled, residual
from snn_compile.cli import main
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.sum_of_rectifiers import SumOfRectifiers
from snn_compile.errors import VerificationError
from snn_compile.ir import ann
from snn_compile.ir.expression import X, apply
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import Readout
from snn_compile.ir.stages import SpikingGraph
from snn_compile.passes import Finding, PassResult, Pipeline, no_observer, spec
from snn_compile.pipeline.folding import FOLDING
from snn_compile.pipeline.verify_each import VerifyEach
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.to_fixed_point import Quantize
from snn_compile.samples.arrays import Samples
from snn_compile.sim import engine


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

    monkeypatch.setattr("snn_compile.pipeline.sampled_steps.least_error_of", none)
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
