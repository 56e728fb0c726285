"""The structure of ``sweep.json`` and of the record of a point, an interface for scripts.

Keys may be added; a change of meaning raises ``SCHEMA``.
"""

from __future__ import annotations

from typing import Any, Required, TypedDict

from snn_compile.report.schema import Rung, Tool

SCHEMA = 1
SWEEP, SWEEP_PAGE, POINTS = "sweep.json", "sweep.html", "points"
"""Names of the files and of the folder that a sweep writes."""

STATES = ("done", "over-limit", "failed", "lost", "skipped", "dropped", "not-run")
"""What becomes of a point.

``over-limit``: compiled, with a larger loss than ``--max-accuracy-drop``. ``lost``: the workers
died. ``dropped``: by ``--halving``. ``not-run``: the sweep ended before.
"""


class Failure(TypedDict, total=False):
    """Why a point has no network, or ends with an exit code."""

    code: str
    message: str
    origin: str
    hint: str
    exit_code: int


class SweepMachine(TypedDict):
    """Where a point was computed."""

    host: str
    cpu: str
    blas: str
    versions: dict[str, str]


class Screening(TypedDict, total=False):
    """What ``--halving`` knows of a point: accuracy on the first ``n`` samples of its order.

    ``worse_than``: a point that is more accurate and no dearer, ``rival_key`` its key; ``wins`` of
    ``discordant`` samples were classified by that point alone.
    """

    n: int
    accuracy: float
    worse_than: str
    rival_key: str
    wins: int
    discordant: int


class SweepPoint(TypedDict, total=False):
    """A point of the grid.

    Attributes:
        name: of its folder in ``points``.
        state: what became of it, one of ``STATES``.
        key: hash of everything that it depends on.
        values: the options that differ between points, as far as they apply.
        note: values of the grid that do not apply; why it is not compiled.
        seal: of the network.
        accuracy: in percent, of the first output; agreement where there are no labels.
        drop: points lost against the model file, by the output that lost most.
        energy: of an inference, dynamic, in microjoules; ``static_energy`` of the chips at rest.
        latency: of an inference, in microseconds.
        steps: time steps of an inference.
        front: the costs in which no other point is both cheaper and as accurate.
        seconds: that it took.
    """

    name: Required[str]
    state: Required[str]
    key: str
    values: dict[str, Any]
    note: str
    folder: str
    seal: str
    coding: str
    accuracy: float | None
    drop: float | None
    energy: float | None
    static_energy: float | None
    latency: float | None
    cores: int | None
    chips: int | None
    steps: int | None
    spikes: float | None
    synops: float | None
    front: list[str]
    screening: Screening
    options: dict[str, Any]
    ladder: list[Rung]
    error: Failure
    seconds: float
    machine: SweepMachine


class Source(TypedDict):
    """A file that all points share."""

    path: str
    sha256: str


class Sweep(TypedDict, total=False):
    """A whole sweep.

    Attributes:
        files: the model and the data, by role.
        axes: the options that differ between points, with their values.
        until: the condition that ended it.
        cheapest_by: the cost that decides.
        prediction: how the points were ordered.
        answer: the cheapest point that meets the condition.
        guarantee: what ``--halving`` promises.
        machines: differences between the machines that points were computed on.
        points: all of them, in the order of the grid.
    """

    schema: Required[int]
    tool: Tool
    files: dict[str, Source]
    axes: dict[str, list[Any]]
    until: str | None
    cheapest_by: str
    prediction: str
    answer: str | None
    guarantee: str
    machines: list[str]
    points: Required[list[SweepPoint]]
