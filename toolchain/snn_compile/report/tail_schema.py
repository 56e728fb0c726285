"""The structure of ``tail`` in ``report.json``: what is left to the host."""

from __future__ import annotations

from typing import TypedDict


class Operator(TypedDict):
    """An operator of the model file."""

    name: str
    op: str


class End(TypedDict):
    """A tensor where the network ends, and its readout; none for the network's own input."""

    tensor: str
    output: str | None
    shape: list[int]


class Tail(TypedDict, total=False):
    """What is left to the host: operators, the file's outputs, and what travels in an inference."""

    cut: list[End]
    operators: list[Operator]
    outputs: list[str]
    values: int
    bytes: int
