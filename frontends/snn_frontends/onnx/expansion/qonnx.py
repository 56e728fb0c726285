"""Quantizers of QONNX and Brevitas: a grid of any number of bits, on real numbers."""

from __future__ import annotations

from snn_frontends.onnx.expansion.call import CONTRIBUTOR, Expansion, Rule

DOMAINS = (
    "qonnx.custom_op.general",
    "finn.custom_op.general",
    "onnx.brevitas",
    "onnx.qonnx",
)
EXPORT = "export the model with fixed bit widths, rounding to nearest"
"""What to do about another quantizer."""


def quant(e: Expansion) -> None:
    """``Quant``: X, scale, zero point, bit width. The limits follow from the bits."""
    if str(e.attribute("rounding_mode", "ROUND")).upper() not in ("ROUND", "HALF_EVEN"):
        raise e.refusal(f"rounds by {e.attribute('rounding_mode', '')}", EXPORT)
    signed, narrow = (int(e.attribute(name, k)) for name, k in (("signed", 1), ("narrow", 0)))
    _grid(e, *(e.input(k) for k in range(4)), signed=signed, narrow=narrow)


def bipolar(e: Expansion) -> None:
    """``BipolarQuant``: plus or minus the scale."""
    _grid(e, e.input(0), e.input(1), bipolar=1)


def _grid(e: Expansion, *inputs: str, **attributes: int) -> None:
    e.add("Grid", *inputs, to=e.outputs[0], domain=CONTRIBUTOR, main=True, **attributes)


def truncated(e: Expansion) -> None:
    """``Trunc`` drops bits of integers behind an average pool."""
    raise e.refusal("drops low bits of integers, which no neuron does", EXPORT)


RULES: dict[str, Rule] = {
    "BipolarQuant": bipolar,
    "FloatQuant": truncated,
    "IntQuant": quant,
    "Quant": quant,
    "QuantAvgPool2d": truncated,
    "Trunc": truncated,
}
