"""How the compiled engine is called: threads, progress, single stimuli, refusals, lifetimes.

On every build that this CPU can run.
"""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from ctypes import Structure

import numpy as np
import pytest

import networks
from engine_equality import assert_same
from snn_compile.errors import UsageError
from snn_compile.sim import abi, engine, native, reference
from snn_compile.sim.engine import Engine

N_STEPS = 5


@pytest.fixture(scope="module")
def network():
    """A network with Poisson input, and forty stimuli."""
    program, frames = networks.structures(3, "subtract", N_STEPS, poisson=True)
    return program, np.concatenate([frames] * 7)[:40]


@pytest.fixture
def simulator(build, network):
    return Engine(network[0], build=build)


@pytest.fixture
def chosen(build, monkeypatch):
    """A build that whoever does not ask for one gets."""
    monkeypatch.setenv("SNN_COMPILE_ENGINE", build)
    return build


@pytest.fixture(scope="module")
def expected(network):
    return reference.run(*network, record=True)


@pytest.mark.parametrize("threads", [1, 2, 4, None])
def test_the_number_of_threads_does_not_matter(simulator, network, expected, threads):
    finished = []
    frames = network[1]
    found = simulator.run(frames, record=True, threads=threads, advance=finished.append)
    assert_same(found, expected)
    assert sum(finished) == len(frames)


def test_progress_is_told_piece_by_piece(simulator, network):
    frames = np.resize(network[1], (3 * engine.MAX_PIECE_SIZE, *network[1].shape[1:]))
    finished = []
    simulator.run(frames, threads=1, advance=finished.append)
    assert sum(finished) == len(frames)
    assert max(finished) <= engine.MAX_PIECE_SIZE


def test_no_stimulus_at_all(simulator, network):
    program, frames = network
    run = simulator.run(frames[:0], record=True)
    for node in program.readouts:
        assert run.outputs[node.id].shape == (0, *node.shape)
    for node in program.populations:
        assert run.messages[node.id].shape == (0, N_STEPS, *node.shape)
    assert not any(counts.any() for counts in run.activity.values())


def test_one_stimulus_is_that_of_many(simulator, network, expected):
    """``first`` says which one it is: its Poisson spikes are its own."""
    for index in (0, 1, 17):
        run = simulator.run(network[1][index : index + 1], first=index, record=True)
        for node, messages in run.messages.items():
            np.testing.assert_array_equal(messages[0], expected.messages[node][index])
    other = simulator.run(network[1][17:18], first=16, record=True)
    again = simulator.run(network[1][17:18], first=17, record=True)
    assert any((other.messages[n] != again.messages[n]).any() for n in again.messages)


def test_only_what_is_asked_for(simulator, network):
    run = simulator.run(network[1][:2], activity=False)
    assert not run.messages
    assert not run.activity
    assert run.outputs


def test_all_messages_of_a_run_lie_in_one_piece_of_memory(simulator, network):
    """Which goes back to the system as a whole, when the last of them goes."""
    messages = list(simulator.run(network[1], record=True).messages.values())
    lowest = min(m.__array_interface__["data"][0] for m in messages)
    highest = max(m.__array_interface__["data"][0] + m.nbytes for m in messages)
    owners = messages[:]
    while any(owner.base is not None for owner in owners):
        owners = [owner if owner.base is None else owner.base for owner in owners]
    assert len({id(owner) for owner in owners}) == 1
    start = owners[0].__array_interface__["data"][0]
    assert start <= lowest
    assert highest <= start + owners[0].nbytes
    pairs = [(a, b) for k, a in enumerate(messages) for b in messages[:k]]
    assert not any(np.shares_memory(a, b) for a, b in pairs)


def test_messages_in_place_of_frames(simulator, network, expected):
    program, frames = network
    messages = reference.input_messages(program, frames)
    assert_same(simulator.run_messages(messages, record=True), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_messages_that_are_the_same_at_every_step(simulator, network, dtype):
    program, frames = network
    once = np.sign(frames[:, None]).astype(dtype)
    expected = reference.run_messages(program, once, record=True)
    assert_same(simulator.run_messages(once, record=True), expected)
    often = np.repeat(once, N_STEPS, axis=1)
    assert_same(simulator.run_messages(often, record=True), expected)


@pytest.mark.parametrize("n_steps", [0, 2, N_STEPS + 1])
def test_messages_of_other_steps_are_refused(simulator, network, n_steps):
    shape = (2, n_steps, *network[0].input.shape)
    with pytest.raises(ValueError, match="steps"):
        simulator.run_messages(np.zeros(shape, np.int64))


@pytest.mark.parametrize("poisson", [True, False])
def test_messages_out_of_range_are_refused(build, poisson):
    program, _ = networks.structures(0, "subtract", N_STEPS, poisson=poisson)
    low, high = program.input.messages
    simulator = Engine(program, build=build)
    for value in (low - 1, high + 1):
        messages = np.zeros((3, N_STEPS, *program.input.shape), np.int64)
        messages[-1, -1, -1, -1, -1] = value
        with pytest.raises(ValueError, match="range"):
            simulator.run_messages(messages)
    assert simulator.run_messages(np.zeros((1, 1, *program.input.shape), np.int64)).outputs


@pytest.mark.parametrize("kind", ["subtract", "graded"])
def test_frames_out_of_range_are_refused(chosen, kind):
    program, frames = networks.structures(0, kind, 1 if kind == "graded" else N_STEPS)
    frames = frames.copy()
    for value in (program.input.low - 1, program.input.high + 1):
        frames[1, 0, 0, 0] = value
        for run in (reference.run, engine.run):
            with pytest.raises(ValueError, match="outside"):
                run(program, frames)


def test_several_callers_at_once(simulator, network, expected):
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(simulator.run, network[1], record=True, threads=2) for _ in range(8)]
        for run in runs:
            assert_same(run.result(), expected)


def test_an_engine_is_made_once_and_goes_with_its_network(chosen):
    program, frames = networks.mlp(0)
    engine.run(program, frames)
    first = engine.engine_for(program)
    assert first._library is native.load(chosen)
    assert engine.engine_for(program) is first
    alive = [weakref.ref(first), weakref.ref(program)]
    alive += [weakref.ref(handle) for handle in first._networks.values()]
    assert len(alive) == 3
    del program, first
    gc.collect()
    assert [it() for it in alive] == [None] * 3


def test_structures_that_are_not_those_of_the_library_are_refused(build, network, monkeypatch):
    *fields, last = abi.Batch._fields_

    class Batch(Structure):
        _fields_ = (last, *fields)

    monkeypatch.setattr(abi, "Batch", Batch)
    with pytest.raises(RuntimeError, match="different structures"):
        Engine(network[0], build=build).run(network[1])


def test_a_build_that_there_is_not(network):
    with pytest.raises(UsageError, match="sse9"):
        Engine(network[0], build="sse9")


def test_without_an_engine_the_reference_answers(monkeypatch, network, expected):
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    assert_same(engine.run(*network, record=True), expected)
    assert engine.simulator() == (
        "reference (no compiled engine: switched off by SNN_COMPILE_ENGINE)"
    )


def test_the_simulator_says_which_build_it_is(chosen):
    assert engine.simulator() == f"engine {chosen}"


def test_the_best_build_is_the_first(monkeypatch, compiled_engine):
    monkeypatch.delenv("SNN_COMPILE_ENGINE", raising=False)
    assert native.status().build == compiled_engine[0]
