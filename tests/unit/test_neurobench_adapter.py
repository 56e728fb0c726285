"""The network that NeuroBench's harness is shown, and what its metrics are compared with."""

from __future__ import annotations

import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from network_builder import INPUT, Builder
from snn_compile import compile_model
from snn_compile.cli import main
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import SparseSynapses, Synapses
from snn_compile.neurobench.table import bytes_of, rows, stored_bytes
from snn_compile.report.layers import Activity
from snn_compile.report.neurobench import neurobench
from snn_compile.sim import engine
from snn_compile.sim.reference import SynapseOperator


def structures():
    """A convolution with lopsided padding, one with groups and dilation, sparse and dense ones."""
    net = Builder(3, (2, 7, 9), n_steps=3, high=15)
    lopsided = Geometry(stride=(2, 1), padding=(0, 2, 1, -1))
    grouped = Geometry(padding=(1, 1, 1, 1), dilation=(2, 1), groups=2)
    hidden = net.neurons("zero", net.conv(INPUT, 4, geometry=lopsided))
    hidden = net.neurons("zero", net.conv(hidden, 6, geometry=grouped))
    hidden = net.neurons("zero", net.sparse(hidden, (12, 1, 1)))
    net.neurons("readout", net.dense(hidden, 4))
    return net.build(), net.frames(8)


# ------------------------------------------------------------------------------- counting


@pytest.mark.parametrize(
    ("format", "n_bytes"),
    [(QFormat(4), 1), (QFormat(8), 1), (QFormat(8, signed=False), 2), (QFormat(24), 4)],
)
def test_numbers_take_whole_bytes(format, n_bytes):
    assert bytes_of(format) == n_bytes


def counted():
    program, frames = structures()
    activity = Activity(engine.run(program, frames).activity, len(frames))
    ours = neurobench(program, activity, [{"stage": "fixed", "top1": 75.0}])
    theirs = {
        "Footprint": sum(stored_bytes(program)),
        "ConnectionSparsity": round(ours["connection_sparsity"], 4),
        "ActivationSparsity": ours["activation_sparsity"],
        "SynapticOperations": dict(ours["synaptic_operations"]),
        "ClassificationAccuracy": 0.75,
    }
    return program, theirs, ours


def verdicts(theirs, ours, program):
    return {row.metric: row.equal for row in rows(theirs, ours, program)}


def test_what_both_define_alike_is_equal():
    program, theirs, ours = counted()
    found = verdicts(theirs, ours, program)
    assert {name for name, equal in found.items() if equal is None} == {
        "footprint",
        "membrane_updates",
    }
    assert all(found[name] is not False for name in found)
    numbers, places = stored_bytes(program)
    sparse = [node for node in program.graph if isinstance(node, SparseSynapses)]
    assert places == 4 * sum(node.indptr.size + node.indices.size for node in sparse) > 0
    assert numbers > ours["footprint"]


@pytest.mark.parametrize(
    ("metric", "row", "change"),
    [
        ("Footprint", "footprint", 1),
        ("ConnectionSparsity", "connection_sparsity", 1e-4),
        ("ActivationSparsity", "activation_sparsity", 1e-6),
        ("ClassificationAccuracy", "classification_accuracy", 0.125),
    ],
)
def test_a_metric_that_is_off_is_found(metric, row, change):
    program, theirs, ours = counted()
    theirs[metric] += change
    assert [name for name, equal in verdicts(theirs, ours, program).items() if equal is False] == [
        row
    ]


def test_an_operation_less_is_found_and_another_kind_is_not_held_against_it():
    program, theirs, ours = counted()
    counts = theirs["SynapticOperations"]
    counts["Effective_MACs"], counts["Effective_ACs"] = (
        counts["Effective_ACs"],
        counts["Effective_MACs"],
    )
    assert verdicts(theirs, ours, program)["effective operations"]
    counts["Effective_ACs"] -= 1
    counts["Dense"] += 1
    found = verdicts(theirs, ours, program)
    assert (found["effective operations"], found["Dense"]) == (False, False)


# ----------------------------------------------------------------------------- the command


@pytest.mark.parametrize("package", ["torch", "neurobench"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch, capsys):
    pytest.importorskip("torch") if package == "neurobench" else None
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["neurobench", "net.snn", "--data", "x.npz"]) == 2
    said = capsys.readouterr().err
    assert f"'{package}'" in said
    assert "snn-compile[neurobench]" in said


# ------------------------------------------------------------------------ modules of torch


@pytest.fixture
def network():
    pytest.importorskip("torch", reason="torch is not installed (extra: neurobench)")
    from snn_compile.neurobench import network

    return network


def test_modules_sum_as_the_reference_does(network):
    import torch

    program, _ = structures()
    generator = np.random.default_rng(0)
    kinds = set()
    for group in program.graph:
        if not isinstance(group, Synapses):
            continue
        source = program.graph[group.inputs[0]].shape
        messages = generator.integers(-3, 9, (5, *source))
        found = network.synapses(group, source)(torch.from_numpy(messages.astype(np.float64)))
        shown = np.moveaxis(messages, 0, -1)[..., None, :]  # (*source, steps, samples)
        sums = SynapseOperator(replace(group, exponent=0), (-3, 8))(shown)
        expected = np.moveaxis(sums[..., 0, :], -1, 0)
        assert np.array_equal(found.numpy().reshape(expected.shape), expected)
        kinds.add(type(group))
    assert len(kinds) == 3


def test_all_parameters_are_stored_in_whole_bytes(network, digits):
    net = network.Network(digits("rate"))
    program = net.compiled.program
    tensors = [*net.parameters(), *net.buffers()]
    assert sum(t.numel() * t.element_size() for t in tensors) == sum(stored_bytes(program))
    n_numbers = sum(
        getattr(node, field.name).values.size
        for node in program.graph
        for field in fields(node)
        if isinstance(getattr(node, field.name), QTensor)
    )
    assert sum(tensor.numel() for tensor in tensors) == n_numbers


@pytest.fixture(scope="module")
def digits(request):
    examples = request.config.rootpath / "examples"

    def compiled(coding, **options):
        given = {"calibrate": examples / "digits_calibrate.npz", "timesteps": 3, "emit": ()}
        return compile_model(examples / "digits_mlp.onnx", coding=coding, **given, **options)

    return compiled


@pytest.mark.parametrize(
    ("coding", "options"), [("rate", {"input": "poisson"}), ("sigma-delta", {}), ("sync", {})]
)
def test_batches_follow_each_other(network, digits, coding, options):
    """Draws and what neurons remember go on; so do the counts."""
    import torch

    compiled = digits(coding, **options)
    x = np.random.default_rng(1).random((9, *compiled.encoding.shape), np.float32)
    whole = compiled.simulate(x)
    net = network.Network(compiled)
    shown = {}

    def count(module, arguments, _):
        counts = np.count_nonzero(arguments[0].numpy(), axis=0)
        shown[module.layer] = shown.get(module.layer, 0) + counts

    for module in net.populations:
        module.register_forward_hook(count)
    answered = [net(torch.from_numpy(x[a:b])).numpy() for a, b in ((0, 4), (4, 5), (5, 9))]
    assert np.array_equal(np.concatenate(answered), compiled.run(x))
    assert net.n_samples == 9
    for name, counts in net.activity.items():
        assert np.array_equal(counts, whole.activity[name])
    for name, counts in shown.items():
        assert np.array_equal(counts, whole.activity[name])
    net.restart()
    assert np.array_equal(net(torch.from_numpy(x)).numpy(), compiled.run(x))
