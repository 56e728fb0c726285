"""Features of sound, with the same bits on every machine.

They are calibration samples, which decide integers: transforms are products of
``snn_compile.numerics``, and functions are its own (docs/decisions/0017-sums-in-any-order.md).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from snn_compile.numerics.products import Float, matmul
from snn_compile.numerics.special import cos, log, sin
from snn_compile.recipes import AudioRecipe

_LN10 = float.fromhex("0x1.26bb1bbb55516p+1")
_TURN = float.fromhex("0x1.921fb54442d18p+2")
_WHILE = 12
"""Arrays of the transform's size while it is made."""


def features(sound: Float, recipe: AudioRecipe) -> npt.NDArray[np.float32]:
    """Features of a recording that has just the samples that they need.

    Args:
        sound: (samples,) from -1 to 1.
        recipe: of the features.

    Returns:
        (samples,), or (frames, features).
    """
    values = sound if recipe.features == "samples" else _of_bands(sound, recipe)
    mean, std = (np.array([float(v) for v in some]) for some in (recipe.mean, recipe.std))
    if mean.size:
        values = values - mean
    if std.size:
        values = values / std
    if recipe.step:
        values = np.rint(values / recipe.step) * recipe.step
    return values.astype(np.float32)


def n_samples(recipe: AudioRecipe, n_frames: int) -> int:
    """Number of samples in so many frames."""
    return recipe.window + (n_frames - 1) * recipe.hop


def n_bytes(recipe: AudioRecipe, n_frames: int) -> int:
    """Memory, at most, that the features of so many frames take while they are computed."""
    if recipe.features == "samples":
        return 0
    bins, window = recipe.n_fft // 2 + 1, recipe.window
    return 8 * (_WHILE * window * bins + n_frames * (3 * window + 4 * bins + 4 * recipe.bands))


def _of_bands(sound: Float, recipe: AudioRecipe) -> Float:
    """Log energies of mel bands, or their cosine transform, (frames, features)."""
    starts = np.arange(0, len(sound) - recipe.window + 1, recipe.hop)
    frames = sound[starts[:, None] + np.arange(recipe.window)] * taper(recipe)
    real, imaginary = (matmul(frames, part) for part in _transform(recipe.window, recipe.n_fft))
    power = real * real + imaginary * imaginary
    if recipe.power == 1:
        power = np.sqrt(power)
    energy = matmul(power, mel_bands(recipe).T)
    found = log(np.maximum(energy, recipe.floor) + recipe.offset)
    if recipe.log != "ln":
        found = found / _LN10
    if recipe.log == "db":
        found = found * 10
    return found if recipe.features == "log-mel" else matmul(found, _cosines(recipe))


@lru_cache(maxsize=4)
def _transform(window: int, n_fft: int) -> tuple[Float, Float]:
    """Real and imaginary part of the discrete Fourier transform of a frame, (window, bins)."""
    turns = np.outer(np.arange(window), np.arange(n_fft // 2 + 1)) % n_fft
    angle = turns * (_TURN / n_fft)
    return cos(angle), -sin(angle)


@lru_cache(maxsize=4)
def taper(recipe: AudioRecipe) -> Float:
    """The factor of each sample of a frame, (window,)."""
    n = recipe.window - (recipe.taper == "hann-symmetric")
    if recipe.taper == "none" or n < 1:
        return np.ones(recipe.window)
    middle = 0.54 if recipe.taper == "hamming" else 0.5
    factors: Float = middle - (1 - middle) * cos(np.arange(recipe.window) * (_TURN / n))
    return factors


@lru_cache(maxsize=4)
def mel_bands(recipe: AudioRecipe) -> Float:
    """Triangular bands that are equally spaced on the mel scale, (bands, bins)."""
    low, high = (_mel(hertz, recipe.mel) for hertz in (recipe.lowest, recipe.top))
    places = low + (high - low) * np.arange(recipe.bands + 2) / (recipe.bands + 1)
    edges = np.array([_hertz(place, recipe.mel) for place in places])
    bins = np.arange(recipe.n_fft // 2 + 1) * (recipe.rate / recipe.n_fft)
    steps = np.maximum(np.diff(edges), np.finfo(np.float64).tiny)
    rising = (bins - edges[:-2, None]) / steps[:-1, None]
    falling = (edges[2:, None] - bins) / steps[1:, None]
    bands: Float = np.maximum(np.minimum(rising, falling), 0)
    return bands * (2 / (edges[2:] - edges[:-2]))[:, None] if recipe.area else bands


_SLANEY = (200 / 3, 1000.0, math.log(6.4) / 27)
"""Hz in a mel below 1000 Hz, and the logarithm of the ratio of two mels above."""


def _mel(hertz: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * float(log(1 + hertz / 700)) / _LN10
    linear, corner, step = _SLANEY
    if hertz < corner:
        return hertz / linear
    return corner / linear + float(log(hertz / corner)) / step


def _hertz(mel: float, scale: str) -> float:
    from snn_compile.numerics.functions import exp

    if scale == "htk":
        return 700 * (float(exp(mel / 2595 * _LN10)) - 1)
    linear, corner, step = _SLANEY
    at_corner = corner / linear
    return mel * linear if mel < at_corner else corner * float(exp((mel - at_corner) * step))


def _cosines(recipe: AudioRecipe) -> Float:
    """The orthonormal cosine transform (DCT-II), (bands, coefficients)."""
    n, k = recipe.bands, np.arange(recipe.coefficients)
    angle = np.outer(2 * np.arange(n) + 1, k) * (_TURN / (4 * n))
    scale = np.where(k == 0, math.sqrt(1 / n), math.sqrt(2 / n))
    return cos(angle) * scale
