"""The keyword spotter with a GRU, all of its steps, in Lava: in parts that follow one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from network_parts import parts
from recurrent_models import recurrent, samples
from snn_backends.lava import LavaBackend
from snn_compile.pipeline.driver import compile_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("n", [1, 3, 1000])
def test_parts_are_the_whole(tmp_path, n):
    path = tmp_path / "net.onnx"
    path.write_bytes(recurrent("GRU", "B", only="last").SerializeToString())
    program = compile_model(path, coding="graded", target="unlimited", emit=()).program
    frames = np.random.default_rng(0).integers(
        program.input.low, program.input.high, (3, *program.input.shape), endpoint=True
    )
    found = [part for part, _ in parts(program, frames, n)]  # compares every message
    assert (len(found) == 1) == (n == 1)
    assert max(map(len, (part.graph for part in found))) <= len(program.graph) + 2


def test_a_network_that_keeps_a_state_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(recurrent("RNN", "B", only="last").SerializeToString())
    compiled = compile_model(
        path, calibrate=samples(8), coding="sigma-delta", target="unlimited", emit=()
    )
    with pytest.raises(ValueError, match="without time"):
        next(parts(compiled.program, compiled.stimulus, 2))


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.usefixtures("lava_environment")
def test_the_keyword_spotter(tmp_path):
    with np.load(EXAMPLES / "kws_calibrate.npz") as file:
        x = file["x"]
    compiled = compile_model(
        EXAMPLES / "kws_gru.onnx", calibrate=x, coding="graded", target="loihi2", emit=()
    )
    backend, verified = LavaBackend(), 0
    for number, (part, given) in enumerate(parts(compiled.program, compiled.stimulus[:2], 10)):
        emitted = tmp_path / str(number)
        emitted.mkdir()
        backend.emit(part, emitted, options={})
        found = backend.verify(part, emitted, given, time_limit=3600.0, conv_stimuli=0)
        assert found.equal, (number, found.first_divergence, found.details)
        verified += sum(not node.id.endswith("/probe") for node in part.populations)
    assert verified == len(compiled.program.populations)
