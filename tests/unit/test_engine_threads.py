"""Threads of the engine: no result depends on how many there are, nor on what they divide."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import networks
from engine_equality import assert_same
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import reference
from snn_compile.sim.engine import Engine, _piece_size
from wide_networks import wide

BATCHES = (1, 2, 3, 4, 5, 7)


def programs() -> Iterator[tuple[str, QuantizedGraph, np.ndarray]]:
    """Maps with few rows and many, vectors, blocks of channels, random spikes, many steps."""
    yield "rate", *networks.structures(2, "subtract", 40)
    yield "signed", *networks.structures(3, "signed", 5, poisson=True)
    yield "graded", *networks.structures(4, "graded", 1)
    yield "counts", *networks.structures(5, "clip-floor", 1)
    yield "a vector", *networks.mlp(6, "leaky", 33)
    yield "wide", *wide(7, 5)


@pytest.mark.parametrize(("program", "frames"), [pytest.param(*p[1:], id=p[0]) for p in programs()])
@pytest.mark.parametrize("shared", [False, True])
def test_any_batch_on_any_number_of_threads(
    build: str, program: QuantizedGraph, frames: np.ndarray, shared: bool
) -> None:
    frames = np.concatenate([frames] * 7)[: max(BATCHES)]
    engine = Engine(program, build=build, shared=shared)
    for n in BATCHES:
        expected = reference.run(program, frames[:n], record=True)
        for threads in (2, 3):
            for _ in range(2):  # how long a sample takes is known the second time
                found = engine.run(frames[:n], record=True, threads=threads)
                assert_same(found, expected, f"{n} on {threads}")


def test_callers_at_the_same_time(build: str) -> None:
    """The threads are those of all callers."""
    program, frames = networks.structures(2, "subtract", 40)
    expected = reference.run(program, frames)
    engines = [Engine(program, build=build, shared=shared) for shared in (False, True)]
    wrong: list[str] = []

    def call(engine: Engine) -> None:
        for _ in range(5):
            try:
                assert_same(engine.run(frames, threads=3), expected)
            except AssertionError as error:
                wrong.append(str(error))

    callers = [threading.Thread(target=call, args=[engine]) for engine in engines * 2]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_messages_out_of_range_end_all_threads(build: str) -> None:
    program, frames = networks.mlp(0, "graded", 1)
    low, high = program.inputs[0].messages
    bad = np.concatenate([frames, frames])[:, None].copy()
    bad[-1] = high + 1
    assert low <= bad[:-1].min()
    for shared in (False, True):
        engine = Engine(program, build=build, shared=shared)
        with pytest.raises(ValueError, match="outside its range"):
            engine.run_messages(bad, threads=3)
        good = engine.run(frames, threads=3)
        assert_same(good, reference.run(program, frames))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_has_threads_of_its_own(build: str) -> None:
    program, frames = networks.structures(2, "subtract", 40)
    engine = Engine(program, build=build, shared=True)
    expected = engine.run(frames, threads=2)
    child = os.fork()
    if not child:
        try:
            assert_same(engine.run(frames, threads=2), expected)
        except BaseException:  # noqa: BLE001  (the exit code says it)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("n", "inside", "outside", "n_steps", "size"),
    [
        (1, 2, 1, 8, 32),
        (4, 2, 1, 8, 32),
        (100, 2, 1, 8, 32),
        (100, 2, 1, 1, 128),
        (1000, 2, 1, 8, 128),
        (7, 1, 3, 8, 1),
        (100, 1, 2, 8, 12),
    ],
)
def test_stimuli_of_a_call(n: int, inside: int, outside: int, n_steps: int, size: int) -> None:
    assert _piece_size(n, inside, outside, n_steps) == size
