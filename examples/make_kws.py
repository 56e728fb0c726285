"""Train a spotter of spoken digits with a GRU, and write it as an ONNX file.

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset
    python examples/make_kws.py free-spoken-digit-dataset [-o FOLDER]

The Free Spoken Digit Dataset, by Zohar Jackson and others (CC BY-SA 4.0), has 3,000 recordings of
six speakers at 8 kHz. As its authors propose, recordings 0 to 4 of each speaker and digit are the
test set. Each recording becomes 32 frames of 16 log mel energies, computed here with numpy.

Written are ``kws_gru.onnx`` (a GRU of 32 cells over 32 steps, and a dense layer on its last
state), ``kws_calibrate.npz`` (features of training recordings) and ``kws_evaluate.npz`` (features
and digits of the test set). Needs torch, and takes a minute on two cores.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

RATE, WINDOW, HOP = 8000, 256, 160
"""Samples a second; a frame of 32 ms every 20 ms."""
N_FRAMES, N_BANDS, N_CELLS, N_DIGITS = 32, 16, 32, 10
LOWEST, HIGHEST = 100.0, 4000.0
"""Range of the mel bands in Hz."""
STEPS_PER_UNIT = 64
"""Features are multiples of 1/64, which keeps the files small."""
SEED, N_EPOCHS, BATCH = 0, 60, 64
N_TEST, N_CALIBRATE = 5, 256


class Spotter(nn.Module):
    """A GRU, and a dense layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(N_BANDS, N_CELLS, batch_first=True)
        self.classes = nn.Linear(N_CELLS, N_DIGITS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of (N, frames, bands) features."""
        states, _ = self.gru(x)
        logits: torch.Tensor = self.classes(states[:, -1])
        return logits


def main() -> None:
    """Compute features, train, write, and print the accuracy on the test set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="clone of free-spoken-digit-dataset")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--exporter", choices=("legacy", "dynamo"), default="legacy")
    arguments = parser.parse_args()
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    train, test = recordings(arguments.data)
    x_test = np.stack([features(sound) for sound, _ in test])
    y_test = np.array([digit for _, digit in test])
    model = trained(train)
    some = np.random.default_rng(SEED).permutation(len(train))[:N_CALIBRATE]
    calibrate = np.stack([features(train[k][0]) for k in some])
    np.savez_compressed(folder / "kws_calibrate.npz", x=calibrate)
    np.savez_compressed(folder / "kws_evaluate.npz", x=x_test, y=y_test)
    path = folder / "kws_gru.onnx"
    dynamo = arguments.exporter == "dynamo"
    any_batch = (
        {"dynamic_shapes": {"x": {0: torch.export.Dim("N")}}}
        if dynamo
        else {"dynamic_axes": {"features": {0: "N"}}}
    )
    torch.onnx.export(
        model,
        (torch.from_numpy(x_test[: 1 + dynamo]),),
        str(path),
        input_names=["features"],
        output_names=["logits"],
        dynamo=dynamo,
        external_data=False,
        **any_batch,
    )
    with torch.no_grad():
        found = model(torch.from_numpy(x_test)).argmax(dim=1).numpy()
    print(f"{path}: {(found == y_test).mean():.2%} of {len(y_test)} recordings")


def recordings(folder: Path) -> tuple[list[tuple[Floats, int]], list[tuple[Floats, int]]]:
    """Sounds and digits of the training and the test set."""
    train, test = [], []
    for path in sorted((folder / "recordings").glob("*.wav")):
        digit, _, number = path.stem.split("_")
        with wave.open(str(path)) as file:
            frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        one = frames.astype(np.float32) / 32768, int(digit)
        (test if int(number) < N_TEST else train).append(one)
    return train, test


def features(sound: Floats, offset: int = 0, gain: float = 1.0) -> Floats:
    """Log energies (frames, bands) of the last two thirds of a second, silence before.

    Args:
        sound: samples of magnitude 1 at most.
        offset: number of samples by which the recording ends earlier (or later).
        gain: factor of the samples.
    """
    length = WINDOW + (N_FRAMES - 1) * HOP
    padded = np.concatenate([np.zeros(2 * length), gain * sound, np.zeros(length)])
    end = 2 * length + min(len(sound), length) + offset  # long recordings lose their ends
    window = padded[end - length : end]
    starts = HOP * np.arange(N_FRAMES)[:, None] + np.arange(WINDOW)
    power = np.abs(np.fft.rfft(window[starts] * np.hanning(WINDOW))) ** 2
    energy = np.log10(power @ mel_bands().T + 1e-4)
    return (np.rint(energy * STEPS_PER_UNIT) / STEPS_PER_UNIT).astype(np.float32)


def mel_bands() -> Floats:
    """Triangular bands (bands, bins), equally spaced on the mel scale."""
    ends = 2595 * np.log10(1 + np.array([LOWEST, HIGHEST]) / 700)
    edges = 700 * (10 ** (np.linspace(*ends, N_BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


def trained(train: list[tuple[Floats, int]]) -> Spotter:
    """A model trained on shifted, louder and quieter recordings."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    model = Spotter()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=1e-3)
    n_steps = N_EPOCHS * (len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=n_steps)
    versions = [
        np.stack(
            [
                features(sound, int(random.integers(-600, 600)), 10 ** random.uniform(-0.5, 0.5))
                for sound, _ in train
            ]
        )
        for _ in range(12)
    ]
    y = torch.tensor([digit for _, digit in train])
    for epoch in range(N_EPOCHS):
        x = torch.from_numpy(versions[epoch % len(versions)])
        order = torch.from_numpy(random.permutation(len(train)))
        for k in range(len(train) // BATCH):
            some = order[k * BATCH : (k + 1) * BATCH]
            loss = nn.functional.cross_entropy(model(x[some]), y[some], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


if __name__ == "__main__":
    main()
