"""What happens to a recording of sound before a network hears it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

FEATURES = ("samples", "log-mel", "mfcc")
TAPERS = ("hann", "hann-symmetric", "hamming", "none")
MEL = ("htk", "slaney")
LOGARITHMS = ("ln", "log10", "db")
KEPT = ("start", "centre", "end")
PADDED = ("after", "before", "both")
AXES = ("time,bands", "bands,time")
OWN: Mapping[str, Mapping[str, Any]] = {
    "samples": {},
    "log-mel": {"features": "log-mel"},
    "mfcc": {"features": "mfcc", "coefficients": 13},
}
"""Recipes by name, each with what it states beyond the defaults."""


@dataclass(frozen=True)
class AudioRecipe:
    """Features of a recording; everything is in samples and Hz, nothing follows from a library.

    Attributes:
        name: of the recipe that it began with.
        features: the samples from -1 to 1, logarithms of the energies of mel bands, or the
            cosine transform of these.
        rate: samples a second; a recording of another rate is refused.
        window: length of a frame in samples.
        hop: samples from the start of a frame to that of the next.
        fft: length of the transform, at least ``window``; 0 for the same.
        taper: of a frame. ``hann`` and ``hamming`` are periodic, as those of torch and librosa.
        bands: number of mel bands.
        lowest: of the bands, in Hz.
        highest: of the bands, in Hz; 0 for half the rate.
        mel: the scale, O'Shaughnessy's formula (htk) or Slaney's.
        area: whether each band has the same area (Slaney's) in place of the same height.
        power: of the magnitudes that bands add up: 2 for energies.
        log: natural, to base 10, or ten times that.
        offset: added to the energy of a band before the logarithm.
        floor: least energy of a band before that.
        coefficients: number of coefficients of the orthonormal cosine transform (DCT-II).
        mean: subtracted from the features: one value, or one for each band; none for 0.
        std: what they are divided by then; none for 1.
        step: features are rounded to multiples of it; 0 leaves them.
        keep: the part of a recording that is too long.
        pad: where silence goes if it is too short.
        axes: order of time and bands in the network's input.
        input: the input that takes sound, where there are several.
    """

    name: str = ""
    features: str = "samples"
    rate: int = 16000
    window: int = 400
    hop: int = 160
    fft: int = 0
    taper: str = "hann"
    bands: int = 40
    lowest: float = 0.0
    highest: float = 0.0
    mel: str = "htk"
    area: bool = False
    power: int = 2
    log: str = "ln"
    offset: float = 1e-6
    floor: float = 0.0
    coefficients: int = 0
    mean: tuple[str, ...] = ()
    std: tuple[str, ...] = ()
    step: float = 0.0
    keep: str = "start"
    pad: str = "after"
    axes: str = "time,bands"
    input: str = ""

    @property
    def stated(self) -> dict[str, Any]:
        """Options that it states: none, since the features themselves are normalized."""
        return {}

    @property
    def n_fft(self) -> int:
        """Length of the transform."""
        return self.fft or self.window

    @property
    def top(self) -> float:
        """The end of the highest band in Hz."""
        return self.highest or self.rate / 2

    @property
    def n_features(self) -> int:
        """Number of values of a frame."""
        return self.coefficients if self.features == "mfcc" else self.bands

    @property
    def text(self) -> str:
        """All that it states, as words that ``read_recipe`` reads."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value in ("", ()):
                continue
            shown = ",".join(value) if isinstance(value, tuple) else str(value)
            words.append(f"{field.name}={shown}")
        return " ".join(words)

    def described(self) -> str:
        """In words, for people."""
        name = self.name or "own recipe"
        if self.features == "samples":
            return f"{name}: {self.rate:,} samples a second, from -1 to 1"
        steps = [
            f"{self.rate:,} samples a second",
            f"frames of {self.window} every {self.hop} ({self.taper})",
            f"{self.bands} mel bands from {self.lowest:g} to {self.top:g} Hz",
            f"{self.log} of their energies",
        ]
        if self.features == "mfcc":
            steps.append(f"{self.coefficients} cosine coefficients")
        if self.mean or self.std:
            steps.append(f"(x - {', '.join(self.mean or '0')}) / ({', '.join(self.std or '1')})")
        return f"{name}: {' · '.join(steps)}"
