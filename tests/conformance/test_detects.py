"""What the vectors are good for: each way to get the arithmetic wrong is seen by the ones named."""

from __future__ import annotations

import numpy as np
import pytest

import transcription
from snn_compile.conformance.vectors import vectors
from snn_compile.ir.quantized import (
    CubaLIFNeurons,
    GradedNeurons,
    IFNeurons,
    RadixIFNeurons,
    Readout,
    SignedIFNeurons,
    SyncIFNeurons,
)
from snn_compile.sim import reference
from transcription import Cells

ALL = {vector.name: vector for vector in vectors()}


def seen(name):
    """Whether the transcription, as it is now, differs from what the vector expects."""
    vector = ALL[name]
    right = EXPECTED.setdefault(name, ORIGINAL(vector.program, vector.frames).messages)
    try:
        return transcription.transcribe(vector.program, vector.frames).messages != right
    except (IndexError, ValueError, KeyError):
        return True


EXPECTED = {}
ORIGINAL = transcription.transcribe


def changed_cells(kind, change):
    """Cells in which neurons of a kind answer as ``change`` of the cell, neuron and input says."""
    original = Cells.one

    def one(self, k, a):
        return change(self, k, a, original) if isinstance(self.node, kind) else original(self, k, a)

    return lambda patch: patch.setattr(Cells, "one", one)


def threshold_moved(kind, by):
    """A threshold that is met too late, or too early."""

    def change(cell, k, a, original):
        cell.threshold[k] += by
        try:
            return original(cell, k, a)
        finally:
            cell.threshold[k] -= by

    return changed_cells(kind, change)


def function(name, replacement):
    return lambda patch: patch.setattr(transcription, name, replacement)


def toward_zero(total, exponent):
    if exponent >= 0:
        return total * 2**exponent
    return (abs(total) >> -exponent) * (1 if total >= 0 else -1)


def floored(x):
    return x >> 12


def wrapped(node, x):
    limit = 2 ** (node.state.bits - 1)
    return (x + limit) % (2 * limit) - limit


def unbounded(node, x):
    return x


def one_more(node, x):
    """Two's complement holds one value more than Loihi uses."""
    limit = 2 ** (node.state.bits - 1)
    return max(-limit, min(limit - 1, x))


def always_24_bits(node, x):
    return max(-(2**23 - 1), min(2**23 - 1, x))


def leaking_restart(patch):
    original = Cells.restart

    def restart(self):
        kept = getattr(self, "v", None) if isinstance(self.node, IFNeurons | Readout) else None
        original(self)
        self.v = kept or self.v

    patch.setattr(Cells, "restart", restart)


def flipped(patch):
    original = transcription.wired

    def wired(program, node):
        targets = original(program, node)
        weights = [[w for _, w in t][::-1] for t in targets]
        return [
            [(i, w) for (i, _), w in zip(t, back, strict=True)]
            for t, back in zip(targets, weights, strict=True)
        ]

    patch.setattr(transcription, "wired", wired)


def biased_once(patch):
    """The bias is added at the first step only."""
    original = Cells.step

    def step(self, a):
        sent = original(self, a)
        if isinstance(self.node, IFNeurons):
            self.bias = [0] * self.n
        return sent

    patch.setattr(Cells, "step", step)


def never_taken_back(cell, k, a, original):
    cell.sent[k] = 0
    return original(cell, k, a)


def taken_below_nothing(cell, k, a, original):
    cell.sent[k] = 1
    return original(cell, k, a)


def undecayed_bias(cell, k, a, original):
    sent = original(cell, k, a)
    cell.u[k] -= cell.bias[k] if cell.node.filtered_bias else 0
    return sent


def not_strict(cell, k, a, original):
    cell.threshold[k] -= 1 / 64
    try:
        return original(cell, k, a)
    finally:
        cell.threshold[k] += 1 / 64


FAULTS = {
    "a tie is silent": (threshold_moved(IFNeurons, 1), ["ties-subtract", "ties-zero"]),
    "a tie fires too early": (threshold_moved(IFNeurons, -1), ["ties-subtract", "ties-zero"]),
    "a signed tie": (threshold_moved(SignedIFNeurons, 1), ["ties-signed", "chain-signed"]),
    "a window's tie": (threshold_moved(SyncIFNeurons, 1), ["ties-sync", "chain-sync"]),
    "a digit's tie": (threshold_moved(RadixIFNeurons, 1), ["ties-radix", "chain-radix"]),
    "a threshold that is not strict": (
        changed_cells(CubaLIFNeurons, not_strict),
        ["ties-cuba"],
    ),
    "payloads rounded up": (
        changed_cells(GradedNeurons, lambda c, k, a, one: one(c, k, a + 1)),
        ["ties-graded"],
    ),
    "sums truncated toward zero": (function("shifted", toward_zero), ["exponents", "mixed-signed"]),
    "decays rounded down": (function("toward_zero", floored), ["cuba-decays"]),
    "states that wrap": (
        function("clipped", wrapped),
        [f"saturation-{kind}" for kind in ("subtract", "zero", "signed", "graded", "sync")],
    ),
    "states without ends": (
        function("clipped", unbounded),
        [
            *("saturation-radix", "saturation-sigma-delta", "saturation-zero", "narrow-state"),
            *("cuba-wrap", "wrap"),
        ],
    ),
    "an end of two's complement": (function("clipped", one_more), ["saturation-subtract"]),
    "narrow states that are not": (function("clipped", always_24_bits), ["narrow-state", "wrap"]),
    "windows that do not start anew": (leaking_restart, ["chain-subtract", "mixed-zero"]),
    "a kernel that is flipped": (flipped, ["conv-plain", "conv-dilation", "conv-payloads"]),
    "a bias that comes once": (biased_once, ["mixed-subtract", "no-synapses"]),
    "spikes never taken back": (
        changed_cells(SignedIFNeurons, never_taken_back),
        ["ties-signed", "mixed-signed"],
    ),
    "spikes taken back that were not sent": (
        changed_cells(SignedIFNeurons, taken_below_nothing),
        ["ties-signed"],
    ),
    "a bias of the current that does not stay": (
        changed_cells(CubaLIFNeurons, undecayed_bias),
        ["cuba-subtract"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, monkeypatch):
    change, names = FAULTS[fault]
    for name in names:
        assert not seen(name), "the transcription is right before anything is changed"
    change(monkeypatch)
    assert [name for name in names if not seen(name)] == []


def test_every_layer_has_something_to_say():
    """But for the two vectors that are about little: nothing, and one of everything."""
    dull = [
        (name, layer)
        for name, vector in ALL.items()
        for layer, sent in reference.run(
            vector.program, vector.frames, record=True
        ).messages.items()
        if len(np.unique(sent)) < 2
    ]
    assert {name for name, _ in dull} == {"silence", "single"}
