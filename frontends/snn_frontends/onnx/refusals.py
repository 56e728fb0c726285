"""Reasons and hints for refused operators."""

from __future__ import annotations

from dataclasses import dataclass

from snn_compile.errors import Origin, UnsupportedError


@dataclass(frozen=True)
class Reason:
    """One kind of operator without a spiking form."""

    ops: frozenset[str]
    message: str
    hint: str


CUT = (
    "leave it and what follows to the host with --cut-at, or end the network before it with"
    " --outputs"
)

REASONS = (
    Reason(
        frozenset(("If", "Loop", "Scan", "SequenceMap")),
        "control flow has no spiking form",
        "export with fixed control flow, or simplify the model (onnx-simplifier)",
    ),
    Reason(
        frozenset(("Attention", "RotaryEmbedding")),
        "multiplies activations with each other, which has no spiking form",
        "use a network of convolutions and dense layers",
    ),
    Reason(
        frozenset(("GridSample", "AffineGrid", "RoiAlign", "MaxRoiPool")),
        "resampling at computed positions is not supported",
        "scale the images before the network, or use Resize",
    ),
    Reason(
        frozenset(("DeformConv", "MaxUnpool", "LpPool", "GlobalLpPool")),
        "this layer is not supported",
        "use Conv, ConvTranspose, Gemm, MaxPool or AveragePool",
    ),
    Reason(
        frozenset("NonMaxSuppression TopK NonZero Unique Compress ScatterND".split()),
        "decisions that depend on activations have no spiking form",
        CUT,
    ),
    Reason(
        frozenset(
            "ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt"
            " SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength"
            " SplitToSequence".split()
        ),
        "sequences and optional values have no spiking form",
        "export with Split, Concat and Unsqueeze in their place",
    ),
    Reason(
        frozenset(("ReduceProd",)),
        "this operator is not supported on activations",
        "a maximum over a map can be a MaxPool or GlobalMaxPool, a limit a Relu or a Clip from 0",
    ),
)


def unsupported(origin: Origin) -> UnsupportedError:
    """The error for an operator without a rule."""
    for reason in REASONS:
        if origin.op in reason.ops:
            return UnsupportedError(reason.message, origin=origin, hint=reason.hint)
    return UnsupportedError("operator not supported on activations", origin=origin, hint=CUT)


def on_integers(origin: Origin) -> UnsupportedError:
    """The error for an operator between a quantization and its inverse."""
    return UnsupportedError(
        "computes with the integers of a quantized value, not with the value",
        code="integer-arithmetic",
        origin=origin,
        hint="put DequantizeLinear before it and QuantizeLinear behind it",
    )


def newer(found: int, known: int, origin: Origin) -> UnsupportedError:
    """The error for an operator changed by a newer operator set."""
    return UnsupportedError(
        f"operator set {found} changed this operator; the newest supported version is {known}",
        origin=origin,
        hint=f"export with an operator set before {found}, or update snn-compile",
    )


def custom(domain: str, origin: Origin) -> UnsupportedError:
    """The error for an operator outside ONNX."""
    return UnsupportedError(
        f"belongs to the custom domain '{domain}', which is not supported",
        origin=origin,
        hint="export with standard ONNX operators only",
    )
