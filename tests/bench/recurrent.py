"""A keyword spotter with a GRU: where its accuracy goes, whether executors agree, Lava.

    python tests/bench/recurrent.py [MODEL] [--lava STIMULI] [--lava-steps N | --lava-parts N]

MODEL is ``examples/kws_gru.onnx`` (see ``examples/make_kws.py``) or another export of it. Prints
for each stage, on the recordings of the test set, the top-1 accuracy, the agreement with the float
network, and the root mean square error of the outputs as a share of their deviation; and whether
the engine equals the reference bit for bit. With ``--lava``, a network of fewer steps runs in Lava
too, whose simulation starts a process for every population and group of synapses. All steps at once
take some 16 GB. ``--lava-parts`` runs the whole network in parts that follow one another, each
given what the part before sends: if all are equal, the whole is, layer after layer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from network_parts import parts
from snn_backends.lava import LavaBackend
from snn_compile.codings.graded import Graded
from snn_compile.convert.calibrate import calibrate
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.lowering import lower
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.folding import fold
from snn_compile.report.evaluation import as_lines, levels_of, on_levels
from snn_compile.samples.arrays import Samples
from snn_compile.sim import ann, engine, reference
from snn_frontends.onnx import OnnxFrontend
from snn_frontends.onnx.runtime import OnnxRuntime

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
N_COMPARED = 16
"""Recordings for which every message of the engine is compared with the reference."""


def main() -> None:
    """Print the stages, and what was compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=EXAMPLES / "kws_gru.onnx")
    parser.add_argument("--lava", type=int, default=0, metavar="STIMULI")
    parser.add_argument("--lava-steps", type=int, default=8, metavar="N")
    parser.add_argument("--lava-parts", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    with np.load(EXAMPLES / "kws_calibrate.npz") as file:
        calibrate_x = file["x"]
    with np.load(EXAMPLES / "kws_evaluate.npz") as file:
        x, y = file["x"], file["y"]
    print(f"{len(x)} recordings\n")
    compiled = compile_model(
        arguments.model, calibrate=calibrate_x, coding="graded", target="loihi2", emit=()
    )
    print("stage         top-1 %  agreement %  error %")
    stages(arguments.model, calibrate_x, x, y, compiled.run(x))
    frames = compiled.encoding(x[:N_COMPARED])
    ours = engine.run(compiled.program, frames, record=True)
    right = reference.run(compiled.program, frames, record=True)
    equal = all(np.array_equal(ours.messages[k], right.messages[k]) for k in right.messages)
    equal &= all(np.array_equal(ours.outputs[k], right.outputs[k]) for k in right.outputs)
    neurons = sum(int(np.prod(node.shape)) for node in compiled.program.populations)
    print(
        f"\nengine and reference on {N_COMPARED} recordings: "
        f"{'equal, bit for bit' if equal else 'DIFFERENT'}"
    )
    synapses = sum(layer["synapses"] for layer in compiled.report["layers"])
    cores, n_steps = compiled.report["resources"]["cores"], compiled.report["total_steps"]
    print(f"{neurons:,} neurons, {synapses:,} synapses, {cores} cores, {n_steps} time steps")
    if arguments.lava and arguments.lava_parts:
        in_parts(compiled.program, frames[: arguments.lava], arguments.lava_parts)
    elif arguments.lava:
        in_lava(arguments.model, calibrate_x, x, arguments.lava, arguments.lava_steps)


def stages(
    path: Path, calibrate_x: np.ndarray, x: np.ndarray, y: np.ndarray, fixed: np.ndarray
) -> None:
    """Accuracy, agreement with the float network and error of its outputs, for each stage."""
    coding, network = Graded(), OnnxFrontend().read(path).ann
    folded = fold(network, coding, measured=True).graph
    options = CompileOptions().override({"coding": "graded"})
    lowered = lower(folded, calibrate(folded, calibrate_x), Samples(calibrate_x), options, coding)
    lines = as_lines(lowered.curves)
    levels = on_levels(lowered.scales, levels_of(folded, coding))
    exact = OnnxRuntime.of(path)
    scores = {
        "onnxruntime": exact(x) if exact is not None else ann.evaluate(network, x),
        "folded": ann.evaluate(folded, x),
        "lines": ann.evaluate(folded, x, operators=lines),
        "levels": ann.evaluate(folded, x, hook=levels, operators=lines),
        "fixed point": fixed,
    }
    right = scores["onnxruntime"].reshape(len(x), -1)
    for name, found in scores.items():
        answers = found.reshape(len(x), -1)
        accuracy = (answers.argmax(1) == y).mean()
        agreement = (answers.argmax(1) == right.argmax(1)).mean()
        error = np.sqrt(((answers - right) ** 2).mean()) / right.std()
        print(f"{name:12}{100 * accuracy:9.2f}{100 * agreement:13.2f}{100 * error:9.2f}")


def in_lava(path: Path, calibrate_x: np.ndarray, x: np.ndarray, n: int, n_steps: int) -> None:
    """Compile the layer over its last steps alone, and verify it in Lava."""
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = n_steps
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        short, compiled = Path(folder) / "short.onnx", Path(folder) / "compiled"
        onnx.save(model, short)
        compile_model(
            short,
            calibrate=calibrate_x[:, -n_steps:],
            evaluate=(x[:n, -n_steps:], None),
            coding="graded",
            target="loihi2",
            emit=("lava",),
        ).save(compiled)
        command = [sys.executable, str(ROOT / "toolchain"), "verify", str(compiled)]
        print(f"\n{n_steps} steps in Lava:", flush=True)
        subprocess.run([*command, "--stimuli", str(n), "--no-progress"], check=False)


def in_parts(program: QuantizedGraph, frames: np.ndarray, n: int) -> None:
    """Verify the whole network in Lava, part by part."""
    backend, began = LavaBackend(), time.monotonic()
    print("\npart  populations  values compared      s")
    for number, (part, given) in enumerate(parts(program, frames, n), 1):
        with tempfile.TemporaryDirectory() as folder:
            emitted = Path(folder) / "lava"
            emitted.mkdir()
            backend.emit(part, emitted, options={})
            start = time.monotonic()
            found = backend.verify(part, emitted, given, time_limit=3600.0, conv_stimuli=0)
        if not found.equal:
            raise SystemExit(f"part {number} differs: {found.first_divergence or found.details}")
        seconds = time.monotonic() - start
        print(f"{number:4}{len(part.populations):13}{found.compared:17,}{seconds:7.0f}", flush=True)
    print(f"all parts are equal, bit for bit: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
