"""The structure of a comparison, an interface for scripts.

Lists called ``values``, ``low`` and so on have an entry for each network, in the order of
``networks``; None where a network has none. Keys may be added; a change of meaning raises
``SCHEMA``.
"""

from __future__ import annotations

from typing import Any, Required, TypedDict

from snn_compile.report.schema import Tool

SCHEMA = 1
RISK = 0.05
"""Largest probability, over all pairs together, of calling one better by chance."""


class Network(TypedDict):
    """One of the compiled networks.

    ``name``: of its folder, or as much of the path as tells it apart.
    """

    name: str
    folder: str
    seal: str
    model: str
    model_sha256: str
    tool: str


class Figure(TypedDict, total=False):
    """A figure of each network.

    Attributes:
        name: of the figure.
        unit: of its values.
        better: whether ``high`` or ``low`` values are better; empty if neither.
        low: of estimates, the lower end of the range.
        high: of estimates, the upper end.
    """

    name: Required[str]
    unit: Required[str]
    better: Required[str]
    values: Required[list[float | None]]
    low: list[float | None]
    high: list[float | None]


class Stage(TypedDict):
    """A stage of the ladder of one output.

    ``measure``: ``top1`` and others of ``report.json``; ``n``: samples that it was evaluated on.
    """

    stage: str
    output: str
    measure: str
    values: list[float | None]
    n: list[int | None]


class DifferentOption(TypedDict):
    """An option with different values; files are given by name and hash."""

    name: str
    values: list[Any]


class ComparedLayer(TypedDict):
    """A layer by its name; None where a network has no such layer."""

    name: str
    networks: list[dict[str, Any] | None]


class Pair(TypedDict, total=False):
    """Two networks on the same samples.

    Attributes:
        a: name of the one.
        b: name of the other.
        differ: samples that they answer differently.
        a_better: samples on which the first one is closer to the label or target.
        b_better: samples on which the other one is.
        points: of accuracy that the second one has more; of classes only.
        test: its name: ``McNemar`` for classes, ``sign`` for other outputs.
        p: probability of so uneven a split, if both were equally good.
        p_holm: the same, corrected for all pairs and outputs after Holm.
        better: the better one; None if the difference may be chance.
    """

    a: Required[str]
    b: Required[str]
    differ: Required[int]
    a_better: int
    b_better: int
    points: float | None
    test: str
    p: float
    p_holm: float
    better: str | None


class DifferentSample(TypedDict):
    """A sample that is not classified alike. ``label``: None if unknown."""

    sample: int
    label: int | None
    answers: list[int]


class ComparedOutput(TypedDict, total=False):
    """The answers of one output.

    Attributes:
        name: of the output.
        kind: of its values.
        networks: its figures against labels or targets, for each network.
        pairs: of networks.
        differ: samples that not all networks answer alike.
        samples: the first of them; of classes only.
    """

    name: Required[str]
    kind: Required[str]
    networks: Required[list[dict[str, Any]]]
    pairs: Required[list[Pair]]
    differ: Required[int]
    samples: list[DifferentSample]


class Answers(TypedDict):
    """Answers to the same samples."""

    data: str
    n: int
    risk: float
    outputs: list[ComparedOutput]


class Comparison(TypedDict):
    """A whole comparison. ``notes``: what keeps figures from being comparable."""

    schema: int
    tool: Tool
    networks: list[Network]
    notes: list[str]
    figures: list[Figure]
    ladder: list[Stage]
    options: list[DifferentOption]
    layers: list[ComparedLayer]
    answers: Answers | None
