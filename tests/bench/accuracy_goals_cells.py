"""Cells of few levels, few steps and few bits: settings, goals, ways to round, and what is known.

What was measured is kept as JSON: a name of the cell, and which test images were answered right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import w8a8

from snn_compile.options.rounding import reconstructs, steps_of

SETTINGS: dict[str, dict[str, Any]] = {
    "sync 16": {"coding": "sync", "timesteps": 16},
    "sync 32": {"coding": "sync", "timesteps": 32},
    "radix 4": {"coding": "radix", "timesteps": 4},
    "radix 2": {"coding": "radix", "timesteps": 2},
    "sync 4": {"coding": "sync", "timesteps": 4},
    "sync 2": {"coding": "sync", "timesteps": 2},
    "W4 graded": {"coding": "graded", "weight_bits": 4},
    "W4 radix 4": {"coding": "radix", "timesteps": 4, "weight_bits": 4},
    "rate 8": {"coding": "rate", "timesteps": 8},
    "rate 16": {"coding": "rate", "timesteps": 16},
    "rate 32": {"coding": "rate", "timesteps": 32},
}
GOALS: dict[str, dict[str, float]] = {
    "plain": {
        "sync 16": 0.35,
        "sync 32": 0.08,
        "radix 4": 0.3,
        "radix 2": 3.0,
        "sync 4": 2.0,
        "sync 2": 7.0,
        "W4 graded": 0.15,
        "W4 radix 4": 0.5,
        "rate 8": 5.0,
        "rate 16": 2.0,
        "rate 32": 0.6,
    },
    "depthwise": {
        "sync 16": 0.6,
        "sync 32": 0.1,
        "radix 4": 0.6,
        "sync 4": 4.0,
        "W4 graded": 0.8,
        "W4 radix 4": 1.5,
        "rate 32": 1.5,
    },
}
"""Points, set for ResNet-20 and for depthwise networks before anything was measured."""
DEPTHWISE = ("fashion_ds_relu", "fashion_ds_relu6")
"""Trained by ``depthwise.py``, into a folder."""
KIND = dict.fromkeys(w8a8.MODELS, "plain") | dict.fromkeys(DEPTHWISE, "depthwise")
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "reconstructed": {"rounding": "reconstructed"},
    "nearest": {"rounding": "nearest"},
    "bare": {"rounding": "nearest", "bias_correction": False, "potential_calibration": False},
    "max": {"thresholds": "max"},
    "percentile:99.9": {"thresholds": "percentile:99.9"},
    "qcfs": {},
    "psg": {},
}
"""Options of each; ``nearest`` still corrects biases or calibrates potentials, ``bare`` neither."""
TRAINED: dict[str, dict[str, Any]] = {
    "qcfs": {"learning_rate": 1e-3},
    "psg": {"learning_rate": 3e-4},
}
"""Arms that are no conversions: they train with labels, and have no goal."""
FIRST = ("default",)
Known = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """What is measured: a model in a setting, compiled in one way, on so many images.

    ``draw`` is the number of the calibration set: 0 are the first images of the training part.
    """

    model: str
    setting: str
    arm: str
    images: int
    draw: int = 0

    def __str__(self) -> str:
        name = f"{self.model} | {self.setting} | {self.arm} | {self.images}"
        return f"{name} | set {self.draw}" if self.draw else name

    @classmethod
    def named(cls, name: str) -> Cell:
        """The cell of a key."""
        model, setting, arm, images, *more = name.split(" | ")
        return cls(model, setting, arm, int(images), int(more[0].split()[1]) if more else 0)

    @property
    def goal(self) -> float | None:
        """Points that may be lost; None without a goal."""
        return GOALS[KIND[self.model]].get(self.setting)

    @property
    def options(self) -> dict[str, Any]:
        """Of the compilation."""
        return {**SETTINGS[self.setting], **options_of(self.arm)}


def options_of(arm: str) -> dict[str, Any]:
    """Options of ``ARMS``, or of a number of steps: ``reconstructed:STEPS``.

    Raises:
        ValueError: there is no such arm.
    """
    if reconstructs(arm):
        return {"rounding": arm}
    if arm not in ARMS:
        raise ValueError(f"no such arm: {arm}; {', '.join(ARMS)}, reconstructed:STEPS")
    return ARMS[arm]


def _place(key: tuple[str, str, str], models: Sequence[str]) -> tuple[int, ...]:
    model, setting, arm = key
    kind = "reconstructed" if reconstructs(arm) else arm
    at = models.index(model), list(SETTINGS).index(setting), list(ARMS).index(kind)
    return *at, steps_of(arm) or 0


def known_of(files: Iterable[Path]) -> Known:
    """What is in the files that exist; the last one holds where two have the same cell."""
    found: Known = {}
    for file in files:
        if file.is_file():
            found |= json.loads(file.read_text())
    return found


def groups(known: Known, models: Sequence[str]) -> dict[tuple[str, str, str], list[Cell]]:
    """All calibration sets of a model, setting and arm, on the most images; in order."""
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in map(Cell.named, known):
        if cell.model in models and cell.goal is not None:
            found.setdefault((cell.model, cell.setting, cell.arm), []).append(cell)
    for key, cells in found.items():
        most = max(cell.images for cell in cells)
        found[key] = sorted((c for c in cells if c.images == most), key=lambda c: c.draw)
    return {key: found[key] for key in sorted(found, key=lambda key: _place(key, models))}


def packed(right: np.ndarray) -> str:
    """Which images were answered right, as text."""
    return np.packbits(right).tobytes().hex()


def right_of(entry: dict[str, Any], key: str, images: int) -> np.ndarray:
    """Which images were answered right."""
    bits = np.frombuffer(bytes.fromhex(entry[key]), np.uint8)
    return np.unpackbits(bits, count=images).astype(bool)
