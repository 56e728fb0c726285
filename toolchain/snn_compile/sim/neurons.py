"""How each population of the quantized stage answers its input: integers in, integers out."""

from __future__ import annotations

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.models.arithmetic import VOLTAGE_LIMIT, toward_zero
from snn_compile.ir.quantized import Population


def respond(population: Population, a: Int, n_steps: int) -> Int:
    """What a population sends: its model says (``Population.respond``, which has the shapes)."""
    return population.respond(a, n_steps)


__all__ = ["VOLTAGE_LIMIT", "respond", "toward_zero"]
