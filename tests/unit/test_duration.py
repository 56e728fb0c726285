"""How long a comparison will take: counted in stimuli, in the time of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from snn_backends.lava.backend import LavaBackend
from snn_compile import CompiledModel, compile_model
from snn_compile.hil.duration import Foreseeable, Speed
from snn_compile.plugins import BACKENDS
from snn_compile.sim import engine, native

SPEED = Speed(reference=(1.0, 10.0), engine=(0.25, 0.5))


@pytest.fixture(scope="module")
def compiled(examples: Path) -> CompiledModel:
    return compile_model(examples / "digits_mlp.onnx", emit="")


def test_every_stimulus_counts(compiled: CompiledModel) -> None:
    assert SPEED.expected("golden", None, compiled.program, 7) == (7.0, 70.0)
    if not engine.no_engine(compiled.program):
        builds = len(native.builds())
        wanted = (7 + 7 * builds * 0.25, 70 + 7 * builds * 0.5)
        assert SPEED.expected("engine", None, compiled.program, 7) == wanted


def test_a_backend_that_says_nothing_is_not_guessed(compiled: CompiledModel) -> None:
    assert SPEED.expected("csv", object(), compiled.program, 7) is None


def test_our_own_backends_say_how_long_they_take(compiled: CompiledModel) -> None:
    for name in ("lava", "nir", "netx"):
        backend = BACKENDS.load(name)
        assert isinstance(backend, Foreseeable), name
        low, high = SPEED.expected(name, backend, compiled.program, 7) or (1.0, 0.0)
        assert 7.0 <= low < high


def test_more_stimuli_take_lava_longer(compiled: CompiledModel) -> None:
    few, many = (LavaBackend().expected_seconds(compiled.program, n, (1, 1)) for n in (10, 1000))
    assert all(a < b for a, b in zip(few, many, strict=True))


def test_the_speed_is_measured(compiled: CompiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from snn_compile.hil import duration

    ticks = iter(range(100))
    monkeypatch.setattr(duration.time, "perf_counter", lambda: float(next(ticks)))
    measured = Speed.measure(compiled.program, compiled.stimulus)
    assert measured.reference == (0.2, 2.0)
    assert measured.engine == (0.2, 2.0)
