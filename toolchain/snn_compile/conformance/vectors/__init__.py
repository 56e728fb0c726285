"""The vectors, in the order in which they are written: simple ones first."""

from __future__ import annotations

from functools import cache

from snn_compile.conformance.net import Vector
from snn_compile.conformance.vectors import codings, edges, geometry, inputs, products, states


@cache
def vectors() -> tuple[Vector, ...]:
    """All of them; names are distinct."""
    modules = (codings, geometry, inputs, edges, states, products)
    made = [make() for module in modules for make in module.MAKE]
    names = [vector.name for vector in made]
    if len(set(names)) < len(names):
        raise ValueError("two vectors have the same name")
    return tuple(made)
