"""The structure of what ``report.json`` says of a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict


class BudgetLayer(TypedDict):
    """A layer that had a choice: its width, and cost and added error at each width."""

    name: str
    weight_bits: int
    cost: list[float]
    error: list[float]


class BudgetPoint(TypedDict):
    """A network with a width for each layer.

    ``predicted_error``: the sum over layers; ``error``: of the outputs, as measured, over their
    variance; ``lost``: points of the main figure against the float network, null if no output can
    be judged.
    """

    weight_bits: list[int]
    cost: float
    predicted_error: float
    error: float
    lost: float | None


class SpentBudget(TypedDict, total=False):
    """Widths within a budget.

    ``limit`` and all costs are in ``unit``; ``others`` is the cost of what has no choice. Errors
    are measured on the first ``samples`` of the calibration set; that of the widest network is
    ``base_error``. ``widths``: the columns of the layers' costs and errors. ``front`` has some of
    the choices that no other beats, put together from layers that were fitted by themselves, and
    ``uniform`` those with one width; their costs are sums over layers. ``chosen`` was compiled as a
    whole, and its cost is measured.
    """

    quantity: Required[str]
    unit: Required[str]
    limit: Required[float]
    samples: Required[int]
    widths: Required[list[int]]
    layers: Required[list[BudgetLayer]]
    others: float
    base_error: float
    chosen: Required[BudgetPoint]
    front: Required[list[BudgetPoint]]
    uniform: Required[list[BudgetPoint]]


def wrong_budget(report: Mapping[str, Any]) -> str:
    """What the page cannot show of the budget; empty if there is nothing."""
    if not (budget := report.get("budget")):
        return ""
    n_layers, n_widths = len(budget["layers"]), len(budget["widths"])
    points = [budget["chosen"], *budget["front"], *budget["uniform"]]
    if any(len(point["weight_bits"]) != n_layers for point in points):
        return "the budget has a network of other layers"
    for layer in budget["layers"]:
        if not len(layer["cost"]) == len(layer["error"]) == n_widths:
            return f"the budget lacks a width of layer '{layer['name']}'"
        if layer["weight_bits"] not in budget["widths"]:
            return f"the budget does not know the width of layer '{layer['name']}'"
    return ""
