"""The structure of ``report.json``, a stable interface for scripts.

Keys may be added; a change of meaning raises ``SCHEMA``. Every number that a script reads is a JSON
number or null, never NaN.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Required, TypedDict

from snn_compile.files import typed
from snn_compile.printable import printable, printable_lines
from snn_compile.report.budget_schema import SpentBudget, wrong_budget
from snn_compile.report.cost_schema import Cost, Estimate, NeuroBench
from snn_compile.report.observed_schema import (
    Activations,
    Histogram,
    OverTime,
    Raster,
    wrong_observed,
)
from snn_compile.report.output_schema import Before, Output, OutputFigures, wrong_outputs
from snn_compile.report.resource_schema import Resources
from snn_compile.report.tail_schema import Tail
from snn_compile.report.tune_schema import Tune

SCHEMA = 1
MAX_STEPS = 1 << 16
"""Time steps of a window, beyond any that is compiled."""


REPORT, REPORT_PAGE = "report.json", "report.html"
"""Names of the files in a compiled folder."""


class Tool(TypedDict):
    """The program that wrote the report."""

    name: str
    version: str


class Operators(TypedDict):
    """Operators of a trained network, by kind."""

    conv: int
    dense: int
    joins: int


class Model(TypedDict, total=False):
    """The file that was compiled."""

    path: str
    sha256: str
    opset: int
    input_shape: list[int]
    weights: int
    operators: Operators


class ModelInput(TypedDict):
    """One of several inputs, and how its values are sent.

    ``low`` and ``high``: of the encoded values; ``unit``: smallest and largest real value of a step
    of them, over the channels.
    """

    name: str
    shape: list[int]
    coding: str
    low: int
    high: int
    unit: list[float]


class Option(TypedDict):
    """An option in effect."""

    value: Any
    origin: str


class Rung(TypedDict, total=False):
    """A stage of the accuracy ladder; percentages of the first ``n`` samples of the evaluation set.

    ``before``, if not all samples were evaluated: the latest stage with all of them, on these.
    ``top1`` and ``agreement`` are of the first output with classes; ``outputs`` has the figures of
    each, unless there is only one and it has classes.
    """

    stage: Required[str]
    top1: float | None
    agreement: float | None
    n: Required[int]
    note: str
    before: Before
    outputs: list[OutputFigures]


class DriveError(TypedDict):
    """Squared error of a layer's drive on calibration samples held out, over its target's power.

    ``before`` and ``after`` its integers were learned (``--rounding reconstructed``).
    """

    before: float
    after: float


class Layer(TypedDict, total=False):
    """A layer of the compiled network.

    ``payload_bits``: of its messages, the sign included; 0 of binary spikes, None of outputs.
    ``sources``: of its synapses; ``fan_in``: most synapses other than 0 onto a neuron.
    ``energy`` is dynamic, for one inference; ``time`` is what its slowest core takes in each step.
    """

    name: Required[str]
    op: str
    origin: str
    shape: list[int]
    neurons: int
    synapses: int | None
    weight_bits: int
    payload_bits: int | None
    threshold: list[float] | None
    saturated_weights: float | None
    rate: float | None
    dead: float | None
    spikes_per_inference: float | None
    sqnr_db: float | None
    saturated: float | None
    uneven: float | None
    output_share: float | None
    lines: int
    function_error: float
    integers_kept: float
    drive_error: DriveError
    largest_potential: int
    fraction_bits: int
    relay: bool
    depth: int
    sources: list[str]
    fan_in: int
    weights_histogram: Histogram
    thresholds_histogram: Histogram
    energy: Estimate | None
    time: Estimate | None


class Verification(TypedDict, total=False):
    """One comparison with the reference, bit for bit."""

    against: str
    mode: str
    stimuli: int
    steps: int
    compared: int
    equal: bool | None
    first_divergence: dict[str, Any] | None
    details: list[str]
    form: str


class Timing(TypedDict, total=False):
    """Duration of a stage.

    ``cpu_seconds``: of all threads of the process; ``peak_mb``: its largest resident set in MiB,
    null where the system does not say.
    """

    stage: Required[str]
    seconds: Required[float]
    cpu_seconds: float
    peak_mb: float | None


class Warning_(TypedDict, total=False):  # noqa: N801  (the builtin has the name)
    """A warning to the user."""

    code: str
    message: str
    origin: str
    hint: str


class Unrestricted(TypedDict):
    """The network of the same options without a restriction."""

    neurons: str
    network: str
    top1: float | None
    agreement: float | None


class Restriction(TypedDict):
    """Cost of a restriction to some neurons, in points, on the first ``n`` samples."""

    allowed: str
    n: int
    top1: float | None
    agreement: float | None
    against: Unrestricted
    points: float


class Leaving(TypedDict):
    """A layer that leaves the box of values in which the models of Loihi agree."""

    layer: str
    condition: str
    largest: int
    limit: int
    measured: bool


class Portability(TypedDict):
    """Whether Lava, nengo-loihi and brian2-loihi must compute the same spikes.

    ``obstacle`` names a feature that they cannot express; ``leaves`` the layers outside the box of
    values in which they agree; ``stimuli`` the number of stimuli examined (0: proven for every
    input).
    """

    portable: bool
    expressible: bool
    obstacle: str
    stimuli: int
    leaves: list[Leaving]


class Fitting(TypedDict):
    """A change to the network in integers that makes it fit the target."""

    code: str
    message: str
    origin: str


class LayerLoss(TypedDict):
    """A layer in fixed point by itself, given the integers nearest to the float network's values.

    ``share``: its worst error as a share of its bound, right up to 1; ``ours`` and ``theirs``: the
    value farthest from the float layer's, and that.
    """

    name: str
    origin: str
    sqnr_db: float
    saturated: float
    share: float
    ours: float
    theirs: float


class Report(TypedDict, total=False):
    """The whole report.

    ``attributed``: samples on which the losses of layers were measured, if fewer than usual.
    ``output_units``: real value of one step of each output; of each channel, where they differ.
    """

    schema: int
    tool: Tool
    model: Model
    inputs: list[ModelInput]
    options: dict[str, Option]
    target: str
    coding: str
    timesteps: int
    total_steps: int
    simulator: str | None
    environment: dict[str, str]
    outputs: list[Output]
    output_units: dict[str, list[float]]
    ladder: list[Rung]
    losses: list[LayerLoss]
    attributed: int
    neurons: Restriction
    tail: Tail
    layers: list[Layer]
    activations: list[Activations]
    raster: Raster
    over_time: list[OverTime]
    resources: Resources
    fit: list[Fitting]
    budget: SpentBudget
    cost: Cost
    neurobench: NeuroBench
    portability: Portability
    tune: Tune
    verification: list[Verification]
    timing: list[Timing]
    warnings: list[Warning_]


_SHAPES: dict[str, type] = {
    "tool": Tool,
    "model": Model,
    "inputs": ModelInput,
    "outputs": Output,
    "ladder": Rung,
    "losses": LayerLoss,
    "neurons": Restriction,
    "tail": Tail,
    "budget": SpentBudget,
    "layers": Layer,
    "activations": Activations,
    "raster": Raster,
    "over_time": OverTime,
    "resources": Resources,
    "fit": Fitting,
    "cost": Cost,
    "neurobench": NeuroBench,
    "portability": Portability,
    "tune": Tune,
    "verification": Verification,
    "timing": Timing,
    "warnings": Warning_,
}


def complaint(report: Any) -> str:
    """The violation that keeps a value from being a valid report; empty without one."""
    if wrong := typed.complaint(report, Report, "report"):
        return wrong
    if report.get("schema") != SCHEMA:
        return f"the report's schema is {report.get('schema')}, and this version reads {SCHEMA}"
    if not 1 <= report.get("timesteps", 1) <= MAX_STEPS:
        return f"the report states {report['timesteps']} time steps"
    tune, found = report.get("tune"), report.get("portability")
    if tune and not 0 <= tune["best_epoch"] < len(tune["curve"]):
        return "the report names a best epoch that is not on the curve"
    if found and found["expressible"] and not found["portable"] and not found["leaves"]:
        return "the report names no layer that makes the network not portable"
    return wrong_outputs(report) or wrong_observed(report) or wrong_budget(report)


def verified(report: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A report whose comparisons of the same kind and form are replaced by new ones."""
    fresh = {(outcome.get("against"), outcome.get("form", "")): outcome for outcome in outcomes}
    before = report.get("verification") or []
    older = [e for e in before if (e.get("against"), e.get("form", "")) not in fresh]
    return {**report, "verification": [*older, *fresh.values()]}


def dumps(report: Mapping[str, Any]) -> str:
    """The text of ``report.json``: keys in the order of this file, the same for the same report."""
    ordered = _in_order({"schema": SCHEMA, **report}, Report)
    for key, shape in _SHAPES.items():
        value = ordered.get(key)
        if isinstance(value, Mapping):
            ordered[key] = _in_order(value, shape)
        elif isinstance(value, list | tuple):
            ordered[key] = [
                _in_order(item, shape) if isinstance(item, Mapping) else item for item in value
            ]
    return json.dumps(plain(ordered), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """A value as JSON can hold it: arrays as lists, numpy's numbers as Python's, NaN as null.

    Text comes out printable.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {printable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return printable_lines(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if hasattr(value, "tolist"):  # numpy's arrays and scalars, without importing numpy
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return printable_lines(str(value))


def _in_order(value: Mapping[str, Any], shape: type) -> dict[str, Any]:
    """Known keys first, in the order of their declaration; others after them, sorted."""
    known = [key for key in shape.__annotations__ if key in value]
    return {key: value[key] for key in [*known, *sorted(set(value) - set(known))]}
