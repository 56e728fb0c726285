"""What the payloads of a network without ReLU cost: the examples with SiLU, gates and a U-Net.

    python tests/bench/activations.py [--images 10000] [--lava 1] [--markdown]

For each network of ``examples/make_activations.py``: what onnxruntime makes of the file on the test
images of Fashion-MNIST, and what the network in fixed point does (graded, 8-bit weights and
payloads, 1,024 unlabelled calibration images). Classifiers are judged by top-1 accuracy, the U-Net
by the mean squared error against the images without noise. Engine and reference have to be equal in
every message of the first images, and so has Lava for as many as ``--lava`` asks for.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from rich.console import Console
from rich.table import Table

from snn_backends.lava import LavaBackend
from snn_compile import CompiledModel, compile_model
from snn_compile.sim import engine, reference

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ("fashion_silu", "fashion_mobile", "denoise_unet")
CALIBRATE = 1024
NOISE = 0.25
"""As in ``examples/make_activations.py``; another generator draws it here."""
REPLAYED = 2
"""Images whose every message is compared between engine and reference."""
Array = npt.NDArray[np.float32]


def images() -> dict[str, Array]:
    """The shared images, from 0 to 1, and their labels."""
    shared = Path(os.environ.get("SNN_COMPILE_DATA") or ROOT.parent / "shared")
    with np.load(shared / "data" / "fashion_mnist.npz") as data:
        pixels = {k: (data[k][:, None] / 255).astype(np.float32) for k in ("x_calib", "x_test")}
        return {**pixels, "y_test": data["y_test"]}


def noisy(x: Array, seed: int) -> Array:
    """Images with Gaussian noise."""
    noise = np.random.default_rng(seed).normal(size=x.shape) * NOISE
    return np.clip(x + noise, 0, 1).astype(np.float32)


def in_float(path: Path, x: Array) -> Array:
    """What onnxruntime says of images, a few at a time."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pieces = np.array_split(x, max(1, len(x) // 500))
    return np.concatenate([session.run(None, {"input": piece})[0] for piece in pieces])


def error(answers: npt.NDArray[np.floating], wanted: npt.NDArray[np.generic]) -> float:
    """Percent of wrong classes for labels, else the mean squared error."""
    if wanted.ndim == 1:
        return 100 * float((answers.reshape(len(answers), -1).argmax(axis=1) != wanted).mean())
    return float(((answers.reshape(wanted.shape) - wanted) ** 2).mean())


def row(name: str, n_images: int, n_lava: int) -> list[str]:
    """A network's line of the table.

    Raises:
        RuntimeError: two executors differ.
    """
    data = images()
    x, calibrate = data["x_test"][:n_images], data["x_calib"][:CALIBRATE]
    wanted: npt.NDArray[np.generic] = data["y_test"][:n_images]
    if name == "denoise_unet":
        x, calibrate, wanted = noisy(x, 2), noisy(calibrate, 3), x
    path = ROOT / "examples" / f"{name}.onnx"
    compiled = compile_model(path, calibrate=calibrate, coding="graded", target="unlimited")
    frames = compiled.encoding(x[:REPLAYED])
    ours = engine.run(compiled.program, frames, record=True).messages
    theirs = reference.run(compiled.program, frames, record=True).messages
    if not all(np.array_equal(ours[key], messages) for key, messages in theirs.items()):
        raise RuntimeError(f"{name}: engine and reference differ")
    if n_lava and not equal_on_lava(compiled, x[:n_lava]):
        raise RuntimeError(f"{name}: Lava differs")
    before, after = error(in_float(path, x), wanted), error(compiled.run(x), wanted)
    if wanted.ndim == 1:
        lost = f"{after - before:+.2f} points"
        return [name, f"{100 - before:.2f} %", f"{100 - after:.2f} %", lost]
    return [name, f"{before:.6f}", f"{after:.6f}", f"{100 * (after / before - 1):+.2f} %"]


def equal_on_lava(compiled: CompiledModel, x: Array) -> bool:
    """Whether Lava sends what the reference sends, every message of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "lava"
        compiled.emit("lava", folder)
        outcome = LavaBackend().verify(compiled.program, folder, compiled.encoding(x))
    return bool(outcome.equal)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--lava", type=int, default=0, metavar="N", help="images to run on Lava")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    titles = ("network", "float", "graded, 8 bit", "lost")
    rows = [row(name, arguments.images, arguments.lava) for name in NETWORKS]
    if arguments.markdown:
        for cells in (titles, ("---", *["---:"] * 3), *rows):
            print(f"| {' | '.join(cells)} |")
        return
    table = Table(*titles)
    for cells in rows:
        table.add_row(*cells)
    Console().print(table)


if __name__ == "__main__":
    main()
