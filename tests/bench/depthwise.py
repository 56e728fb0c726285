"""What depthwise networks lose, where, and which remedy wins it back.

    python tests/bench/depthwise.py [NETWORK ...] [--speech FOLDER] [--images 1000]
                                    [--folder small_networks] [--cells w4 rate32 ...]
                                    [--rounding compensated] [--layers]

Depthwise separable networks in the form of MLPerf Tiny's keyword spotter (a convolution of 64
channels, four blocks of a depthwise and a pointwise one, each with batch normalization and a
rectifier, a mean over the map, a dense layer), with ReLU or ReLU6, trained here with torch, one
seed: ``fashion_ds_...`` on 10,000 images of Fashion-MNIST, ``speech_ds_...`` on 2,000 spoken digits
of four speakers, tested on the other two. ``--speech`` is a clone of Free Spoken Digit Dataset
(github.com/Jakobovski/free-spoken-digit-dataset); features are those of ``examples/make_kws.py``.

Printed are, for each cell of ``CELLS``, the points lost against the file in floating point, how
many answers agree, and the squared error of the outputs as a share of their variance; ``--layers``
adds what the report says of each layer. A network that the folder has already is not trained again.
Half a minute to train each, ten seconds a cell.
"""

from __future__ import annotations

import argparse
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from small_networks import CALIBRATION, SEED, Labelled, as_onnx, images_of

from snn_compile import compile_model

NAMES = ("fashion_ds_relu", "fashion_ds_relu6", "speech_ds_relu", "speech_ds_relu6")
TOLD_LAYERS = 100
"""Samples that ``--layers`` looks at."""
CHANNELS, BLOCKS = 64, 4
EPOCHS, SPEECH_EPOCHS, BATCH, RATE = 10, 16, 100, 3e-3
NOISE = 0.15
"""Standard deviation of the noise that is added to logarithms of energies in training."""
UNHEARD = ("theo", "yweweler")
CELLS: dict[str, dict[str, Any]] = {
    "w8": {"coding": "graded"},
    "w4": {"coding": "graded", "weight_bits": 4},
    "sync4": {"coding": "sync", "timesteps": 4},
    "sync16": {"coding": "sync", "timesteps": 16},
    "sync32": {"coding": "sync", "timesteps": 32},
    "radix4": {"coding": "radix", "timesteps": 4},
    "radix4w4": {"coding": "radix", "timesteps": 4, "weight_bits": 4},
    "rate32": {"coding": "rate", "timesteps": 32},
}


def load(name: str, arguments: argparse.Namespace) -> Labelled:
    """A network of ``NAMES`` with its first test samples; it is trained if need be."""
    path = arguments.folder / f"{name}.onnx"
    if name.startswith("speech"):
        x_train, y_train, x, y = speech(arguments.speech, arguments.folder / "speech.npz")
    else:
        x_train, y_train, x, y = images_of("fashion_mnist", flat=False)
    if not path.exists():
        arguments.folder.mkdir(parents=True, exist_ok=True)
        onnx.save(train(name, x_train, y_train), path)
    return Labelled(path, x_train[:CALIBRATION], x[: arguments.images], y[: arguments.images])


def speech(folder: Path, kept: Path) -> tuple[np.ndarray, ...]:
    """Features (N, 1, 32, 16) and digits of four speakers, and of two others, in random order."""
    if not kept.exists():
        sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
        import make_kws

        random, parts = np.random.default_rng(SEED), ([], [])
        for path in sorted((folder / "recordings").glob("*.wav")):
            digit, speaker, _ = path.stem.split("_")
            with wave.open(str(path)) as file:
                frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            offset = 0 if speaker in UNHEARD else int(random.integers(-600, 600))
            features = make_kws.features(frames.astype(np.float32) / 32768, offset)
            parts[speaker in UNHEARD].append((features[None], int(digit)))
        arrays = []
        for part in parts:
            order = random.permutation(len(part))
            arrays += [np.stack([part[k][0] for k in order]), np.array([part[k][1] for k in order])]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, *arrays)
    with np.load(kept) as file:
        return tuple(file[f"arr_{k}"] for k in range(4))


def train(name: str, x: np.ndarray, y: np.ndarray) -> onnx.ModelProto:
    """Train with Adam, a cosine schedule and shifts of the samples, and write it as ONNX."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rectifier = nn.ReLU6 if name.endswith("relu6") else nn.ReLU
    of_sound = name.startswith("speech")

    def block(n_in: int, n_out: int, taps: tuple[int, int], **more: Any) -> list[nn.Module]:
        around = (taps[0] // 2, taps[1] // 2)
        convolution = nn.Conv2d(n_in, n_out, taps, padding=around, bias=False, **more)
        return [convolution, nn.BatchNorm2d(n_out), rectifier()]

    layers = block(1, CHANNELS, (9, 3) if of_sound else (3, 3), stride=2)
    for k in range(BLOCKS):
        stride = 1 if k or of_sound else 2
        layers += block(CHANNELS, CHANNELS, (3, 3), groups=CHANNELS, stride=stride)
        layers += block(CHANNELS, CHANNELS, (1, 1))
    layers += [nn.AvgPool2d((16, 8) if of_sound else 7), nn.Flatten(), nn.Linear(CHANNELS, 10)]
    network = nn.Sequential(*layers)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    n_epochs = SPEECH_EPOCHS if of_sound else EPOCHS
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, weight_decay=1e-4)
    n_steps = n_epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            reach = (4, 1) if of_sound else (2, 2)
            moved = [int(torch.randint(1 - n, n, (1,))) for n in reach]
            some = inputs[rows].roll(moved, (2, 3))
            if of_sound:
                some = some + NOISE * torch.randn_like(some)
            elif torch.rand(1) < 0.5:
                some = some.flip(3)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(some), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return as_onnx(network.eval(), x.shape[1:])


def measure(network: Labelled, exact: np.ndarray, **options: Any) -> tuple[float, float, float]:
    """Points lost and agreement with the float file in percent, and the error of the outputs."""
    compiled = compile_model(
        network.path, calibrate=network.calibrate, target="unlimited", emit=(), **options
    )
    run = compiled.simulate(network.x)
    output, decoding = next(iter(compiled.decodings.items()))
    found = decoding(run.outputs[output]).reshape(len(network.x), -1)
    answers, wanted = found.argmax(axis=1), exact.argmax(axis=1)
    lost = float((wanted == network.y).mean() - (answers == network.y).mean())
    error = np.square(found - exact).sum() / np.square(exact - exact.mean(axis=0)).sum()
    return 100 * lost, 100 * float((answers == wanted).mean()), float(error)


def tell_layers(network: Labelled, **options: Any) -> None:
    """What the report says of each layer's activations."""
    some = network.x[:TOLD_LAYERS], network.y[:TOLD_LAYERS]
    report = compile_model(
        network.path,
        calibrate=network.calibrate,
        evaluate=some,
        target="unlimited",
        emit=(),
        **options,
    ).report
    for layer in report["layers"]:
        told = (f"{key} {layer[key]:.3f}" for key in TOLD if layer[key] is not None)
        print(f"    {layer['name']:10} {layer['op']:6}", *told, flush=True)


TOLD = ("rate", "dead", "sqnr_db", "saturated", "uneven", "output_share")


def main() -> None:
    """Train what is missing, and print what each cell loses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--speech", type=Path, default=Path("free-spoken-digit-dataset"))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("small_networks"))
    parser.add_argument("--cells", nargs="*", default=list(CELLS))
    parser.add_argument("--rounding", default="compensated")
    parser.add_argument("--layers", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.names:
        network = load(name, arguments)
        session = onnxruntime.InferenceSession(str(network.path))
        (exact,) = session.run(None, {"x": network.x})
        right = 100 * (exact.argmax(axis=1) == network.y).mean()
        print(f"{name}: {right:.2f} % of {len(exact)}", flush=True)
        for cell in arguments.cells:
            begin = time.process_time()
            options = CELLS[cell] | {"rounding": arguments.rounding}
            lost, same, error = measure(network, exact, **options)
            seconds = time.process_time() - begin
            said = f"{lost:6.2f} lost, {same:6.2f} agree, error {error:.4f}, {seconds:.0f} s"
            print(f"  {cell:9} {said}", flush=True)
            if arguments.layers:
                tell_layers(network, **options)


if __name__ == "__main__":
    main()
