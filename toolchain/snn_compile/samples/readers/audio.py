"""Recordings of sound in WAV files, as the features that a recipe states."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from snn_compile.files.documents import DamagedError, TooLargeError, check_size, too_large
from snn_compile.ir.graph import Shape
from snn_compile.numerics.products import Float
from snn_compile.recipes import AudioRecipe
from snn_compile.samples.readers.content import Content, Request, complaint
from snn_compile.samples.readers.decoded import DecodedRows, UnusableError
from snn_compile.samples.readers.features import features, n_bytes, n_samples
from snn_compile.samples.readers.kept import KeptRows

_FORMATS = {
    "2": "ADPCM",
    "3": "floating point",
    "6": "A-law",
    "7": "µ-law",
    "17": "ADPCM",
    "49": "GSM",
    "85": "MP3",
    "65534": "an extensible format",
}
"""Kinds of samples other than integers (PCM), by their numbers in the file."""
_CONVERT = "convert it to integer samples, one channel: ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT.wav"


class OtherRateError(UnusableError):
    """A recording of another rate than the recipe's."""

    code = "wrong-shape"
    hint = "state its rate in the recipe, if the network was trained so; else convert the file"


class OtherSamplesError(UnusableError):
    """A recording whose samples are not integers of one channel."""

    hint = _CONVERT


@dataclass(frozen=True)
class Decoder:
    """From a WAV file to the values that the network takes.

    Attributes:
        shape: of the input.
        recipe: of the features.
    """

    shape: Shape
    recipe: AudioRecipe

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return np.dtype(np.float32)

    @property
    def n_samples(self) -> int:
        """Number of samples that the features need."""
        n = prod(self.shape)
        if self.recipe.features == "samples":
            return n
        return n_samples(self.recipe, n // self.recipe.n_features)

    def fits(self) -> bool:
        """Whether the features have the form of the input; axes of size 1 do not count."""
        sizes = tuple(size for size in self.shape if size > 1) or (1,)
        if len(sizes) == 1:
            return self.recipe.features == "samples" or not sizes[0] % self.recipe.n_features
        last = self.recipe.axes == "time,bands"
        return (
            self.recipe.features != "samples"
            and len(sizes) == 2
            and sizes[1 if last else 0] == self.recipe.n_features
        )

    def __call__(self, stream: BinaryIO) -> npt.NDArray[np.float32]:
        """The features of a recording.

        Raises:
            DamagedError: it is none, or of another kind.
        """
        values = features(self._samples(stream), self.recipe)
        if values.ndim == 2 and self.recipe.axes == "bands,time":
            values = values.T
        return np.ascontiguousarray(values).reshape(self.shape)

    def _samples(self, stream: BinaryIO) -> Float:
        """The samples that the features need, with silence where the recording has none."""
        try:
            with wave.open(stream) as file:
                self._check(file)
                n, wanted, width = file.getnframes(), self.n_samples, file.getsampwidth()
                used = min(n, wanted)
                file.setpos(_part(self.recipe.keep, n - used))
                content = file.readframes(used)
        except wave.Error as error:
            number = re.fullmatch(r"unknown format: (\d+)", str(error))
            if number is None:
                raise DamagedError(str(error)) from error
            kind = _FORMATS.get(number[1], f"format {number[1]}")
            raise OtherSamplesError(f"its samples are {kind}, not integers") from error
        if len(content) != used * width:
            raise DamagedError("it ends before its last sample")
        before = {"before": wanted - used, "after": 0, "both": (wanted - used) // 2}
        sound = np.zeros(wanted)
        start = before[self.recipe.pad]
        sound[start : start + used] = _numbers(content, width)
        return sound

    def _check(self, file: wave.Wave_read) -> None:
        if file.getnchannels() != 1:
            raise OtherSamplesError(f"it has {file.getnchannels()} channels")
        if file.getsampwidth() not in _WIDTHS:
            raise OtherSamplesError(f"it has {8 * file.getsampwidth()} bits a sample")
        if file.getframerate() != self.recipe.rate:
            raise OtherRateError(
                f"it has {file.getframerate():,} samples a second, and the recipe"
                f" {self.recipe.rate:,}"
            )
        if not file.getnframes():
            raise DamagedError("it holds no sound")


_WIDTHS = (1, 2, 3, 4)


def _part(keep: str, surplus: int) -> int:
    """The first sample that is kept of a recording that is longer than wanted."""
    return {"start": 0, "centre": surplus // 2, "end": surplus}[keep]


def _numbers(content: bytes, width: int) -> Float:
    """Samples from -1 to 1; those of 8 bits are stored from 0 to 255."""
    stored = np.frombuffer(content, np.uint8).reshape(-1, width)
    if width == 1:
        return (stored[:, 0].astype(np.float64) - 128) / 128
    wide = np.zeros((len(stored), 4), np.uint8)
    wide[:, 4 - width :] = stored
    found: Float = wide.view("<i4")[:, 0] / 2.0**31
    return found


def _decoder(request: Request, where: Path) -> Decoder:
    """What makes features of the recordings in a data set.

    Raises:
        UsageError: no recipe states them, or the network takes others.
    """
    shape, recipe = request.file_input[1], request.audio_recipe(where)
    decoder = Decoder(shape, recipe)
    if not decoder.fits():
        form = "one axis of samples" if recipe.features == "samples" else recipe.axes
        takes = ", ".join(map(str, shape))
        size = "" if recipe.features == "samples" else f", {recipe.n_features} features a frame"
        raise complaint(
            where,
            f"the recipe makes {form}{size}, and the network takes ({takes})",
            "wrong-shape",
            "state bands (or coefficients) and axes as the network was trained",
        )
    try:
        check_size("making features", n_bytes(recipe, prod(shape) // recipe.n_features))
    except TooLargeError as error:
        raise too_large(where, error) from error
    return decoder


def sound_bytes(n: int, content: Callable[[int], bytes], request: Request, where: Path) -> KeptRows:
    """The recordings in another file, each by its number; errors as of ``read_sounds``."""
    rows = DecodedRows(
        n,
        lambda k: io.BytesIO(content(k)),
        lambda k: f"{where}: recording {k}",
        _decoder(request, where),
        "recordings",
    )
    return KeptRows(rows, str(where))


def read_sounds(where: Path, files: Sequence[Path], request: Request) -> Content:
    """The recordings in files; those that are taken are decoded once.

    Raises:
        UsageError: no recipe states the features, or the network takes others.
    """
    rows = DecodedRows.of_files(files, _decoder(request, where), "recordings")
    return Content({request.file_input[0]: KeptRows(rows, str(where))}, are_decoded=True)
