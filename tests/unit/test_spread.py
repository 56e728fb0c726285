"""Evaluation over workers: the same report and the same seal as in this process."""

import numpy as np
import pytest

from snn_compile import workers
from snn_compile.errors import CompileError
from snn_compile.pipeline import spread
from snn_compile.pipeline.driver import compile_model
from snn_compile.report import shards

EXAMPLES = "examples"
DIGITS = f"{EXAMPLES}/digits_cnn.onnx"


@pytest.fixture(scope="module")
def two():
    with workers.local(2) as found:
        yield found


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "MOST_SAMPLES", 16)


def samples(n):
    with np.load(f"{EXAMPLES}/digits_evaluate.npz") as file:
        return file["x"][:n], file["y"][:n]


def without_times(report):
    return {key: value for key, value in report.items() if key != "timing"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coding": "rate", "input": "poisson", "timesteps": 4},
        {"coding": "sigma-delta"},
    ],
    ids=["graded", "poisson", "sigma-delta"],
)
def test_workers_evaluate_as_this_process_does(two, options):
    x, y = samples(70)
    given = {"calibrate": x[:32], "evaluate": (x, y), "target": "unlimited", **options}
    here = compile_model(DIGITS, **given)
    there = compile_model(DIGITS, **given, workers=two)
    assert without_times(here.report) == without_times(there.report)
    assert here._sealed() == there._sealed()
    assert [rung["n"] for rung in here.report["ladder"]] == [70] * len(here.report["ladder"])


def test_what_a_worker_raises_ends_the_compilation(two, monkeypatch):
    x, y = samples(40)
    monkeypatch.setattr(spread, "EVALUATE", f"{spread.__name__}:nowhere")
    with pytest.raises(CompileError, match=r"job '0' failed .*nowhere"):
        compile_model(DIGITS, evaluate=(x, y), target="unlimited", workers=two)


@pytest.mark.parametrize("shape", [(1,), (3, 32, 32), (3, 224, 224), (3, 4096, 4096), ()])
def test_shards_depend_on_the_sample_alone(shape, monkeypatch):
    monkeypatch.setattr(shards, "MOST_SAMPLES", 512)
    size = shards.shard_size(shape)
    assert 1 <= size <= 512
    assert size == 1 or 4 * size * np.prod(shape) <= shards.MOST_BYTES
    x = np.broadcast_to(np.float32(0), (2 * size + 1, *shape))
    found = list(shards.shards_of(x))
    assert [(s.start, len(s.x), len(s.before)) for s in found] == [
        (0, size, 0),
        (size, size, 1),
        (2 * size, 1, 1),
    ]
