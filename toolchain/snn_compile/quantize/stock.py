"""Register ranges of the chip's own neurons and synapses.

Lava's LIF and LIFReset have counterparts in Intel's extension for chips; a neuron that is one of
them needs no microcode. The ranges are those that Lava 0.10.0 documents for them
(``proc/lif/process.py`` and the comments of ``proc/lif/models.py``); its CPU models enforce none.
An integrate-and-fire neuron that resets to zero is a LIF with ``du = 4095`` (no memory of the
current) and ``dv = 0`` (no leak).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.errors import CapacityError, CompileError, Origin, UsageError, raise_all
from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, QTensor, round_half_even
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import FRACTION_BITS, CubaLIFNeurons, ProbedReadout
from snn_compile.ir.spiking import Float, InputCoding, Reset
from snn_compile.options import COMMAND_LINE, KEYWORD, STOCK, CompileOptions

MAX_THRESHOLD = (1 << 17) - 1
"""Loihi's threshold has 17 bits, in units of the weight."""
MANTISSA = (1 << 12) - 1
MANTISSAS = (-MANTISSA - 1, MANTISSA)
MAX_EXPONENT = 7
"""A bias is a signed mantissa of 13 bits, -4096 to 4095 (taken as symmetric here), times a power of
two of 3 bits that all neurons of a population share; in units of 2**-6 of the weight."""
MAX_BIAS = MANTISSA << MAX_EXPONENT
MIN_EXPONENT = -7
"""Smallest exponent of a synapse group: 8-bit weights are even in Lava, and 2**-8 is the least."""


def bias_exponent(bias: Int) -> int:
    """The smallest exponent for which all mantissas of a population's biases fit.

    Args:
        bias: biases in units of 2**-6 of the weight.

    Raises:
        ValueError: no exponent is large enough.
    """
    largest = int(np.abs(bias).max(initial=0))
    for exponent in range(MAX_EXPONENT + 1):
        if largest <= MANTISSA << exponent:
            return exponent
    raise ValueError(f"a bias of {largest} does not fit 13 bits times 2**{MAX_EXPONENT}")


def rounded_bias(bias: Int) -> Int:
    """The nearest representable biases: all of a population with one exponent.

    Raises:
        ValueError: one exceeds ``MAX_BIAS``.
    """
    step = 1 << bias_exponent(bias)
    return step * np.clip(round_half_even(bias / step), -MANTISSA, MANTISSA)


def most_bias(threshold: Float | None) -> int:
    """Largest bias in units of the weight; whole units for readouts, which have no threshold."""
    return MANTISSA if threshold is None else MAX_BIAS >> FRACTION_BITS


def population(
    node: spiking.Population, bias: Float, step: Float, *, exact: bool
) -> CubaLIFNeurons | ProbedReadout:
    """Neurons that reset to zero, or a readout, in stock form.

    Args:
        node: the population in floating point.
        bias: bias in steps, broadcasts to the shape.
        step: value of one unit of the weights, (C,).
        exact: whether currents and thresholds are small integers, so that ``V >= threshold`` is
            ``V > threshold - 1``. Otherwise the nearest register is used.

    Raises:
        TypeError: it has no such form, and ``refused_options`` missed that.
    """
    if isinstance(node, spiking.Readout):
        whole = np.clip(round_half_even(bias), -MANTISSA, MANTISSA)
        return ProbedReadout(**node.common_fields, bias=QTensor.of(whole))
    if not isinstance(node, spiking.IFNeurons) or node.reset is not Reset.ZERO:
        raise TypeError(f"'{node.id}' has no stock form")
    level = round_half_even(node.threshold / step) - int(exact)
    fine = np.clip(round_half_even(bias * (1 << FRACTION_BITS)), -MAX_BIAS, MAX_BIAS)
    return CubaLIFNeurons(
        **node.common_fields,
        threshold=QTensor.of(np.clip(level, 0, MAX_THRESHOLD)),
        bias=QTensor.of(rounded_bias(fine)),
        current_decay=4095,
        voltage_decay=0,
        relay=node.relay,
    )


def refusal(name: NodeId, origin: Origin, largest: int, limit: int) -> CapacityError:
    """The error for a layer whose current (potential, of a readout) is too large at any unit."""
    reason = f"a state could reach {largest:,} of {limit:,} steps, at any unit of its weights"
    if largest <= limit:
        reason = "with a threshold of 17 bits, all of its weights would round to 0"
    return CapacityError(
        f"layer '{name}' has no form in stock neurons: {reason}",
        code="not-stock",
        origin=origin,
        hint="use fewer --input-bits, --weight-bits or time steps, or --input poisson",
    )


def with_stock_defaults(options: CompileOptions) -> CompileOptions:
    """The options with the defaults of ``neurons = "stock"``: coding and reset to zero.

    Raises:
        UsageError: an option contradicts it; all of them at once.
    """
    if options.neurons != "stock":
        return options
    raise_all(list(_refused(options)))
    coding = next(name for name in coding_names() if not coding_class(name).stock_obstacle)
    for name, value in (("coding", coding), ("reset", Reset.ZERO.value)):
        if not options.is_given(name):
            options = options.with_value(name, value, STOCK)
    return options


def without_stock_defaults(options: CompileOptions, requested: CompileOptions) -> CompileOptions:
    """The options without the restriction: its defaults are open again.

    Args:
        options: the options in effect.
        requested: the options before ``with_stock_defaults``.
    """
    poisson = options.input == InputCoding.POISSON.value  # spikes need time steps
    coding = options.coding if requested.coding is None and poisson else requested.coding
    free = {"neurons": "any", "coding": coding, "reset": requested.reset}
    for name, value in free.items():
        options = options.with_value(name, value, "without --neurons stock")
    return options


def _refused(options: CompileOptions) -> Iterator[CompileError]:
    alternative = "--coding rate --reset zero has stock neurons; or use --neurons any"
    reasons = {
        "coding": (
            coding_class(options.coding).stock_obstacle if options.coding else "",
            alternative,
        ),
    }
    if options.reset == Reset.SUBTRACT.value and options.is_given("reset"):
        reasons["reset"] = "a stock LIF resets to zero", alternative
    if options.burst > 1:
        reasons["burst"] = "a stock LIF sends one spike per step", "omit it"
    if options.initial_potential:
        reasons["initial_potential"] = "a stock LIFReset starts at 0", "omit it"
    for name, (reason, hint) in reasons.items():
        if reason:
            source = options.origins.get(name, COMMAND_LINE)
            given = f"--{name.replace('_', '-')} {getattr(options, name)}"
            yield UsageError(
                f"--neurons stock, but {given}: {reason}",
                code="not-stock",
                origin=None if source in (COMMAND_LINE, KEYWORD) else Origin(source),
                hint=hint,
            )
