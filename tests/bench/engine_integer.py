"""Integer networks beside onnxruntime: a shared model in graded, sync and radix coding.

onnxruntime gets the same float file, as it is and quantized by its own tools (QDQ, bytes, weights
per channel), and the batch that suits it best. One thread, CPU time, all in turn in every round.
Before anything is timed, each build is compared with the reference (``==``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from engine_networks import SHARED, prepared_data
from engine_timing import Contestant, Spread, fastest, interleaved, ratios
from onnx import TensorProto, helper, version_converter
from onnxruntime.quantization.shape_inference import quant_pre_process
from quantized import OPSET, PER_CHANNEL

from snn_compile import compile_model
from snn_compile.sim import engine, reference

Array = npt.NDArray[Any]

CODINGS: dict[str, dict[str, Any]] = {
    "graded": {"coding": "graded"},
    "graded, 4-bit weights": {"coding": "graded", "weight_bits": 4},
    "sync T=16": {"coding": "sync", "timesteps": 16},
    "radix T=4": {"coding": "radix", "timesteps": 4},
}
GOALS = {"graded": 1.2, "graded, 4-bit weights": 1.0, "sync T=16": 1.2, "radix T=4": 1.2}
"""Times of the engine's best build, as multiples of onnxruntime's int8, that are wanted at most."""
INT8 = "onnxruntime int8"
BATCHES = (1, 4, 16, 64)
N_FRAMES = 64
"""Images of one call of the engine."""
CHECKED = 2


def measure(
    model: str, builds: list[str], n_rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Everything about one model, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        calibrate, images = prepared_data(model, Path(folder))
        contestants = [
            _onnxruntime(name, path, images)
            for name, path in _files(model, calibrate, Path(folder)).items()
        ]
        for name, changes in CODINGS.items():
            say(f"{model}: {name}")
            result = compile_model(
                SHARED / "models" / f"{model}.onnx",
                calibrate=calibrate,
                evaluate=(images, None),
                **changes,
            )
            frames = np.resize(result.stimulus, (N_FRAMES, *result.stimulus.shape[1:]))
            _check(result.program, frames, builds)
            contestants += _engines(name, result.program, frames, builds)
        say(f"{model}: {n_rounds} rounds of {len(contestants)}")
        times = interleaved(contestants, n_rounds, 1)
    return {
        "network": model,
        "int8_saturates": saturates(),
        "batches": {c.name: c.batch for c in contestants},
        "cpu_ms": {k: asdict(Spread.of(1e3 * v[:, 0])) for k, v in times.items()},
        "of_int8": {k: asdict(v) for k, v in ratios(times, INT8, 0).items()},
    }


def _engines(name: str, program: Any, frames: Array, builds: list[str]) -> list[Contestant]:
    """Each build, without and with counts of every neuron's messages."""

    def contestant(build: str, counts: bool) -> Contestant:
        prepared = engine.Engine(program, build=build)
        title = f"{name}, {build}" + (", counting" if counts else "")
        return Contestant(
            title, N_FRAMES, lambda threads: prepared.run(frames, threads=threads, activity=counts)
        )

    return [contestant(build, counts) for build in builds for counts in (False, True)]


def _check(program: Any, frames: Array, builds: list[str]) -> None:
    """Raises ValueError where a build and the reference differ."""
    expected = reference.run(program, frames[:CHECKED])
    for build in builds:
        found = engine.Engine(program, build=build).run(frames[:CHECKED])
        for what in ("outputs", "activity"):
            for node, values in getattr(expected, what).items():
                if not np.array_equal(getattr(found, what)[node], values):
                    raise ValueError(f"{build}: {what} of '{node}' differ")


def _files(model: str, calibrate: Array, folder: Path) -> dict[str, Path]:
    """The float file, and what onnxruntime makes of it."""
    written = onnx.load(SHARED / "models" / f"{model}.onnx")
    if written.opset_import[0].version < OPSET:
        written = version_converter.convert_version(written, OPSET)
    paths = {"onnxruntime float": folder / "float.onnx", INT8: folder / "int8.onnx"}
    quant_pre_process(written, paths["onnxruntime float"], skip_symbolic_shape=True)
    PER_CHANNEL.make(paths["onnxruntime float"], calibrate.astype(np.float32), paths[INT8])
    return paths


def _session(model: Any) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _onnxruntime(name: str, path: Path, images: Array) -> Contestant:
    """A file at its best batch."""
    session = _session(os.fspath(path))
    feed = session.get_inputs()[0]
    sizes = BATCHES if not isinstance(feed.shape[0], int) else (feed.shape[0],)

    def contestant(batch: int) -> Contestant:
        x = np.resize(images, (batch, *images.shape[1:])).astype(np.float32)
        return Contestant(name, batch, lambda _: session.run(None, {feed.name: x}))

    candidates = [contestant(batch) for batch in sizes]
    return candidates[fastest(candidates)]


def saturates() -> bool:
    """Whether onnxruntime's sums of bytes saturate on this CPU.

    Without an instruction that adds four products of bytes in 32 bits, it uses one that adds two in
    16: 255 * 127 twice is too much for that.
    """
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "largest sums",
        [
            helper.make_tensor_value_info("a", TensorProto.UINT8, [8, 64]),
            helper.make_tensor_value_info("b", TensorProto.INT8, [64, 32]),
        ],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [8, 32])],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    a, b = np.full((8, 64), 255, np.uint8), np.full((64, 32), 127, np.int8)
    found = _session(model.SerializeToString()).run(None, {"a": a, "b": b})[0]
    return not np.array_equal(found, a.astype(np.int64) @ b.astype(np.int64))


def verdicts(record: Mapping[str, Any], builds: list[str]) -> list[tuple[str, str, str, str]]:
    """Each goal: its title, what is required, what was measured, and whether that meets it."""
    rows = []
    for name, most in GOALS.items():
        for counting in ("", ", counting"):
            entry = record["of_int8"][f"{name}, {builds[0]}{counting}"]
            met = "met" if entry["median"] <= most else "MISSED"
            title = f"{record['network']}, {name}{counting}: times onnxruntime's int8"
            rows.append((title, f"<= {most}", str(Spread(**entry)), met))
    return rows
