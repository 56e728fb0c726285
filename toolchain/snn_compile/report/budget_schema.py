"""The structure of what ``report.json`` says of a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict


class BudgetChoice(TypedDict):
    """A layer's option that had a choice: its width, and cost and added error at each of them."""

    layer: str
    option: str
    bits: int
    widths: list[int]
    cost: list[float]
    error: list[float]


class BudgetPoint(TypedDict):
    """A network: its widths, in the order of the choices.

    ``predicted_error``: the sum over choices; ``error``: of the outputs, as measured, over their
    variance, null if the network was not made; ``lost``: points of the main figure against the
    float network, null if no output can be judged.
    """

    weight_bits: list[int]
    payload_bits: list[int]
    cost: float
    predicted_error: float
    error: float | None
    lost: float | None


class SpentBudget(TypedDict, total=False):
    """Widths within a budget.

    ``limit`` and all costs are in ``unit``; ``others`` is the cost of what has no choice. Errors
    are measured on the first ``samples`` of the calibration set; that of the widest network is
    ``base_error``. ``front`` has some of the networks that no other beats, put together from layers
    that were fitted by themselves, and ``uniform`` those with one width of weights; their costs are
    sums. ``chosen`` was compiled as a whole, and its cost is measured.
    """

    quantity: Required[str]
    unit: Required[str]
    limit: Required[float]
    samples: Required[int]
    choices: Required[list[BudgetChoice]]
    others: float
    base_error: float
    chosen: Required[BudgetPoint]
    front: Required[list[BudgetPoint]]
    uniform: Required[list[BudgetPoint]]


def wrong_budget(report: Mapping[str, Any]) -> str:
    """What the page cannot show of the budget; empty if there is nothing."""
    if not (budget := report.get("budget")):
        return ""
    for choice in budget["choices"]:
        widths = choice["widths"]
        if not len(choice["cost"]) == len(choice["error"]) == len(widths):
            return f"the budget lacks a width of layer '{choice['layer']}'"
        if choice["bits"] not in widths:
            return f"the budget does not know the width of layer '{choice['layer']}'"
    if budget["samples"] < 1:
        return "the budget was measured without samples"
    n_choices = len(budget["choices"])
    for one in (budget["chosen"], *budget["front"], *budget["uniform"]):
        if len(one["weight_bits"]) + len(one["payload_bits"]) != n_choices:
            return "the budget has a network of other layers"
    return ""
