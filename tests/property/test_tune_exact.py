"""Training sees what runs: its forward pass equals the reference simulator, message by message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra: tune)")

import networks  # noqa: E402
import several_inputs  # noqa: E402
from quantized_cases import CODINGS, Case, pooled  # noqa: E402
from scheduled_networks import scheduled  # noqa: E402
from snn_compile import compile_model  # noqa: E402
from snn_compile.errors import CapacityError, CompileErrors, UnsupportedError  # noqa: E402
from snn_compile.ir.quantized import SparseSynapses  # noqa: E402
from snn_compile.ir.serialize import array_hashes, dump_program  # noqa: E402
from snn_compile.ir.spiking import InputCoding  # noqa: E402
from snn_compile.sim import reference  # noqa: E402
from snn_compile.tune import neurons  # noqa: E402
from snn_compile.tune.network import Network  # noqa: E402

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from((torch.float64, torch.float32))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examples(n):
    return settings(max_examples=n, deadline=None, derandomize=True)


def fire(z):
    return (z >= 0).to(z.dtype)


def respond(layer, a, n_steps):
    return neurons.respond(layer, a, n_steps, fire)


def network(program, **options):
    """A network to train; examples whose potentials could overflow are refused, and left out."""
    try:
        return Network(program, {}, **options)
    except (CapacityError, CompileErrors):
        assume(False)
        raise
    except UnsupportedError as error:  # functions and products are not trained
        assume(error.code != "tune-neurons")
        raise


def assert_exact(program, frames, dtype):
    tuned = network(program, dtype=dtype)
    expected = reference.run(tuned.single_step, frames, record=True)
    with torch.no_grad():
        passed = tuned(tuned.messages(frames), respond, keep=True)
    for name, answer in passed.answers.items():
        found = answer.messages.expand(tuned.n_steps, *answer.messages.shape[1:]).numpy()
        assert np.array_equal(np.moveaxis(found, 0, 1), expected.messages[name]), name
    assert same(tuned.tuned(), program)


def same(one, other):
    """Whether two programs have the same nodes and integers."""
    (first, arrays), (second, others) = dump_program(one), dump_program(other)
    nodes = [{key: n[key] for key in ("$type", "id", "inputs")} for n in first["nodes"]]
    expected = [{key: n[key] for key in ("$type", "id", "inputs")} for n in second["nodes"]]
    by_id = sorted(nodes, key=lambda n: n["id"]) == sorted(expected, key=lambda n: n["id"])
    return by_id and array_hashes(arrays) == array_hashes(others)


@examples(8)
@given(SEEDS, st.sampled_from(("subtract", "zero", "signed")), st.sampled_from((2, 7)), DTYPES)
def test_several_inputs(seed, kind, n_steps, dtype):
    coding = InputCoding.POISSON if seed % 2 else InputCoding.CURRENT
    assert_exact(*several_inputs.random_network(seed, kind, n_steps, coding), dtype)


@examples(24)
@given(SEEDS, st.sampled_from(networks.ALL_NEURONS), st.sampled_from((1, 5)), DTYPES)
def test_every_structure(seed, kind, n_steps, dtype):
    assert_exact(*networks.structures(seed, kind, n_steps), dtype)


@examples(12)
@given(SEEDS, st.sampled_from((1, 6)), st.booleans(), DTYPES)
def test_random_branches(seed, n_steps, poisson, dtype):
    kinds = networks.ALL_NEURONS
    program, frames = networks.branches(seed, n_steps, poisson=poisson and n_steps > 1, kinds=kinds)
    assert_exact(program, frames, dtype)


@examples(9)
@given(SEEDS, st.sampled_from(("sync", "radix", "sigma-delta")))
def test_networks_that_are_spread_over_time(seed, coding):
    case = scheduled(coding, "structures", seed, 5)
    assert_exact(case.program, case.frames, torch.float64)


@pytest.mark.slow
@pytest.mark.shared_data
def test_a_shared_model(model_data):
    data = model_data("fashion_vggbn", evaluate=4)
    x = np.load(data.calibrate)["x"]
    compiled = compile_model(
        data.model, calibrate=x[:128], coding="rate", timesteps=4, target="unlimited", emit=()
    )
    for dtype in (torch.float64, torch.float32):
        assert_exact(compiled.program, compiled.encoding(x[:4]), dtype)


@examples(10)
@given(SEEDS, st.sampled_from(("subtract", "zero", "leaky", "signed", "clip-floor")))
def test_what_has_grown_is_brought_back_to_where_nothing_overflows(seed, kind):
    program, _ = networks.structures(seed, kind, 1 if kind == "clip-floor" else 5)
    tuned = network(program)
    with torch.no_grad():
        for tensor in tuned.parameters().values():
            tensor *= 3
    tuned.confine()
    Network(tuned.tuned(), {})  # refuses what could overflow


@pytest.mark.parametrize("kind", ["subtract", "zero", "signed"])
def test_thresholds_at_the_end_of_the_state_are_brought_back(kind):
    """Conversion puts those of dead channels there; a step of training is enough to pass it."""
    program, _ = networks.structures(1, kind, 5)
    tuned = network(program)
    with torch.no_grad():
        for layer in tuned.layers.values():
            if "threshold" in layer.trained:
                layer.parameters["threshold"] += 2**23 / layer.steps
    with pytest.raises(CompileErrors):
        Network(tuned.tuned(), {})
    tuned.confine()
    Network(tuned.tuned(), {})


def test_wiring_is_left_alone():
    """The comparators of a max pool pass integers on; training would spoil them."""
    program = Case(pooled(), CODINGS["rate"], 8).quantization.program
    tuned = network(program)
    wiring = {
        group.id: node.id
        for node in program.populations
        for group in program.synapses_into(node)
        if set(np.unique(group.weight.values)) <= {-1, 0, 1}
    }
    assert len(wiring) >= 2
    with torch.no_grad():
        for tensor in tuned.parameters().values():
            tensor += 0.5
    after = tuned.tuned()
    for group, population in wiring.items():
        assert (after.graph[group].weight.values == program.graph[group].weight.values).all()
        for name in ("bias", "threshold"):
            one, other = (getattr(p.graph[population], name) for p in (program, after))
            assert (one.values == other.values).all()
    free = [node for node in program.populations if node.id not in wiring.values()]
    assert all((after.graph[n.id].bias.values != n.bias.values).any() for n in free)


def test_sparse_synapses_are_left_alone():
    program, _ = networks.structures(3, "subtract", 5)
    names = network(program).parameters()
    sparse = [node.id for node in program.graph if isinstance(node, SparseSynapses)]
    assert sparse
    assert not {f"{name}:weight" for name in sparse} & set(names)
