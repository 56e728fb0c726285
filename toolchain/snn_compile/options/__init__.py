"""Options: their declarations, the user's values and the values in effect."""

from snn_compile.options.compiling import CompileOptions, Keywords
from snn_compile.options.declared import COMMAND_LINE, KEYWORD
from snn_compile.options.kinds import AUTO
from snn_compile.options.layers import LayerOptions, percentile_of
from snn_compile.options.numbers import EQUALIZE
from snn_compile.options.spike_trained import PRODUCERS
from snn_compile.options.traced import CALIBRATED, CONVERTED, INTEGERS, SPIKING, STOCK, UNCALIBRATED

__all__ = [
    "AUTO",
    "CALIBRATED",
    "COMMAND_LINE",
    "CONVERTED",
    "EQUALIZE",
    "INTEGERS",
    "KEYWORD",
    "PRODUCERS",
    "SPIKING",
    "STOCK",
    "UNCALIBRATED",
    "CompileOptions",
    "Keywords",
    "LayerOptions",
    "percentile_of",
]
