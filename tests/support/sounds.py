"""Small recordings of sound on the disk, and their features as numpy's own functions give them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt


def record(path: Path, sound: npt.NDArray[np.float64], rate: int = 8000, width: int = 2) -> Path:
    """A WAV file of a recording from -1 to 1, one column a channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = 2 ** (8 * width - 1)
    whole = np.clip(np.rint(sound * scale), -scale, scale - 1).astype(np.int64)
    stored = (whole + 128 if width == 1 else whole).astype("<i8")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1] if sound.ndim == 2 else 1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(stored.reshape(-1, 1).view(np.uint8)[:, :width].tobytes())
    return path


def noise(n: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Noise that swells, as samples of 16 bits."""
    random = np.random.default_rng(seed)
    return np.rint(random.normal(size=n) * np.linspace(1, 4000, n)) / 32768


def log_mel(sound: npt.NDArray[np.float64], rate: int, window: int, hop: int, bands: int):
    """Log energies (frames, bands) with periodic Hann windows and HTK's bands over all Hz."""
    starts = np.arange(0, len(sound) - window + 1, hop)[:, None] + np.arange(window)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power = np.abs(np.fft.rfft(sound[starts] * taper)) ** 2
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(window, 1 / rate)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.log(power @ np.maximum(np.minimum(rising, falling), 0).T + 1e-6)
