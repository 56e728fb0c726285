"""Which vectors a runner leaves out, and words of the reason that it must give.

Patterns of names, the first that fits. A vector that no pattern fits has to be equal; a pattern
that no vector needs any more has to go.
"""

from __future__ import annotations

PAYLOADS, CHANGES = "spikes with payloads", "neurons that send changes"
WINDOWS, COUNTS = "neurons that listen for a window", "neurons that send counts"
LEAKY, BURSTS, SIGNS = "leaky neurons whose decays truncate", "several spikes", "both signs"
PRODUCTS, PRODUCT_CHANGES = "multiply two payloads", "send changes of a product"
LINE_WINDOWS = "listen for a window before they send a payload"
LINES, LINE_CHANGES = "with a table of lines", "a table of lines that send changes"
NO_ENDS = "in NIR it is unbounded"

ENGINE = {
    "*-burst": "the engine has no bursts",
    "cuba-subtract": "no leaky neurons with reset by subtraction",
    "delays": "the engine has no Delay neurons",
    "wrap": "the engine has no states that wrap",
}
LAVA = {
    "*-clip-floor": "counts are sent as spikes over time",
    "wrap": "they do not wrap",
}
C: dict[str, str] = {}
"""It leaves nothing out."""
NIR = {
    "several-inputs-*": "is a further input; the runtimes of NIR feed one",
    "*-piecewise-linear": LINES,
    "*-piecewise-linear-delta": LINE_CHANGES,
    "*-piecewise-linear-window": LINE_WINDOWS,
    "product-*graded": PRODUCTS,
    "product-*sigma-delta": PRODUCT_CHANGES,
    "*-graded": PAYLOADS,
    "payload-graded-*": PAYLOADS,
    "conv-payloads": PAYLOADS,
    "wide-input": PAYLOADS,
    "*-clip-floor": COUNTS,
    "*-sigma-delta": CHANGES,
    "payload-sigma-delta-*": CHANGES,
    "stream-still": CHANGES,
    "*-burst": BURSTS,
    "*-signed": SIGNS,
    "*-sync": WINDOWS,
    "*-radix": WINDOWS,
    "*-cuba": LEAKY,
    "cuba-*": LEAKY,
    "mixed-*": "NIR does not round",
    "delays": LEAKY,
    "threshold-delta": "send changes above a threshold",
    "stock-probed": "NIR has no outputs of this coding",
    "exponents": "NIR does not round",
    "saturation-*": NO_ENDS,
    "narrow-state": NO_ENDS,
    "wrap": NO_ENDS,
}
STARTS, SUBTRACTS = "netx starts every window at 0", "no reset by subtraction"
NETX = {
    "several-inputs-rate": STARTS,
    "several-inputs-sync": "no neuron like SyncIF",
    "several-inputs-graded": "no neuron like Graded",
    "several-inputs-sigma-delta": "netx's SigmaDelta has no multiplier",
    "*-piecewise-linear": "no neuron like PiecewiseLinear",
    "*-piecewise-linear-delta": "no neuron like PiecewiseLinearDelta",
    "*-piecewise-linear-window": "no neuron like PiecewiseLinearWindow",
    "product-*graded": "no neuron like Product",
    "product-*sigma-delta": "no neuron like ProductDelta",
    "*-graded": "no neuron like Graded",
    "payload-graded-*": "no neuron like Graded",
    "conv-payloads": "no neuron like Graded",
    "wide-input": "no neuron like Graded",
    "*-clip-floor": "no neuron like ClipFloor",
    "*-sigma-delta": "netx's SigmaDelta has no multiplier",
    "payload-sigma-delta-*": "netx's SigmaDelta has no multiplier",
    "stream-still": "netx's SigmaDelta has no multiplier",
    "delays": "no neuron like Delay",
    "threshold-delta": "netx never resets neurons that send changes",
    "*-burst": "several spikes",
    "mixed-signed": "no neuron like SignedIF",
    "*-signed": "no neuron like SignedIF",
    "*-sync": "no neuron like SyncIF",
    "*-radix": "no neuron like RadixIF",
    "mixed-cuba": "no sparse synapses",
    "cuba-subtract": "stock LIF only resets to zero",
    "cuba-decays": "its bias has fraction bits",
    "cuba-wrap": "its input could exceed 18 bits",
    "ties-subtract": SUBTRACTS,
    "exponents": SUBTRACTS,
    "no-synapses": SUBTRACTS,
    "single": SUBTRACTS,
    "narrow-state": SUBTRACTS,
    "wrap": SUBTRACTS,
    "conv-*": STARTS,
    "chain-*": STARTS,
    "mixed-*": STARTS,
    "saturation-*": STARTS,
    "dense-*": STARTS,
    "sparse-*": STARTS,
    "weights-*": STARTS,
    "pooling": STARTS,
    "late-input": STARTS,
    "graded-input": STARTS,
    "one-step-subtract": STARTS,
    "silence": STARTS,
}
FIRES, STREAM, EVENTS = "integrate-and-fire neurons", "frames before", "no events input"
ONNX = {
    "*-sigma-delta": STREAM,
    "payload-sigma-delta-*": STREAM,
    "*-piecewise-linear-delta": STREAM,
    "stream-still": STREAM,
    "events-*": EVENTS,
    "ties-signed": EVENTS,
    "saturation-subtract": EVENTS,
    "saturation-zero": EVENTS,
    "saturation-signed": EVENTS,
    "narrow-state": EVENTS,
    "wrap": EVENTS,
    "cuba-decays": EVENTS,
    "cuba-wrap": EVENTS,
    "delays": LEAKY,
    "threshold-delta": "send changes above a threshold",
    "*-cuba": LEAKY,
    "cuba-subtract": LEAKY,
    "*-signed": SIGNS,
    "*-subtract": FIRES,
    "*-zero": FIRES,
    "*-burst": FIRES,
    "stock-probed": FIRES,
    "conv-*": FIRES,
    "pooling": FIRES,
    "sparse-permuted": FIRES,
    "late-input": FIRES,
    "graded-input": FIRES,
    "several-inputs-rate": FIRES,
    "exponents": FIRES,
    "weights-*": FIRES,
    "no-synapses": FIRES,
    "single": FIRES,
    "silence": FIRES,
}
