"""NIR files become networks in fixed point; what they do not say is asked for, not guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from snn_compile import CompileError, compile_model
from snn_compile.cli import main
from snn_compile.errors import ModelError, UnsupportedError, UsageError
from snn_compile.ir import spiking
from snn_compile.ir.quantized import CubaLIFNeurons, IFNeurons
from snn_compile.ir.spiking import Reset
from snn_compile.options import CompileOptions
from snn_compile.sim import kernels
from snn_compile.sim import spiking as simulation
from snn_frontends.nir import NirFrontend

nir = pytest.importorskip("nir")

from nir_graphs import GRAPHS, chain, correlate, dense, integrate, lif, plain, port  # noqa: E402

FIXTURE = Path(__file__).parent.parent / "fixtures" / "snntorch_tiny.nir"
SNNTORCH = {"nir_producer": "snntorch", "nir_reset": "subtract"}


def arrays():
    with np.load(FIXTURE.with_suffix(".npz")) as file:
        return file["x"], file["spikes"]


def saved(graph, folder):
    path = folder / "net.nir"
    nir.write(str(path), graph)
    return path


def read(path, **options):
    given = {"nir_producer": "other", "nir_reset": "zero", "timesteps": 8, **options}
    return NirFrontend().read_spiking(path, CompileOptions(**given))


def refused(graph, folder, **options):
    """All complaints about a graph."""
    with pytest.raises(CompileError) as caught:
        read(saved(graph, folder), **options)
    return list(getattr(caught.value, "errors", (caught.value,)))


# ----------------------------------------------------------------- a file that snnTorch has written


def test_a_file_by_snntorch_is_compiled_and_simulated():
    """The fixed-point network has the spikes of snnTorch's, but for a few."""
    x, spikes = arrays()
    compiled = compile_model(FIXTURE, evaluate=(x, None), timesteps=24, emit=(), **SNNTORCH)
    layer, readout = compiled.program.populations
    assert isinstance(layer, CubaLIFNeurons)
    assert layer.reset is Reset.SUBTRACT
    run = compiled.simulate(x, record=True)
    found = run.messages[layer.id].reshape(spikes.shape)
    assert spikes.sum() > 200
    assert abs(int(found.sum()) - int(spikes.sum())) <= 0.02 * spikes.sum()
    # A readout counts spikes: whole numbers, to be read as they are.
    np.testing.assert_allclose(compiled.run(x), found.sum(axis=1), rtol=0, atol=1e-9)
    assert run.outputs[readout.id].shape[0] == len(x)
    stages = [rung["stage"] for rung in compiled.report["ladder"]]
    assert stages == ["spiking", "fixed", "mapped"]


def test_the_float_network_spikes_as_snntorch_does():
    x, spikes = arrays()
    imported = read(FIXTURE, timesteps=24, **SNNTORCH)
    frames = x.astype(np.int64).reshape(*x.shape[:2], *imported.network.input.shape)
    counts = 24 * simulation.evaluate(imported.network, frames)
    assert np.array_equal(counts.reshape(len(x), -1), spikes.sum(axis=1))


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_an_immediate_reset_is_another_network(reset):
    """The file is the same: only the user knows."""
    late = read(FIXTURE, nir_producer="snntorch", nir_reset=reset)
    now = read(FIXTURE, nir_producer="snntorch", nir_reset=reset, nir_reset_delay=False)
    drops = [net.network.populations[0].drop[0] for net in (late, now)]
    threshold = late.network.populations[0].threshold[0]
    expected = threshold / 0.9 if reset == "subtract" else threshold
    assert drops == pytest.approx([expected, threshold], rel=1e-5)


def test_from_the_command_line(tmp_path, capsys):
    x, _ = arrays()
    file, folder = str(tmp_path / "data.npz"), tmp_path / "net.snn"
    np.savez(file, x=x.astype(bool), y=np.zeros(len(x), np.int64))
    said = ["--nir-producer", "snntorch", "--nir-reset", "subtract", "-T", "24"]
    data = ["--calibrate", file, "--evaluate", file]
    assert main([str(FIXTURE), "-o", str(folder), "--quiet", *said, *data]) == 0
    assert "arg-max equal to the network as trained" in capsys.readouterr().out
    report = json.loads((folder / "report.json").read_text())
    assert report["model"]["weights"] == 48
    assert main(["run", str(folder), "--data", file, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == len(x)
    assert main(["check", str(FIXTURE), *said]) == 0
    assert "0 unsupported" in capsys.readouterr().out
    assert main(["check", str(FIXTURE)]) == 2
    assert "--nir-reset" in capsys.readouterr().err
    assert main(["inspect", str(FIXTURE)]) == 2


# ----------------------------------------------------------------------------- what NIR leaves open


def test_everything_missing_is_asked_for_at_once(tmp_path):
    path = saved(chain(port(nir.Input, 3), dense(3, 2), lif(2), port(nir.Output, 2)), tmp_path)
    with pytest.raises(UsageError) as caught:
        NirFrontend().read_spiking(path, CompileOptions())
    assert caught.value.code == "nir-unsaid"
    for option in ("--nir-producer", "--nir-reset", "--nir-dt"):
        assert option in caught.value.hint


def test_integrate_and_fire_needs_no_time_step(tmp_path):
    path = saved(
        chain(port(nir.Input, 3), dense(3, 2), integrate(2), port(nir.Output, 2)), tmp_path
    )
    assert read(path).network.populations[0].beta == 1


def test_metadata_are_as_good_as_options(tmp_path):
    said = {"producer": "other", "reset": "zero", "dt": 1e-3}
    graph = chain(port(nir.Input, 3), dense(3, 2), lif(2), port(nir.Output, 2), metadata=said)
    imported = NirFrontend().read_spiking(saved(graph, tmp_path), CompileOptions())
    layer = imported.network.populations[0]
    assert (layer.beta, layer.reset) == (0.9, Reset.ZERO)


def test_euler_scales_what_arrives(tmp_path):
    graph = chain(port(nir.Input, 3), dense(3, 2), lif(2, r=5.0), port(nir.Output, 2))
    imported = read(saved(graph, tmp_path), nir_dt=1e-3)
    layer = imported.network.populations[0]
    (group,) = imported.network.synapses_into(layer)
    weight = graph.nodes["n1"].weight
    np.testing.assert_allclose(group.weight, 0.5 * weight, rtol=1e-12)  # r dt / tau
    np.testing.assert_allclose(layer.bias.ravel(), 0.5 * graph.nodes["n1"].bias, rtol=1e-12)


def test_norse_divides_by_the_time_step(tmp_path):
    """dt 1e-3 and 1 / tau = 100: Norse 1.1.0 writes 1e-5 s where it simulates 1e-2 s."""
    graph = chain(port(nir.Input, 3), dense(3, 2), lif(2, tau=1e-5), port(nir.Output, 2))
    path = saved(graph, tmp_path)
    imported = read(path, nir_producer="norse", nir_dt=1e-3)
    assert imported.network.populations[0].beta == pytest.approx(0.9)
    assert "nir-repaired" in [finding.code for finding in imported.findings]
    (error,) = refused(graph, tmp_path, nir_dt=1e-3)
    assert (error.code, error.origin.node) == ("nir-dt", "n2")


# ----------------------------------------------------------------------------------- whole networks


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_means_what_nir_says(name, tmp_path):
    graph = GRAPHS[name]()
    imported = read(saved(graph, tmp_path), nir_dt=1e-3, timesteps=12)
    shape = imported.input_shape
    x = (np.random.default_rng(4).random((6, 12, *shape)) < 0.5).astype(np.int64)
    frames = x.reshape(6, 12, *imported.network.input.shape)
    found = 12 * simulation.evaluate(imported.network, frames)
    expected = np.array([plain(graph, sample) for sample in x])
    assert np.abs(expected).sum() > 10
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_several_edges_into_a_node_add_up(tmp_path):
    nodes = {
        "input": port(nir.Input, 5),
        "a": dense(5, 4),
        "n": integrate(4),
        "b": dense(4, 4, 2),
        "c": dense(5, 4, 3),
        "m": integrate(4),
        "output": port(nir.Output, 4),
    }
    edges = [("input", "a"), ("a", "n"), ("n", "b"), ("b", "m"), ("input", "c"), ("c", "m")]
    graph = nir.NIRGraph(nodes, [*edges, ("n", "m"), ("m", "output")])
    imported = read(saved(graph, tmp_path), timesteps=9)
    x = (np.random.default_rng(1).random((5, 9, 5)) < 0.5).astype(np.int64)
    found = 9 * simulation.evaluate(imported.network, x[..., None, None])
    expected = np.array([plain(graph, sample) for sample in x])
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_a_shorter_path_gets_relays_that_do_not_leak(tmp_path):
    """The first layer is read at two depths."""
    names = ("input", "a", "n", "b", "m", "c", "d", "k", "output")
    made = (dense(5, 4), lif(4), dense(4, 4, 1), lif(4), dense(4, 3, 2), dense(4, 3, 3), lif(3))
    nodes = dict(zip(names, (port(nir.Input, 5), *made, port(nir.Output, 3)), strict=True))
    edges = [("input", "a"), ("a", "n"), ("n", "b"), ("b", "m"), ("m", "c"), ("n", "d")]
    graph = nir.NIRGraph(nodes, [*edges, ("c", "k"), ("d", "k"), ("k", "output")])
    path = saved(graph, tmp_path)
    x = (np.random.default_rng(1).random((5, 9, 5)) < 0.5).astype(np.int64)
    options = {"nir_dt": 1e-3, "nir_producer": "other", "nir_reset": "zero"}
    compiled = compile_model(path, evaluate=(x, None), timesteps=9, emit=(), **options)
    relays = [n for n in compiled.program.populations if getattr(n, "relay", False)]
    assert [type(n) for n in relays] == [IFNeurons]
    run = compiled.simulate(x, record=True)
    source = next(n for n in compiled.program.populations if n.id == "n")
    assert np.array_equal(run.messages[relays[0].id], run.messages[source.id])
    expected = np.array([plain(graph, sample) for sample in x])
    assert np.abs(compiled.run(x) - expected).sum() <= 0.1 * expected.sum()


def test_nested_graphs_are_put_in_their_place(tmp_path):
    inner = chain(port(nir.Input, 4), integrate(4), port(nir.Output, 4))
    nodes = {"input": port(nir.Input, 3), "a": dense(3, 4), "sub": inner}
    nodes["output"] = port(nir.Output, 4)
    edges = [("input", "a"), ("a", "sub"), ("sub", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    layer = read(saved(graph, tmp_path)).network.populations[0]
    assert layer.origin.node == "sub.n1"
    assert isinstance(layer, spiking.LIFNeurons)


# ----------------------------------------------------------------------------------------- refusals


def recurrent():
    nodes = {"input": port(nir.Input, 3), "n": integrate(3), "w": nir.Linear(np.eye(3))}
    nodes["output"] = port(nir.Output, 3)
    edges = [("input", "n"), ("n", "w"), ("w", "n"), ("n", "output")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def uneven():
    node = lif(4)
    node.tau = np.linspace(0.01, 0.02, 4)
    return chain(port(nir.Input, 4), node, port(nir.Output, 4))


def spread():
    node = integrate(2, 3, 3)
    node.v_threshold = np.arange(1.0, 19.0).reshape(2, 3, 3)
    return chain(port(nir.Input, 2, 3, 3), node, port(nir.Output, 2, 3, 3))


REFUSED = {
    "recurrent": (recurrent, "recurrent", "n"),
    "uneven decay": (uneven, "nir-uneven", "n1"),
    "uneven threshold": (spread, "nir-uneven", "n1"),
    "rest": (
        lambda: chain(port(nir.Input, 2), lif(2, v_leak=0.1), port(nir.Output, 2)),
        "nir-rest",
        "n1",
    ),
    "reset": (
        lambda: chain(port(nir.Input, 2), integrate(2, v_reset=-1.0), port(nir.Output, 2)),
        "nir-rest",
        "n1",
    ),
    "threshold": (
        lambda: chain(port(nir.Input, 2), integrate(2, threshold=0.0), port(nir.Output, 2)),
        "nir-threshold",
        "n1",
    ),
    "delay": (
        lambda: chain(port(nir.Input, 2), nir.Delay(np.ones(2)), port(nir.Output, 2)),
        "unsupported-op",
        "n1",
    ),
    "leaky integrator": (
        lambda: chain(
            port(nir.Input, 2),
            nir.LI(tau=np.ones(2), r=np.ones(2), v_leak=np.zeros(2)),
            port(nir.Output, 2),
        ),
        "unsupported-op",
        "n1",
    ),
    "maps into a matrix": (
        lambda: chain(port(nir.Input, 2, 3), dense(6, 2), port(nir.Output, 2)),
        "unsupported-shape",
        "n1",
    ),
    "a decay of no chip": (
        lambda: chain(port(nir.Input, 2), lif(2, tau=1.0001e-3), port(nir.Output, 2)),
        "nir-decay",
        "n1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_node_and_the_reason(name, tmp_path):
    make, code, node = REFUSED[name]
    (error,) = refused(make(), tmp_path, nir_dt=1e-3)
    assert isinstance(error, UnsupportedError)
    assert (error.code, error.origin.node) == (code, node)


def test_all_refusals_come_at_once(tmp_path):
    graph = chain(
        port(nir.Input, 4),
        integrate(4, v_reset=1.0),
        dense(4, 4),
        nir.Delay(np.ones(4)),
        nir.Threshold(np.ones(4)),
        port(nir.Output, 4),
    )
    errors = refused(graph, tmp_path)
    assert [(e.origin.node, e.code) for e in errors] == [
        ("n1", "nir-rest"),
        ("n3", "unsupported-op"),
        ("n4", "unsupported-op"),
    ]


def test_a_late_reset_to_zero_of_a_current_is_refused(tmp_path):
    names = ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in")
    values = (5e-4, 1e-3, 10.0, 0.0, 1.0, 0.0, 5.0)
    node = nir.CubaLIF(**{k: np.full(3, v) for k, v in zip(names, values, strict=True)})
    graph = chain(port(nir.Input, 3), node, port(nir.Output, 3))
    (error,) = refused(graph, tmp_path, nir_producer="snntorch")
    assert error.code == "nir-neuron"
    layer = read(
        saved(graph, tmp_path), nir_producer="snntorch", nir_reset_delay=False
    ).network.populations[0]
    assert (layer.alpha, layer.beta) == (pytest.approx(0.8), pytest.approx(0.9))


def test_files_that_are_none(tmp_path):
    path = tmp_path / "net.nir"
    path.write_bytes(b"not HDF5")
    with pytest.raises(ModelError, match="not a NIR file"):
        read(path)
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "other.nir")


# --------------------------------------------------------------------------------------------- data


def small(folder):
    graph = chain(port(nir.Input, 3), dense(3, 2), integrate(2), port(nir.Output, 2))
    return saved(graph, folder)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((4, 7, 3), np.uint8, "set -T 7"),
        ((4, 5), np.float32, r"\(N, 3\)"),
        ((4, 8, 2, 3), np.float32, "the network takes"),
    ],
)
def test_data_of_another_shape(shape, dtype, message, tmp_path):
    options = {"nir_producer": "other", "nir_reset": "zero", "timesteps": 8, "emit": ()}
    with pytest.raises(UsageError, match=message):
        compile_model(small(tmp_path), evaluate=(np.zeros(shape, dtype), None), **options)


def test_currents_hold_for_the_whole_window(tmp_path):
    """A frame (N, *shape) is the same input at every step; its range is put on levels."""
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 3)).astype(np.float32)
    options = {"nir_producer": "other", "nir_reset": "subtract", "timesteps": 32, "emit": ()}
    compiled = compile_model(small(tmp_path), calibrate=x, evaluate=(x, None), **options)
    assert compiled.program.input.coding is spiking.InputCoding.CURRENT
    graph = nir.read(str(tmp_path / "net.nir"))
    rate = np.clip(x @ graph.nodes["n1"].weight.T + graph.nodes["n1"].bias, 0, 1)
    assert np.abs(compiled.run(x) / 32 - rate).max() < 0.1


def test_options_that_mean_nothing_are_named(tmp_path):
    options = CompileOptions.from_sources(
        None,
        {"nir_producer": "other", "nir_reset": "zero", "equalize": "l4", "emit": ""},
    )
    compiled = compile_model(small(tmp_path), options=options)
    (warning,) = [w for w in compiled.report["warnings"] if w["code"] == "option-ignored"]
    assert "equalize" in warning["message"]
    with pytest.raises(UsageError, match="coding sync does not apply"):
        compile_model(small(tmp_path), options=options, coding="sync")
    with pytest.raises(UsageError, match="auto is for"):
        compile_model(small(tmp_path), options=options, timesteps="auto", max_accuracy_drop=1.0)
    with pytest.raises(UsageError, match="--input poisson"):
        compile_model(small(tmp_path), options=options, input="poisson")


def test_events_are_for_networks_that_spike(examples):
    with pytest.raises(UsageError, match="trained with spikes"):
        compile_model(examples / "digits_mlp.onnx", coding="rate", input="events", emit=())


def test_the_plain_correlation_agrees_with_ours():
    """The reference of this file, checked against the kernels that everything else is tested by."""
    random = np.random.default_rng(3)
    x, weight = random.normal(size=(4, 6, 5)), random.normal(size=(4, 2, 2, 3))
    found = correlate(x, weight, (2, 1), (1, 2), 2)
    geometry = spiking.Geometry(stride=(2, 1), dilation=(1, 2), groups=2)
    np.testing.assert_allclose(found, kernels.conv2d(x[..., None], weight, geometry)[..., 0])


# -------------------------------------------------------------------------------- a stranger's file


def renamed(name_of):
    """A chain whose nodes have other names."""
    made = chain(port(nir.Input, 3), dense(3, 4), integrate(4), port(nir.Output, 4))
    names = {old: name_of(number) for number, old in enumerate(made.nodes)}
    nodes = {names[old]: node for old, node in made.nodes.items()}
    edges = [(names[a], names[b]) for a, b in made.edges]
    return nir.NIRGraph(nodes, edges, metadata={}, type_check=False)


def test_names_of_nodes_become_printable(tmp_path):
    found = read(saved(renamed(lambda k: f"n{k}\x1b[2J\n\u202e{'[bold]'}"), tmp_path))
    ids = [node.id for node in found.network.graph]
    assert len(ids) > 3
    assert all(name.isprintable() for name in ids)
    assert "n2\\x1b[2J\\n\\u202e[bold]" in ids


def test_names_that_become_the_same_are_refused(tmp_path):
    names = ["a", "b\n", "b\\n", "c"]
    (error,) = refused(renamed(names.__getitem__), tmp_path)
    assert "two nodes are called" in error.message
