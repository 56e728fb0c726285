"""The table of the how-to about onnxruntime: emitted ONNX files of the shared models and examples.

    python tests/bench/onnx_out.py [MODEL ...] [--codings graded sync radix] [--stimuli 64]

Each model is compiled in three codings with 8-bit weights. "compared" counts what every neuron
sends in a pass of `integers.onnx`, and the outputs of `model.onnx`; "differing" is how many are not
the reference's. The file for accelerators, `qdq.onnx`, may differ: the table says for how many
stimuli the largest output is the same, and by how much an output is off, relative to the largest.
Times are those of the processor for a sample, on one thread of onnxruntime and in a batch of 16, of
the user's float file and of `model.onnx`, the least of seven. With --compiled FOLDER, compiled
networks are kept there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import shared_models
import w8a8

from snn_backends.onnx_integers import file, qdq, verifier
from snn_compile import CompiledModel, compile_model
from snn_compile.errors import CompileError
from snn_compile.ir.schedule import integer_network
from snn_compile.sim import reference

ROOT = Path(__file__).resolve().parents[2]
CODINGS = ("graded", "sync", "radix")
EXAMPLES = {
    "digits_mlp": "digits",
    "digits_cnn": "digits",
    "kws_gru": "kws",
    "fashion_mobile": "",
    "fashion_silu": "",
    "denoise_unet": "",
}
"""Calibration data of each, if there are any."""
UNLABELLED = ("face_slim320",)
"""Shared models without data."""
BATCH, REPEATS = 16, 7
HEAD = (
    "| model | coding | operators | file | compared | differing | same largest output in QDQ"
    " | QDQ off by | float | integers |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def source(model: str) -> Path:
    if model in EXAMPLES:
        return ROOT / "examples" / f"{model}.onnx"
    return w8a8.SHARED / "models" / f"{model}.onnx"


def compiled(model: str, coding: str, calibrate: int, keep: Path | None) -> CompiledModel:
    folder = keep / f"c_{model}_{coding}" if keep else None
    if folder is not None and folder.is_dir():
        return CompiledModel.load(folder)
    x: np.ndarray | None = None
    if model in EXAMPLES:
        if EXAMPLES[model]:
            x = np.load(ROOT / "examples" / f"{EXAMPLES[model]}_calibrate.npz")["x"]
    elif model in UNLABELLED:
        pass
    else:
        with tempfile.TemporaryDirectory() as scratch:
            x, *_ = shared_models.prepare(model, Path(scratch), 10)
    some = None if x is None else x[:calibrate]
    made = compile_model(source(model), calibrate=some, coding=coding, emit=("onnx",))
    if folder is not None:
        made.save(folder)
    return made


def session(content: Any) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def milliseconds(run: Any, x: dict[str, np.ndarray]) -> float:
    """Of the processor for a sample, the least of several calls."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        run.run(None, x)
        times.append(time.process_time() - begin)
    return 1000 * min(times) / BATCH


def differing(model: CompiledModel, frames: np.ndarray) -> tuple[int, int]:
    """Integers compared, and how many differ."""
    at_once = integer_network(model.program)
    run = verifier.session(file.content(file.model(model.program, every_message=True)))
    compared = unequal = 0
    for first, expected in reference.record_runs(at_once, frames):
        piece = frames[first : first + expected.n_stimuli]
        sent = run.run(None, verifier.fed(run, at_once, piece))
        for node, actual in zip(at_once.populations, sent, strict=True):
            compared += actual.size
            unequal += int((expected.messages[node.id] != actual[:, None]).sum())
    return compared, unequal


def float_time(model: str, batch: np.ndarray) -> float:
    run = session(str(source(model)))
    (entry,) = run.get_inputs()
    try:
        return milliseconds(run, {entry.name: batch})
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:  # one sample at a time
        return BATCH * milliseconds(run, {entry.name: batch[:1]})


def row(name: str, coding: str, given: argparse.Namespace) -> str:
    model = compiled(name, coding, given.calibrate, given.compiled)
    program, borders = model.program, file.Borders(model.encoding, model.decodings)
    frames = np.asarray(model.stimulus[: given.stimuli], np.int64)
    compared, unequal = differing(model, frames)
    more, wrong = verifier.compare_reals(program, borders, frames)
    made = file.model(program, borders)
    content = file.content(made)
    same = off = "—"
    if not qdq.obstacle(program):
        found = verifier.deviation(program, borders, frames)
        same = f"{100 * found.n_same / found.n_outputs:.1f} %"
        off = f"{100 * found.relative:.2g} %"
    batch = np.resize(verifier.reals(borders, frames), (BATCH, *model.encoding.shape))
    exact = milliseconds(session(content), verifier.by_input(program, borders, batch))
    cells = (
        name,
        coding,
        len(made.graph.node),
        f"{len(content) / 1e3:,.0f} kB",
        f"{compared + more:,}",
        f"{unequal + len(wrong):,}",
        same,
        off,
        f"{float_time(name, batch):.3g} ms",
        f"{exact:.3g} ms",
    )
    return f"| {' | '.join(map(str, cells))} |"


def rows(given: argparse.Namespace) -> Iterator[str]:
    for name in given.models:
        for coding in given.codings:
            try:
                yield row(name, coding, given)
            except CompileError as error:  # no network in this coding
                print(f"{name}, {coding}: {error.code}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*EXAMPLES, *w8a8.MODELS, *UNLABELLED]
    parser.add_argument("models", nargs="*", default=known)
    parser.add_argument("--codings", nargs="+", default=CODINGS)
    parser.add_argument("--compiled", type=Path, help="keep compiled folders here")
    parser.add_argument("--calibrate", type=int, default=256)
    parser.add_argument("--stimuli", type=int, default=64)
    arguments = parser.parse_args()
    print(HEAD)
    for line in rows(arguments):
        print(line, flush=True)


if __name__ == "__main__":
    main()
