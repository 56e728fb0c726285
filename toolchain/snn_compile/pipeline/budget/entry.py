"""The report's entry ``budget``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from snn_compile.options.budget import Budget
from snn_compile.pipeline.budget.versions import PAYLOADS, WEIGHTS, Choice, Measured, Versions
from snn_compile.quantize.widths import Width


def entry(budget: Budget, versions: Versions, answer: Measured) -> dict[str, Any]:
    """The entry of a network that keeps its budget."""

    def point(one: Measured) -> dict[str, Any]:
        return {
            **{
                option: list(versions.of_option(option, one.widths).values())
                for option in (WEIGHTS, PAYLOADS)
            },
            "cost": one.cost,
            "predicted_error": one.predicted,
            "error": one.error,
            "lost": one.lost,
        }

    return {
        "quantity": budget.quantity,
        "unit": budget.unit,
        "limit": budget.limit,
        "samples": versions.n_samples,
        "choices": [_choice(*pair) for pair in _pairs(versions, answer)],
        "others": versions.others,
        "base_error": versions.base,
        "chosen": point(answer),
        "front": [point(one) for one in versions.front],
        "uniform": [point(one) for one in versions.uniform],
    }


def _pairs(versions: Versions, answer: Measured) -> Iterator[tuple[Choice, Width]]:
    return zip(versions.choices, answer.widths, strict=True)


def _choice(choice: Choice, chosen: Width) -> dict[str, Any]:
    return {
        "layer": choice.layer,
        "option": choice.option,
        "bits": chosen,
        "widths": list(choice.widths),
        "cost": list(choice.cost),
        "error": list(choice.error),
    }
